//! What can go wrong with a box's files, and the one table from errno to it.

use std::io;

use devbox_types::problem::Stands;
use devbox_types::{ActingUser, BoxPath, Coded, EntryKind, ErrorCode, Problem, Right};
use rustix::io::Errno;

/// Why the engine refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// There is no such entry.
    #[error("no entry at {path}")]
    NotFound {
        /// Where.
        path: BoxPath,
    },
    /// There is an entry already.
    #[error("there is an entry at {path} already")]
    Exists {
        /// Where.
        path: BoxPath,
    },
    /// Something on the way, or the entry itself, should be a directory.
    #[error("{path} is not a directory, or leads through something that is none")]
    NotADirectory {
        /// Where.
        path: BoxPath,
    },
    /// A file was meant.
    #[error("{path} is a directory")]
    IsADirectory {
        /// Where.
        path: BoxPath,
    },
    /// A FIFO, socket or device; it was not opened.
    #[error("{path} is a {}, not a regular file", kind_name(*.kind))]
    NotARegularFile {
        /// Where.
        path: BoxPath,
        /// What it is.
        kind: EntryKind,
    },
    /// A directory with entries was to be removed or replaced.
    #[error("the directory {path} is not empty")]
    DirectoryNotEmpty {
        /// Where.
        path: BoxPath,
    },
    /// More symbolic links than Linux follows, or a magic link of `/proc`.
    #[error("too many symbolic links, or a link of /proc, on the way to {path}")]
    SymlinkLoop {
        /// Where.
        path: BoxPath,
    },
    /// A directory would move into itself.
    #[error("{path} cannot move or be copied into itself")]
    IntoItself {
        /// What.
        path: BoxPath,
    },
    /// The paths are on different file systems and the call cannot bridge them.
    #[error("{path} is on another file system")]
    CrossesMount {
        /// Where.
        path: BoxPath,
    },
    /// A mount point, a running program, or something that keeps changing under the call.
    #[error("{path} is in use")]
    Busy {
        /// Where.
        path: BoxPath,
    },
    /// The file system is mounted read-only.
    #[error("the file system of {path} is read-only")]
    ReadOnly {
        /// Where.
        path: BoxPath,
    },
    /// The kernel does not let the acting user do this.
    #[error("the acting user may not {step} {path}")]
    PermissionDenied {
        /// What was tried.
        step: &'static str,
        /// Where.
        path: BoxPath,
    },
    /// The owner of the replaced file could not be kept.
    #[error("{path} belongs to another user, and replacing it would change its owner")]
    OwnerWouldChange {
        /// Where.
        path: BoxPath,
    },
    /// A link or `..` leads out of the folder that the caller may see.
    #[error("{path} leads out of the folder that this caller may see")]
    PathEscapes {
        /// Where.
        path: BoxPath,
    },
    /// A name or a resolved path is longer than Linux allows.
    #[error("a name on the way to {path} is too long")]
    NameTooLong {
        /// Where.
        path: BoxPath,
    },
    /// A name that the engine keeps for itself.
    #[error("{path} has a name that is reserved for staging")]
    ReservedName {
        /// Where.
        path: BoxPath,
    },
    /// The root itself, where an entry in a directory is needed.
    #[error("the root itself cannot be the object of this operation")]
    RootItself,
    /// The disk is full.
    #[error("the disk is full")]
    NoSpace,
    /// A disk quota is used up.
    #[error("the disk quota is used up")]
    QuotaExceeded,
    /// More bytes than the caller, or the file system, allows.
    #[error("more than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// More entries than one call may touch.
    #[error("more than {limit} entries in one call")]
    TooManyEntries {
        /// The limit.
        limit: u64,
    },
    /// A tree is deeper than the call goes.
    #[error("{path} is deeper than {limit} directories")]
    TooDeep {
        /// Where.
        path: BoxPath,
        /// The limit.
        limit: usize,
    },
    /// The condition of a write does not hold.
    #[error("{path} is not the version, or not in the state, that the condition asks for")]
    PreconditionFailed {
        /// Where.
        path: BoxPath,
    },
    /// The content does not have the announced digest.
    #[error("the content for {path} does not have the announced SHA-256")]
    DigestMismatch {
        /// Where.
        path: BoxPath,
    },
    /// Fewer bytes came than were announced.
    #[error("{received} of {expected} announced bytes came for {path}")]
    ShortBody {
        /// Where.
        path: BoxPath,
        /// How many were announced.
        expected: u64,
        /// How many came.
        received: u64,
    },
    /// More bytes came than were announced.
    #[error("more than the {expected} announced bytes came for {path}")]
    LongBody {
        /// Where.
        path: BoxPath,
        /// How many were announced.
        expected: u64,
    },
    /// No byte of the range is in the file.
    #[error("the range lies outside the {size_bytes} bytes of {path}")]
    RangeNotSatisfiable {
        /// Where.
        path: BoxPath,
        /// How long the file is.
        size_bytes: u64,
    },
    /// The file became shorter while it was read.
    #[error("{path} was truncated while it was read")]
    Truncated {
        /// Where.
        path: BoxPath,
    },
    /// Something else changed what a batch depends on; nothing was overwritten.
    #[error("{} changed while the call was at work", first_and_more(paths))]
    Conflict {
        /// Where.
        paths: Vec<BoxPath>,
    },
    /// The request contradicts itself.
    #[error("{reason}")]
    Invalid {
        /// How.
        reason: &'static str,
    },
    /// The first call with this idempotency key is at work still.
    #[error("the first call with this Idempotency-Key is under way")]
    KeyInUse,
    /// The idempotency key came with another call before.
    #[error("this Idempotency-Key was used for another call")]
    KeyMismatch,
    /// There is no such user in the box.
    #[error("there is no user {user:?} in the box")]
    UnknownUser {
        /// Who.
        user: String,
    },
    /// There is no such group in the box.
    #[error("there is no group {group:?} in the box")]
    UnknownGroup {
        /// Which.
        group: String,
    },
    /// A file that the kernel makes up, such as those of `/proc`.
    #[error("{path} is made up by the kernel, and what is written to it is an order to it")]
    KernelFile {
        /// Where.
        path: BoxPath,
    },
    /// What was stored is not what was handed to the file system.
    #[error("what was read back of {path} is not what was written")]
    NotAsWritten {
        /// Where.
        path: BoxPath,
    },
    /// A write that is not atomic failed, and left something behind.
    #[error("{source}")]
    Halfway {
        /// Why it failed.
        source: Box<FsError>,
        /// What it left.
        stands: Stands,
    },
    /// The engine runs without the privilege to act as somebody else.
    #[error("the file engine runs as one user only, and cannot act as {user:?}")]
    CannotActAs {
        /// As whom.
        user: String,
    },
    /// The grant lacks a right.
    #[error("the grant does not have the right to {}", right_name(*.right))]
    Forbidden {
        /// Which.
        right: Right,
    },
    /// The deadline of the grant has passed.
    #[error("the deadline passed while the call was at work")]
    DeadlinePassed,
    /// The file system or kernel cannot do it.
    #[error("the file system or kernel cannot {step} {path}")]
    Unsupported {
        /// What was tried.
        step: &'static str,
        /// Where.
        path: BoxPath,
    },
    /// The process has no descriptors or memory left.
    #[error("the file engine is out of descriptors or memory")]
    Exhausted,
    /// Anything else that the kernel says.
    #[error("cannot {step} {path}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// Where.
        path: BoxPath,
        /// What the kernel said.
        source: io::Error,
    },
}

