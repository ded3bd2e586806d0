//! The `Guest` contract: everything that can be done inside one box, written once.
//!
//! The agent serves it over the engines; the server serves the same over a client of the agent, wrapped in guards.
//!
//! | module | subject |
//! |---|---|
//! | [`contract`] | the traits, and what each promises |
//! | [`body`] | contents as streams |
//! | [`coding`] | contents that travel compressed |
//! | [`transport`] | the byte streams that HTTP is spoken over |
//! | [`wire`] | how the contract is written in HTTP |
//! | [`client`] | the one HTTP client of it |
//! | `conformance` | what every implementation is tested against (feature `conformance`) |

pub mod body;
pub mod client;
pub mod coding;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod contract;
pub mod transport;
pub mod wire;

pub use body::{Body, BodyError};
pub use client::{GrantMode, GuestClient, HINT_OF_TLS, HttpClient, Patience, SendError};
pub use coding::ContentCoding;
pub use contract::{Archives, FileContent, Files, Guest, Processes, UploadPart, Uploads};
pub use transport::{Connection, Protocol, StreamTransport, Transport, UnixTransport};
