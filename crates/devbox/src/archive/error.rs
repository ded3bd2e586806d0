//! Why an archive was not packed or unpacked, for reasons on this side.

use std::io;
use std::path::PathBuf;

use devbox_types::{Coded, ErrorCode};

use crate::copy::code_of;

/// Why an archive was not packed or unpacked, for reasons on this side.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveCommandError {
    /// An archive is no text.
    #[error("an archive is not written to a terminal")]
    Terminal,
    /// A name that tells no format.
    #[error("the name {} does not tell which format the archive is to have", path.display())]
    UnknownEnding {
        /// The name.
        path: PathBuf,
    },
    /// An archive of a kind that is not read.
    #[error("the format of {} is {found}, which is not read", path.display())]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Not a file, but a directory.
    #[error("{} is a directory, not an archive", path.display())]
    Directory {
        /// It.
        path: PathBuf,
    },
    /// Files of several boxes in one archive.
    #[error("an archive holds files of one box, and {first} and {other} are two")]
    SeveralBoxes {
        /// A box.
        first: String,
        /// Another.
        other: String,
    },
    /// A file here cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file here cannot be written.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Coded for ArchiveCommandError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Terminal
            | Self::UnknownEnding { .. }
            | Self::OtherFormat { .. }
            | Self::SeveralBoxes { .. } => ErrorCode::InvalidRequest,
            Self::Directory { .. } => ErrorCode::IsADirectory,
            Self::Unreadable { source, .. } | Self::Unwritable { source, .. } => code_of(source),
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Terminal => "name a file with -o, or send it through a pipe",
            Self::UnknownEnding { .. } => {
                "end it in .zip, .tar, .tar.gz or .tar.zst, or name the format with --format"
            }
            Self::OtherFormat { found: "xz" | "bzip2" | "lz4", .. } => {
                "decompress it on the way: `xz -dc ARCHIVE | devbox unpack - BOX:DIR`, or bzip2, or lz4"
            }
            Self::OtherFormat { .. } => "make it a zip or a tar",
            Self::Directory { .. } => "copy it with `devbox cp`",
            Self::SeveralBoxes { .. } => "pack one box at a time",
            Self::Unwritable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "make the directory first"
            }
            Self::Unreadable { .. } | Self::Unwritable { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
