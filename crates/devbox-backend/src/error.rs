//! Why a backend could not do what it was asked.

use std::io;

use devbox_types::{BoxId, Coded, ErrorCode};

/// Why a backend could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// It has no box of this id.
    #[error("no box {id}")]
    NoSuchBox {
        /// The id.
        id: BoxId,
    },
    /// A box of this id is there already.
    #[error("box {id} exists already")]
    Exists {
        /// The id.
        id: BoxId,
    },
    /// It has no such template.
    #[error("no template named {name:?}")]
    NoSuchTemplate {
        /// The name asked for.
        name: String,
    },
    /// The box does not run.
    #[error("box {id} is {state}")]
    NotRunning {
        /// The id.
        id: BoxId,
        /// The word for its state.
        state: &'static str,
    },
    /// There is no room for another box, or for what it needs.
    #[error("no room to {step}")]
    NoSpace {
        /// What was being done.
        step: &'static str,
    },
    /// This backend cannot do this at all.
    #[error("this backend cannot {what}")]
    Unsupported {
        /// What was asked.
        what: &'static str,
    },
    /// A step failed on the host.
    #[error("cannot {step}")]
    Step {
        /// Which one.
        step: String,
        /// What the kernel says.
        source: io::Error,
    },
}

impl Coded for BackendError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoSuchBox { .. } => ErrorCode::DevboxNotFound,
            Self::Exists { .. } => ErrorCode::Exists,
            Self::NoSuchTemplate { .. } => ErrorCode::RuntimeNotFound,
            Self::NotRunning { .. } => ErrorCode::NotRunning,
            Self::NoSpace { .. } => ErrorCode::NoSpace,
            Self::Unsupported { .. } => ErrorCode::Unsupported,
            Self::Step { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorCode::NoSpace,
            Self::Step { .. } => ErrorCode::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotRunning { id, .. } => Some(format!("start it with `devbox start {id}`")),
            Self::NoSpace { .. } => {
                Some("delete boxes that are not needed, or give the data directory more space".to_owned())
            }
            Self::NoSuchTemplate { .. } => Some("see `GET /v1/templates` for what there is".to_owned()),
            Self::NoSuchBox { .. } | Self::Exists { .. } | Self::Unsupported { .. } | Self::Step { .. } => {
                None
            }
        }
    }
}
