//! What can go wrong with an archive.

use std::io;

use devbox_types::{Coded, ErrorCode, Problem};

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
    /// What was read is no archive, or none that every reader understands in one way.
    #[error("the archive is not well-formed: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// A name that leads out of the directory where the archive is unpacked.
    #[error("the archive has the name {name:?}, which leads out of where it is unpacked")]
    Escapes {
        /// The name, as a person reads it.
        name: String,
    },
    /// An entry that is neither file, directory nor link.
    #[error("{name:?} in the archive is a FIFO or a device")]
    Special {
        /// Its name.
        name: String,
    },
    /// Something that archives may have, and that is not read here.
    #[error("archives with {what} cannot be unpacked{}", at(name))]
    Unsupported {
        /// What it is.
        what: &'static str,
        /// Where it is; empty where that is everywhere.
        name: String,
    },
    /// An archive that grows beyond all reason.
    #[error("the archive holds more than {ratio} bytes for each of its own")]
    Bomb {
        /// How many are allowed.
        ratio: u64,
    },
    /// The archive did not come whole.
    #[error("the archive did not come whole")]
    Interrupted {
        /// What ended it.
        source: Box<Problem>,
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
            Self::BadPattern { .. } | Self::Malformed { .. } => ErrorCode::InvalidRequest,
            Self::Escapes { .. } => ErrorCode::PathEscapes,
            Self::Special { .. } => ErrorCode::NotARegularFile,
            Self::Unsupported { .. } => ErrorCode::Unsupported,
            Self::Bomb { .. } => ErrorCode::TooLarge,
            Self::Interrupted { source } => source.code,
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
            Self::Escapes { .. } => Some("make it with names that are relative and without `..`".to_owned()),
            Self::Special { .. } => Some("make it without FIFOs and devices".to_owned()),
            Self::Malformed { .. }
            | Self::Unsupported { .. }
            | Self::Bomb { .. }
            | Self::Interrupted { .. }
            | Self::BadName { .. }
            | Self::BadPattern { .. }
            | Self::Read { .. }
            | Self::Write { .. } => None,
        }
    }
}

impl ArchiveError {
    /// What an error of the input means: that of this crate, or of whoever delivers the bytes, or else that they make no
    /// sense to a decoder.
    pub(crate) fn of_input(error: io::Error) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(own) => return own,
            Err(error) => error,
        };
        match error.downcast::<Problem>() {
            Ok(problem) => Self::Interrupted { source: Box::new(problem) },
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Malformed { what: "it is cut off".to_owned() }
            }
            Err(error) => Self::Malformed { what: error.to_string() },
        }
    }
}

impl From<ArchiveError> for Problem {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Interrupted { source } => *source,
            error => Self::of(&error),
        }
    }
}

fn at(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(": {name:?}") }
}
