//! Archive formats as streams of entries. Knows formats, opens nothing.
//!
//! | module | subject |
//! |---|---|
//! | [`zip`] | writing zip archives to a stream |
//! | [`tar`] | writing tar archives to a stream |
//! | `writer`, `compression` | one writer for all formats, and what tars go through |
//! | `untar`, `decompression` | reading tars from a stream |
//! | [`sparse`] | files with holes in tars |
//! | `unzip` | reading zips by the directory at their end |
//! | `member` | what is found in an archive |
//! | `pattern` | the patterns of gitignore(5) |

mod compression;
mod decompression;
mod dos_time;
mod error;
mod member;
mod name;
mod pattern;
mod record;
pub mod sparse;
pub mod tar;
mod untar;
mod unzip;
mod writer;
pub mod zip;

pub use compression::Encoder;
pub use decompression::MAX_RATIO;
pub use error::ArchiveError;
pub use member::{Member, MemberKind, Sink};
pub use pattern::Patterns;
pub use sparse::{Segment, SparseMap};
pub use tar::TarWriter;
pub use untar::{MAX_EXTENSION, unpack_tar};
pub use unzip::{ReadAt, unpack_zip};
pub use writer::ArchiveWriter;
pub use zip::{EntryHead, ZipWriter};