impl FsError {
    /// The table from errno to condition. `step` is a verb phrase: "write", "make the directory".
    pub(crate) fn at(step: &'static str, path: &BoxPath, errno: Errno) -> Self {
        let path = path.clone();
        match errno {
            Errno::NOENT => Self::NotFound { path },
            Errno::EXIST => Self::Exists { path },
            Errno::NOTDIR => Self::NotADirectory { path },
            Errno::ISDIR => Self::IsADirectory { path },
            Errno::NOTEMPTY => Self::DirectoryNotEmpty { path },
            Errno::LOOP => Self::SymlinkLoop { path },
            Errno::XDEV => Self::CrossesMount { path },
            Errno::BUSY | Errno::TXTBSY | Errno::AGAIN => Self::Busy { path },
            Errno::ROFS => Self::ReadOnly { path },
            Errno::ACCESS | Errno::PERM => Self::PermissionDenied { step, path },
            Errno::NAMETOOLONG => Self::NameTooLong { path },
            Errno::NOSPC => Self::NoSpace,
            Errno::DQUOT => Self::QuotaExceeded,
            Errno::FBIG => Self::TooLarge { limit_bytes: i64::MAX.unsigned_abs() },
            Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY => Self::Unsupported { step, path },
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => Self::Exhausted,
            other => Self::Io { step, path, source: other.into() },
        }
    }

    /// The same while a path is resolved, where EXDEV means that it leads out of its anchor.
    pub(crate) fn resolving(path: &BoxPath, errno: Errno) -> Self {
        match errno {
            Errno::XDEV => Self::PathEscapes { path: path.clone() },
            other => Self::at("reach", path, other),
        }
    }

    pub(crate) fn unknown_user(user: &ActingUser) -> Self {
        Self::UnknownUser { user: user.to_string() }
    }

