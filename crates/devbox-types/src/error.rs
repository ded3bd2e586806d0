//! The closed list of error codes, and what each one means to HTTP and to a shell.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An error that knows its code. Every error enum of the project implements it, without a `_` arm.
pub trait Coded: std::error::Error {
    /// The stable code, for programs.
    fn code(&self) -> ErrorCode;

    /// What to do about it, for people: one imperative sentence, never the only place of a fact.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// Declares the codes once: variant, wire name, HTTP status, whether a retry may help, title.
macro_rules! error_codes {
    ($($variant:ident = $name:literal, $status:literal, $retryable:literal, $title:literal;)+) => {
        /// A stable error code. The list is closed: clients may match on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode {
            $(#[doc = $title] $variant,)+
        }

        impl ErrorCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as it is written on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The HTTP status that carries it.
            #[must_use]
            pub fn http_status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// Whether the same request, sent again, may succeed without anybody changing anything.
            #[must_use]
            pub fn is_retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)+ }
            }

            /// What it means, in a few words: the `title` of the problem.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }
        }
    };
}

error_codes! {
    InvalidRequest = "invalid_request", 400, false, "The request is malformed";
    InvalidPath = "invalid_path", 400, false, "The path is not a path inside a box";
    NameTooLong = "name_too_long", 400, false, "A name or path is longer than Linux allows";
    Unauthorized = "unauthorized", 401, false, "The API key is missing or not valid";
    PermissionDenied = "permission_denied", 403, false, "The acting user may not do this";
    Forbidden = "forbidden", 403, false, "The API key does not have this right";
    PathEscapes = "path_escapes", 403, false, "The path leads out of what the caller may see";
    NotFound = "not_found", 404, false, "There is no entry at this path";
    DevboxNotFound = "devbox_not_found", 404, false, "There is no such box";
    RuntimeNotFound = "runtime_not_found", 404, false, "No template or image provides this runtime";
    ProcessNotFound = "process_not_found", 404, false, "There is no such process";
    UploadNotFound = "upload_not_found", 404, false, "There is no such upload";
    KeyNotFound = "key_not_found", 404, false, "There is no such API key";
    MethodNotAllowed = "method_not_allowed", 405, false, "This resource does not take this method";
    Exists = "exists", 409, false, "There is an entry at this path already";
    NotADirectory = "not_a_directory", 409, false, "A directory is needed, and this is none";
    IsADirectory = "is_a_directory", 409, false, "This is a directory";
    NotARegularFile = "not_a_regular_file", 409, false, "This is a FIFO, socket or device, not a file";
    DirectoryNotEmpty = "directory_not_empty", 409, false, "The directory is not empty";
    SymlinkLoop = "symlink_loop", 409, false, "Too many symbolic links on the way";
    CrossesMount = "crosses_mount", 409, false, "The two paths are on different file systems";
    Busy = "busy", 409, true, "The entry is in use";
    ReadOnly = "read_only", 409, false, "The file system is read-only here";
    Conflict = "conflict", 409, false, "Something else changed what this request depends on";
    NotRunning = "not_running", 409, false, "The box is not running";
    PreconditionFailed = "precondition_failed", 412, false, "The condition of the request does not hold";
    TooLarge = "too_large", 413, false, "The content is larger than the limit";
    UnsupportedCoding = "unsupported_coding", 415, false, "The content coding is not taken here";
    RangeNotSatisfiable = "range_not_satisfiable", 416, false, "The range lies outside the file";
    DigestMismatch = "digest_mismatch", 422, true, "The content does not have the announced digest";
    IdempotencyMismatch = "idempotency_mismatch", 422, false, "The idempotency key was used for another request";
    ChecksumMismatch = "checksum_mismatch", 460, true, "The chunk does not have the announced checksum";
    RateLimited = "rate_limited", 429, true, "Too many requests";
    Interrupted = "interrupted", 400, true, "The request body ended early";
    Internal = "internal", 500, false, "The server failed";
    VerifyFailed = "verify_failed", 500, true, "What was read back is not what was written";
    Unsupported = "unsupported", 501, false, "This box or server cannot do this";
    BadAgentAnswer = "bad_agent_answer", 502, false, "The agent of the box answered nonsense";
    AgentUnreachable = "agent_unreachable", 503, true, "The agent of the box does not answer";
    Unavailable = "unavailable", 503, true, "The server is starting, stopping or full";
    Timeout = "timeout", 504, true, "The deadline of the request has passed";
    NoSpace = "no_space", 507, false, "The disk is full";
    QuotaExceeded = "quota_exceeded", 507, false, "A quota is used up";
}

impl ErrorCode {
    /// The exit code of a command that failed with it; the classes of sysexits.h, so that scripts can tell them apart.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        const USAGE: u8 = 64;
        const NO_INPUT: u8 = 66;
        const UNAVAILABLE: u8 = 69;
        const SOFTWARE: u8 = 70;
        const IO: u8 = 74;
        const TEMPORARY: u8 = 75;
        const NO_PERMISSION: u8 = 77;
        match self.http_status() {
            401 | 403 => NO_PERMISSION,
            404 => NO_INPUT,
            500 | 502 => SOFTWARE,
            501 => UNAVAILABLE,
            507 => IO,
            _ if self.is_retryable() => TEMPORARY,
            400 | 405 => USAGE,
            _ => 1,
        }
    }

    /// The code that is written so, if there is one.
    #[must_use]
    pub fn from_wire(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_name_is_what_serde_writes() {
        for code in ErrorCode::ALL {
            let json = serde_json::to_string(code).expect("json");
            assert_eq!(json, format!("\"{}\"", code.as_str()));
            assert_eq!(ErrorCode::from_wire(code.as_str()), Some(*code));
        }
    }

    #[test]
    fn every_code_is_an_error_to_http_and_to_a_shell() {
        for code in ErrorCode::ALL {
            assert!((400..600).contains(&code.http_status()), "{code}");
            assert_ne!(code.exit_code(), 0, "{code}");
        }
    }
}
