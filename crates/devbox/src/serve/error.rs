//! Why a server could not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use devbox_backend::BackendError;
use devbox_local::LaunchError;
use devbox_server::ServerError;
use devbox_store::StoreError;
use devbox_types::{Coded, ErrorCode};

use crate::agent::NoAgent;

/// Why a server could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// It was not started as root.
    #[error("`devbox serve` was not started as root")]
    NotRoot,
    /// There is no such user.
    #[error("there is no user named {name:?}")]
    NoSuchUser {
        /// The name.
        name: String,
    },
    /// The server would stay root.
    #[error("the server may not run as root")]
    UserIsRoot,
    /// The data directory holds something else.
    #[error("{} is not empty, and is not the data directory of a server", path.display())]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The server, once it is not root any more, could not get there.
    #[error("the user {uid} cannot enter {}, which is above the data directory", path.display())]
    Unreachable {
        /// The user.
        uid: u32,
        /// The directory that is closed.
        path: PathBuf,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// Root could be had again: the server does not go on like that.
    #[error("root could not be given up for good")]
    StillRoot,
    /// Giving up root concerns one thread only, and there are several.
    #[error("root has to be given up before there are threads, and there are {threads}")]
    TooManyThreads {
        /// How many there are.
        threads: usize,
    },
    /// A step failed.
    #[error("cannot {step}")]
    Step {
        /// Which one.
        step: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// There is no agent to put into boxes.
    #[error(transparent)]
    Agent(#[from] NoAgent),
    /// The spawner did not start.
    #[error("cannot start the local backend")]
    Launch(#[from] LaunchError),
    /// The spawner ended while the server served.
    #[error("the spawner has ended, and every box with it")]
    SpawnerLost,
    /// The backend failed.
    #[error("the local backend failed")]
    Backend(#[from] BackendError),
    /// The records could not be used.
    #[error("cannot use the records in the data directory")]
    Store(#[from] StoreError),
    /// The server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl Coded for ServeError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotRoot => ErrorCode::PermissionDenied,
            Self::NoSuchUser { .. }
            | Self::UserIsRoot
            | Self::ForeignDirectory { .. }
            | Self::Unreachable { .. } => ErrorCode::InvalidRequest,
            Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => ErrorCode::Busy,
            Self::Bind { .. }
            | Self::StillRoot
            | Self::TooManyThreads { .. }
            | Self::Step { .. }
            | Self::SpawnerLost => ErrorCode::Internal,
            Self::Launch(error) => error.code(),
            Self::Agent(error) => error.code(),
            Self::Backend(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Server(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotRoot => "start it with `sudo devbox serve`; it gives root up as soon as it can",
            Self::NoSuchUser { .. } => "make the user, or give --user a number",
            Self::UserIsRoot => "name another user with --user, or none",
            Self::ForeignDirectory { .. } => {
                "name an empty directory, or one that does not exist yet, with --data-dir"
            }
            Self::Unreachable { path, .. } => {
                return Some(format!(
                    "open it with `chmod o+x {}`, or choose another place with --data-dir",
                    path.display()
                ));
            }
            Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "stop what listens there, or choose another address with --listen"
            }
            Self::Bind { .. } | Self::StillRoot | Self::TooManyThreads { .. } | Self::Step { .. } => {
                return None;
            }
            Self::SpawnerLost => {
                "start the server again; the kernel's log tells if the spawner was killed for want of memory"
            }
            Self::Launch(error) => return error.hint(),
            Self::Agent(error) => return error.hint(),
            Self::Backend(error) => return error.hint(),
            Self::Store(error) => return error.hint(),
            Self::Server(error) => return error.hint(),
        };
        Some(hint.to_owned())
    }
}
