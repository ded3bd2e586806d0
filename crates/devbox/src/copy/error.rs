//! Why a copy failed.

use std::io;
use std::path::PathBuf;

use devbox_client::ClientError;
use devbox_types::{BoxPath, Coded, ErrorCode, Problem};

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    /// No side is a box.
    #[error("neither side of the copy is in a box")]
    NoBox,
    /// Both sides are boxes.
    #[error("both sides of the copy are in a box")]
    BoxToBox,
    /// Sources here and in a box, or in several boxes.
    #[error("{first} and {other} are not in the same place")]
    MixedSources {
        /// A source.
        first: String,
        /// One that is elsewhere.
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
    /// A source here is neither file nor directory.
    #[error("{} is neither a file nor a directory", path.display())]
    NotCopyable {
        /// The source.
        path: PathBuf,
    },
    /// A name here cannot be a name in the box.
    #[error("{} cannot be the name of an entry in the box", path.display())]
    BadName {
        /// The name.
        path: PathBuf,
    },
    /// What should be a directory here is something else.
    #[error("{} is not a directory", path.display())]
    NotDirectory {
        /// What it is.
        path: PathBuf,
    },
    /// The box sent a name that is not one below what was asked for.
    #[error("the box listed {listed} in {directory}, where it cannot be")]
    HostileName {
        /// The directory that was asked for.
        directory: BoxPath,
        /// What came.
        listed: BoxPath,
    },
    /// The box sent more or fewer bytes than it announced.
    #[error("{path} ended after {received} of {announced} bytes")]
    WrongLength {
        /// The file in the box.
        path: BoxPath,
        /// What was announced.
        announced: u64,
        /// What came.
        received: u64,
    },
    /// Some entries were left out; each was named when it was met.
    #[error("{count} {} not copied", if *count == 1 { "entry was" } else { "entries were" })]
    LeftOut {
        /// How many.
        count: u64,
    },
    /// The server, or the way to it.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<Problem> for CopyError {
    fn from(problem: Problem) -> Self {
        Self::Client(problem.into())
    }
}

impl Coded for CopyError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoBox | Self::BoxToBox | Self::MixedSources { .. } => ErrorCode::InvalidRequest,
            Self::Unreadable { source, .. } | Self::Unwritable { source, .. } => code_of(source),
            Self::NotCopyable { .. } => ErrorCode::NotARegularFile,
            Self::BadName { .. } => ErrorCode::InvalidPath,
            Self::NotDirectory { .. } => ErrorCode::NotADirectory,
            Self::HostileName { .. } => ErrorCode::PathEscapes,
            Self::WrongLength { .. } => ErrorCode::BadAgentAnswer,
            Self::LeftOut { .. } => ErrorCode::NotARegularFile,
            Self::Client(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoBox => "write the side that is in a box as BOX:PATH",
            Self::BoxToBox => {
                "copy to this machine first, then from it; a local name with a colon is written ./NAME"
            }
            Self::MixedSources { .. } => "copy from one place at a time",
            Self::Unwritable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "make the directory first"
            }
            Self::Unwritable { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room and give the same command again: it goes on with what came of a large file (.NAME.devbox-part)"
            }
            Self::LeftOut { .. } => "see the messages above; devices, sockets and FIFOs are never copied",
            Self::Client(error) => return error.hint(),
            Self::Unreadable { .. }
            | Self::Unwritable { .. }
            | Self::NotCopyable { .. }
            | Self::BadName { .. }
            | Self::NotDirectory { .. }
            | Self::HostileName { .. }
            | Self::WrongLength { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// The code of what a file here says.
pub(crate) fn code_of(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorCode::NotFound,
        io::ErrorKind::PermissionDenied => ErrorCode::PermissionDenied,
        io::ErrorKind::StorageFull => ErrorCode::NoSpace,
        io::ErrorKind::QuotaExceeded => ErrorCode::QuotaExceeded,
        io::ErrorKind::NotADirectory => ErrorCode::NotADirectory,
        io::ErrorKind::IsADirectory => ErrorCode::IsADirectory,
        _ => ErrorCode::Internal,
    }
}
