//! Transfers in pieces as state machines: they are told bytes and time, and say what to do. No clock, no sockets, no files.
//!
//! | module | subject |
//! |---|---|
//! | [`upload`] | the receiving side: which bytes count, when the whole may be published |
//! | [`record`] | what is remembered of an upload while nobody works on it |
//! | [`checksum`] | the digest of one piece |
//! | [`source`] | the sending side: whether a file is still the one that was begun with |
//! | [`join`] | whether parts may become a file, and how long it will be |
//! | [`error`] | why a piece is refused |

pub mod checksum;
pub mod error;
pub mod join;
pub mod record;
pub mod source;
pub mod upload;

pub use error::TransferError;
pub use join::{FoundPart, Joining};
pub use record::{Phase, Record, Staging};
pub use source::{SavedState, SavedStateError, Source};
pub use upload::{Open, RunningDigest, Sealed, Step, Upload};
