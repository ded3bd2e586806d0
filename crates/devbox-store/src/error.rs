//! Why the store could not do what it was asked.

use std::io;
use std::path::PathBuf;

use devbox_types::{BoxId, Coded, ErrorCode};

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not be opened or brought to its present form.
    #[error("cannot open the database {path:?}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: sqlx::Error,
    },
    /// The tables could not be brought to their present form; a newer version may have written them.
    #[error("cannot migrate the database {path:?}")]
    Migrate {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: sqlx::migrate::MigrateError,
    },
    /// A file of the data directory could not be read or written.
    #[error("cannot {step} {path:?}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The database refused a statement.
    #[error("cannot {step} in the database")]
    Statement {
        /// What was being done.
        step: &'static str,
        /// What SQLite says.
        source: sqlx::Error,
    },
    /// A row cannot be understood.
    #[error("the database holds a {what} that cannot be read")]
    Corrupt {
        /// What kind of row.
        what: &'static str,
    },
    /// A first key was left by a start that did not finish, and it is not one.
    #[error("{path:?} exists, but holds no API key that only its owner can read")]
    FirstKeyTaken {
        /// The file.
        path: PathBuf,
    },
    /// Another box of the project has this name.
    #[error("a box named {name:?} exists already in this project")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The idempotency key was used for a request that is not the same.
    #[error("this Idempotency-Key was used for another request")]
    IdempotencyMismatch,
    /// The box made under this idempotency key is not ready yet.
    #[error("the first request with this Idempotency-Key is still being worked on")]
    CreationUnderWay,
    /// The box made under this idempotency key was deleted since.
    #[error("the box made with this Idempotency-Key, {id}, was deleted")]
    CreationDeleted {
        /// The box.
        id: BoxId,
    },
    /// There is no such key, or it is revoked.
    #[error("no API key {id:?}")]
    NoSuchKey {
        /// Its id.
        id: String,
    },
    /// Without this key nobody could make keys any more.
    #[error("{id:?} is the last admin key of this server, and cannot be deleted")]
    LastAdminKey {
        /// Its id.
        id: String,
    },
    /// A cursor was not one of ours.
    #[error("the cursor is not valid")]
    BadCursor,
    /// The audit queue stayed full, or its writer is gone.
    #[error("the audit record of this operation cannot be queued")]
    AuditStalled,
    /// The system gave no random bytes.
    #[error("cannot read random bytes")]
    Random {
        /// What the system says.
        source: getrandom::Error,
    },
}

impl Coded for StoreError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorCode::NoSpace,
            Self::Open { .. }
            | Self::Migrate { .. }
            | Self::Io { .. }
            | Self::Statement { .. }
            | Self::Corrupt { .. }
            | Self::FirstKeyTaken { .. }
            | Self::Random { .. } => ErrorCode::Internal,
            Self::NameTaken { .. } => ErrorCode::Exists,
            Self::IdempotencyMismatch => ErrorCode::IdempotencyMismatch,
            Self::CreationUnderWay => ErrorCode::Busy,
            Self::CreationDeleted { .. } => ErrorCode::DevboxNotFound,
            Self::NoSuchKey { .. } => ErrorCode::KeyNotFound,
            Self::LastAdminKey { .. } => ErrorCode::Conflict,
            Self::BadCursor => ErrorCode::InvalidRequest,
            Self::AuditStalled => ErrorCode::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NameTaken { .. } => "choose another name, or delete that box first",
            Self::IdempotencyMismatch | Self::CreationDeleted { .. } => "send a new Idempotency-Key",
            Self::CreationUnderWay => "send the same request again in a moment",
            Self::LastAdminKey { .. } => "make another one first, with `devbox key create --role admin`",
            Self::BadCursor => "pass `next_cursor` of the page before as it is",
            Self::Migrate { .. } => "start the newest version that this data directory was used with",
            Self::FirstKeyTaken { .. } => "move that file away, then start again",
            Self::AuditStalled => "look into the server's log: its disk may be full",
            Self::Open { .. }
            | Self::Io { .. }
            | Self::Statement { .. }
            | Self::Corrupt { .. }
            | Self::NoSuchKey { .. }
            | Self::Random { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// Names the step in which a statement failed.
pub(crate) fn statement(step: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Statement { step, source }
}
