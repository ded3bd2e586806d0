//! The one HTTP client of the guest contract.
//!
//! [`HttpClient`] sends requests over pooled connections; [`GuestClient`] is the [`Guest`](crate::Guest) at the far end.
//! What comes back is untrusted: heads, errors, JSON and lines are bounded, and every field is parsed.

mod answer;
mod archives;
mod connection;
mod error;
mod files;
mod guest;
mod http;
mod lines;
mod multipart;
mod patch;
mod pool;
mod processes;
mod uploads;

pub use error::SendError;
pub use guest::{GrantMode, GuestClient, HINT_OF_TLS, Patience};
pub use http::HttpClient;
