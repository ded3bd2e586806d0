//! Archive formats as streams of entries. Knows formats, opens nothing.
//!
//! | module | subject |
//! |---|---|
//! | [`zip`] | writing zip archives to a stream |
//! | [`tar`] | writing tar archives to a stream |
//! | `writer`, `compression` | one writer for all formats, and what tars go through |
//! | `pattern` | the patterns of gitignore(5) |

mod compression;
mod dos_time;
mod error;
mod name;
mod pattern;
mod record;
pub mod tar;
mod writer;
pub mod zip;

pub use compression::Encoder;
pub use error::ArchiveError;
pub use pattern::Patterns;
pub use tar::TarWriter;
pub use writer::ArchiveWriter;
pub use zip::{EntryHead, ZipWriter};
