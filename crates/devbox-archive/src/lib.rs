//! Archive formats as streams of entries. Knows formats, opens nothing.
//!
//! | module | subject |
//! |---|---|
//! | [`zip`] | writing zip archives to a stream |

mod dos_time;
mod error;
mod record;
pub mod zip;

pub use error::ArchiveError;
pub use zip::{EntryHead, ZipWriter};
