//! What the end-to-end suites share: a server with a client, raw HTTP, a look at the host's side of a box.
//!
//! The suites are in `tests/e2e`. They need root and the real `devbox` binary, and make real boxes.

pub mod bed;
pub mod host;
pub mod http;

pub use bed::Bed;