    /// Whether it tells of the disk or the machine and not of the request, so that the same call may succeed later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::NoSpace
                | Self::QuotaExceeded
                | Self::ReadOnly { .. }
                | Self::Exhausted
                | Self::DeadlinePassed
                | Self::Io { .. }
        )
    }

    /// The path that it is about, where it is about one.
    #[must_use]
    pub fn path(&self) -> Option<&BoxPath> {
        match self {
            Self::NotFound { path }
            | Self::Exists { path }
            | Self::NotADirectory { path }
            | Self::IsADirectory { path }
            | Self::NotARegularFile { path, .. }
            | Self::DirectoryNotEmpty { path }
            | Self::SymlinkLoop { path }
            | Self::IntoItself { path }
            | Self::CrossesMount { path }
            | Self::Busy { path }
            | Self::ReadOnly { path }
            | Self::PermissionDenied { path, .. }
            | Self::OwnerWouldChange { path }
            | Self::PathEscapes { path }
            | Self::NameTooLong { path }
            | Self::ReservedName { path }
            | Self::TooDeep { path, .. }
            | Self::PreconditionFailed { path }
            | Self::DigestMismatch { path }
            | Self::ShortBody { path, .. }
            | Self::LongBody { path, .. }
            | Self::RangeNotSatisfiable { path, .. }
            | Self::Truncated { path }
            | Self::Unsupported { path, .. }
            | Self::Io { path, .. } => Some(path),
            Self::KernelFile { path } | Self::NotAsWritten { path } => Some(path),
            Self::Halfway { source, .. } => source.path(),
            Self::Conflict { paths } => paths.first(),
            Self::RootItself
            | Self::NoSpace
            | Self::QuotaExceeded
            | Self::TooLarge { .. }
            | Self::TooManyEntries { .. }
            | Self::Invalid { .. }
            | Self::UnknownUser { .. }
            | Self::UnknownGroup { .. }
            | Self::CannotActAs { .. }
            | Self::Forbidden { .. }
            | Self::KeyInUse
            | Self::KeyMismatch
            | Self::DeadlinePassed
            | Self::Exhausted => None,
        }
    }
}

