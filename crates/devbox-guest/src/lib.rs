//! The `Guest` contract: everything that can be done inside one box, written once.
//!
//! The agent serves it over the engines; the server serves the same over a client of the agent, wrapped in guards.
//!
//! | module | subject |
//! |---|---|
//! | [`contract`] | the traits, and what each promises |
//! | [`body`] | contents as streams |
//! | [`transport`] | the byte streams that HTTP is spoken over |

pub mod body;
pub mod contract;
pub mod transport;

pub use body::{Body, BodyError};
pub use contract::{Archives, FileContent, Files, Guest, Processes, UploadPart};
pub use transport::{Connection, Protocol, Transport};
