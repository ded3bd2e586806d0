//! What can go wrong with a process.

use std::io;

use devbox_types::{Coded, ErrorCode, ProcessId};

/// Why a program was not started, or a process not reached.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// `argv` has no first element.
    #[error("there is no program to run: `argv` is empty")]
    NoProgram,
    /// A NUL byte where C strings go.
    #[error("{what} contains a NUL byte")]
    Nul {
        /// Where it is.
        what: &'static str,
    },
    /// A name that an environment cannot hold.
    #[error("{name:?} is not the name of an environment variable")]
    BadVariable {
        /// The name.
        name: String,
    },
    /// No such program, or none in any directory of `PATH`.
    #[error("there is no program {program:?}")]
    NoSuchProgram {
        /// What was asked for.
        program: String,
        /// Whether `PATH` was searched.
        searched: bool,
    },
    /// The program is there but its script interpreter or dynamic loader is not.
    #[error("the interpreter of {program:?} is missing")]
    NoInterpreter {
        /// What was asked for.
        program: String,
    },
    /// The user may not execute it.
    #[error("{program:?} may not be executed by this user")]
    NotExecutable {
        /// What was asked for.
        program: String,
    },
    /// Neither a binary for this machine nor a script with a `#!` line.
    #[error("{program:?} is neither a binary for this machine nor a script with a `#!` line")]
    BadFormat {
        /// What was asked for.
        program: String,
    },
    /// Arguments and environment are larger than Linux allows.
    #[error("arguments and environment are larger than Linux allows")]
    TooLong,
    /// The working directory cannot be entered.
    #[error("cannot enter the working directory {path:?}")]
    Directory {
        /// The directory.
        path: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// This process may not become that user.
    #[error("cannot become the user {uid}")]
    Identity {
        /// The user.
        uid: u32,
        /// What the kernel says.
        source: io::Error,
    },
    /// Processes, memory or descriptors are used up.
    #[error("no room for another process: {limit} used up")]
    Exhausted {
        /// What is used up.
        limit: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// More processes run already than this engine carries.
    #[error("{} processes run already", crate::engine::MAX_RUNNING)]
    TooManyRunning,
    /// Anything else on the way to the program.
    #[error("cannot {step}")]
    Io {
        /// The step that failed.
        step: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// Somebody else collected the exit status.
    #[error("the exit status of the process was lost")]
    StatusLost,
    /// No process of that id runs.
    #[error("no process {id} runs")]
    NoSuchProcess {
        /// The id.
        id: ProcessId,
    },
    /// Not the number of a signal.
    #[error("{signal} is not the number of a signal")]
    BadSignal {
        /// The number.
        signal: u8,
    },
}

impl Coded for ExecError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoProgram
            | Self::Nul { .. }
            | Self::BadVariable { .. }
            | Self::BadFormat { .. }
            | Self::BadSignal { .. } => ErrorCode::InvalidRequest,
            Self::NoSuchProgram { .. } | Self::NoInterpreter { .. } => ErrorCode::NotFound,
            Self::NotExecutable { .. } => ErrorCode::PermissionDenied,
            Self::TooLong => ErrorCode::TooLarge,
            Self::Directory { source, .. } => code_of_directory(source),
            Self::Identity { .. } => ErrorCode::PermissionDenied,
            Self::Exhausted { .. } => ErrorCode::QuotaExceeded,
            Self::TooManyRunning => ErrorCode::Unavailable,
            Self::NoSuchProcess { .. } => ErrorCode::ProcessNotFound,
            Self::Io { source, .. } if source.raw_os_error() == Some(libc::ETXTBSY) => ErrorCode::Busy,
            Self::Io { source, .. } if source.raw_os_error() == Some(libc::ELOOP) => ErrorCode::SymlinkLoop,
            Self::Io { source, .. } if source.raw_os_error() == Some(libc::ENAMETOOLONG) => {
                ErrorCode::NameTooLong
            }
            Self::Io { .. } | Self::StatusLost => ErrorCode::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoSuchProgram { searched: true, .. } => {
                "install it, or give its whole path; no shell is involved, so for shell syntax run `sh -c`"
            }
            Self::NotExecutable { .. } => "set its executable bit with `chmod`, or run it as another user",
            Self::BadFormat { .. } => "begin the script with a line such as `#!/bin/sh`, or run `sh` on it",
            Self::TooLong => "pass large data through standard input or a file",
            Self::Exhausted { .. } => "end other processes, or raise the limits of the box",
            Self::TooManyRunning => "wait until some have ended",
            Self::NoInterpreter { .. } => "install what its `#!` line or its ELF header names",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn code_of_directory(source: &io::Error) -> ErrorCode {
    match source.raw_os_error() {
        Some(libc::ENOENT) => ErrorCode::NotFound,
        Some(libc::ENOTDIR) => ErrorCode::NotADirectory,
        Some(libc::EACCES | libc::EPERM) => ErrorCode::PermissionDenied,
        Some(libc::ELOOP) => ErrorCode::SymlinkLoop,
        Some(libc::ENAMETOOLONG) => ErrorCode::NameTooLong,
        _ => ErrorCode::Internal,
    }
}
