//! What can go wrong with an archive.

use std::io;

use devbox_types::{Coded, ErrorCode};

/// Why an archive was not written, or not read, to its end.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A name that no archive should carry.
    #[error("{name:?} cannot be a name in an archive: {reason}")]
    BadName {
        /// The name, as a person reads it.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A pattern that means nothing.
    #[error("{pattern:?} is no pattern")]
    BadPattern {
        /// The pattern.
        pattern: String,
    },
    /// There are more entries than the directory at the end may list.
    #[error("the archive has too many entries")]
    TooManyEntries,
    /// A file had fewer bytes than its size said.
    #[error("the content of {name:?} ended after {found} of {announced} bytes")]
    Truncated {
        /// Which entry.
        name: String,
        /// How many bytes there were.
        found: u64,
        /// How many were announced.
        announced: u64,
    },
    /// The content of an entry could not be read.
    #[error("cannot read the content of {name:?}")]
    Read {
        /// Which entry.
        name: String,
        /// What its reader says.
        source: io::Error,
    },
    /// The archive could not be written.
    #[error("cannot write the archive")]
    Write {
        /// What its writer says.
        source: io::Error,
    },
}

impl Coded for ArchiveError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::BadName { .. } => ErrorCode::InvalidPath,
            Self::BadPattern { .. } => ErrorCode::InvalidRequest,
            Self::TooManyEntries => ErrorCode::TooLarge,
            Self::Truncated { .. } => ErrorCode::Conflict,
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorCode::PermissionDenied
            }
            Self::Read { .. } => ErrorCode::Internal,
            Self::Write { .. } => ErrorCode::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::TooManyEntries => Some("pack the sub-directories one by one".to_owned()),
            Self::Truncated { .. } => Some("pack it again once nothing writes to it".to_owned()),
            Self::BadName { .. } | Self::BadPattern { .. } | Self::Read { .. } | Self::Write { .. } => None,
        }
    }
}