impl Coded for FsError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Exists { .. } => ErrorCode::Exists,
            Self::NotADirectory { .. } => ErrorCode::NotADirectory,
            Self::IsADirectory { .. } => ErrorCode::IsADirectory,
            Self::NotARegularFile { .. } | Self::KernelFile { .. } => ErrorCode::NotARegularFile,
            Self::NotAsWritten { .. } => ErrorCode::VerifyFailed,
            Self::Halfway { source, .. } => source.code(),
            Self::DirectoryNotEmpty { .. } => ErrorCode::DirectoryNotEmpty,
            Self::SymlinkLoop { .. } => ErrorCode::SymlinkLoop,
            Self::CrossesMount { .. } => ErrorCode::CrossesMount,
            Self::Busy { .. } | Self::KeyInUse => ErrorCode::Busy,
            Self::KeyMismatch => ErrorCode::IdempotencyMismatch,
            Self::ReadOnly { .. } => ErrorCode::ReadOnly,
            Self::PermissionDenied { .. } | Self::OwnerWouldChange { .. } | Self::CannotActAs { .. } => {
                ErrorCode::PermissionDenied
            }
            Self::PathEscapes { .. } => ErrorCode::PathEscapes,
            Self::NameTooLong { .. } => ErrorCode::NameTooLong,
            Self::ReservedName { .. } | Self::RootItself => ErrorCode::InvalidPath,
            Self::NoSpace => ErrorCode::NoSpace,
            Self::QuotaExceeded => ErrorCode::QuotaExceeded,
            Self::TooLarge { .. } | Self::TooManyEntries { .. } | Self::TooDeep { .. } => ErrorCode::TooLarge,
            Self::PreconditionFailed { .. } => ErrorCode::PreconditionFailed,
            Self::DigestMismatch { .. } => ErrorCode::DigestMismatch,
            Self::ShortBody { .. } => ErrorCode::Interrupted,
            Self::RangeNotSatisfiable { .. } => ErrorCode::RangeNotSatisfiable,
            Self::Truncated { .. } | Self::Conflict { .. } => ErrorCode::Conflict,
            Self::LongBody { .. }
            | Self::Invalid { .. }
            | Self::IntoItself { .. }
            | Self::UnknownUser { .. }
            | Self::UnknownGroup { .. } => ErrorCode::InvalidRequest,
            Self::Forbidden { .. } => ErrorCode::Forbidden,
            Self::DeadlinePassed => ErrorCode::Timeout,
            Self::Unsupported { .. } => ErrorCode::Unsupported,
            Self::Exhausted => ErrorCode::Unavailable,
            Self::Io { .. } => ErrorCode::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotFound { .. } => "check the path, or make missing directories with `parents`",
            Self::Exists { .. } => "choose another name, or pass `overwrite`",
            Self::IsADirectory { .. } => "list it, or pass `recursive` to delete or copy it",
            Self::NotARegularFile { .. } | Self::KernelFile { .. } => {
                "read and write it from a program in the box"
            }
            Self::NotAsWritten { .. } => "send it again, and look at the disk",
            Self::Halfway { source, .. } => return source.hint(),
            Self::DirectoryNotEmpty { .. } => "pass `recursive` to delete it with all it holds",
            Self::SymlinkLoop { .. } => "look at the link with `nofollow`, and mend it",
            Self::Busy { .. } => "try again, or stop what uses it; a mount point cannot be replaced",
            Self::KeyInUse => "repeat the call in a moment",
            Self::KeyMismatch => "send a new Idempotency-Key",
            Self::PermissionDenied { .. } => "act as its owner or as root, or change its permissions",
            Self::OwnerWouldChange { .. } => "act as its owner or as root",
            Self::PathEscapes { .. } => "use a path, and links, inside the folder",
            Self::ReservedName { .. } => "choose another name",
            Self::NoSpace => "delete something, or give the box a larger disk",
            Self::QuotaExceeded => "delete something, or raise the quota",
            Self::TooLarge { .. } => "send less, or raise the limit",
            Self::TooManyEntries { .. } => "split the call",
            Self::TooDeep { .. } => "work on its sub-directories one by one",
            Self::PreconditionFailed { .. } => "read it again and repeat the change on what is there now",
            Self::DigestMismatch { .. } | Self::ShortBody { .. } => "send the content again",
            Self::Truncated { .. } => "read it again",
            Self::Conflict { .. } => "look at what changed and repeat the call",
            Self::UnknownGroup { .. } => "add the group to /etc/group of the box, or give a number",
            Self::UnknownUser { .. } => "add the user to /etc/passwd of the box, or give a number",
            Self::CannotActAs { .. } => "leave the user out",
            Self::DeadlinePassed => "allow more time, or do less in one call",
            Self::Exhausted => "try again later",
            Self::NotADirectory { .. }
            | Self::IntoItself { .. }
            | Self::CrossesMount { .. }
            | Self::ReadOnly { .. }
            | Self::NameTooLong { .. }
            | Self::RootItself
            | Self::LongBody { .. }
            | Self::RangeNotSatisfiable { .. }
            | Self::Invalid { .. }
            | Self::Forbidden { .. }
            | Self::Unsupported { .. }
            | Self::Io { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<FsError> for Problem {
    fn from(error: FsError) -> Self {
        let mut problem = Self::of(&error);
        problem.path = error.path().map(ToString::to_string);
        match &error {
            FsError::Conflict { paths } => problem.conflicts = told(paths),
            FsError::Halfway { stands, source } => {
                if let FsError::Conflict { paths } = &**source {
                    problem.conflicts = told(paths);
                }
                return problem.with_stands(*stands);
            }
            _ => {}
        }
        problem
    }
}

/// As many of the paths as an answer may hold: it is bounded where it is read, and JSON makes six bytes of some.
fn told(paths: &[BoxPath]) -> Vec<String> {
    const MOST_BYTES: usize = 8 << 10;
    let mut left = MOST_BYTES;
    let fits = |path: &&BoxPath| {
        let fits = left.checked_sub(path.as_bytes().len());
        left = fits.unwrap_or(0);
        fits.is_some()
    };
    paths.iter().take_while(fits).map(ToString::to_string).collect()
}

/// The paths of a conflict in a sentence: the first, and how many more.
fn first_and_more(paths: &[BoxPath]) -> String {
    match paths {
        [] => String::new(),
        [path] => path.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory => "directory",
        EntryKind::Symlink => "symbolic link",
        EntryKind::Fifo => "FIFO",
        EntryKind::Socket => "socket",
        EntryKind::BlockDevice | EntryKind::CharacterDevice => "device",
    }
}

fn right_name(right: Right) -> &'static str {
    match right {
        Right::Read => "read",
        Right::Write => "write",
        Right::Execute => "execute",
        Right::ActAsAnyUser => "act as any user",
    }
}

/// Turns an errno at a step of the work on a path into an [`FsError`].
pub(crate) trait At<T> {
    fn at(self, step: &'static str, path: &BoxPath) -> Result<T, FsError>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: &'static str, path: &BoxPath) -> Result<T, FsError> {
        self.map_err(|errno| FsError::at(step, path, errno))
    }
}
