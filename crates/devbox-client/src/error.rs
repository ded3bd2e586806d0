//! Why a call failed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use devbox_guest::{HINT_OF_TLS, SendError};
use devbox_types::{BoxPathError, Coded, ErrorCode, Problem};

use crate::endpoint::EndpointError;

/// Why a call failed: what the server says of it, or why there was no sensible answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server, or the box, met this problem.
    #[error("{0}")]
    Problem(Problem),
    /// Nothing could be reached at the address; the call was not sent.
    #[error("cannot connect to {url}")]
    Connect {
        /// The address.
        url: String,
        /// What the system says.
        source: io::Error,
    },
    /// The line broke after the call was sent: whether it took effect is not known.
    #[error("the connection to {url} broke before the answer came")]
    Broken {
        /// The address.
        url: String,
        /// What is known of the reason.
        source: io::Error,
    },
    /// No answer came in time: whether the call took effect is not known.
    #[error("no answer from {url} within {} seconds", after.as_secs_f32())]
    Timeout {
        /// The address.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// The answer is not one that a Devbox server gives.
    #[error("{url} answered {method} {path} with something that is not the Devbox API (status {status})")]
    BadAnswer {
        /// The address.
        url: String,
        /// The method of the call.
        method: String,
        /// The path of the call.
        path: String,
        /// The status of the answer.
        status: u16,
    },
    /// The address is not one.
    #[error("{url:?} is not the address of a server")]
    BadUrl {
        /// The text.
        url: String,
        /// What is wrong with it.
        source: EndpointError,
    },
    /// No key was given, and the call needs one.
    #[error("no API key was given")]
    NoApiKey,
    /// The key has characters that no key has.
    #[error("the API key has characters that no API key has")]
    BadApiKey,
    /// The name that the program calls itself cannot stand in a header.
    #[error("the user agent has characters that cannot be sent")]
    BadUserAgent,
    /// A request cannot be written as JSON.
    #[error("the request cannot be written as JSON")]
    Unwritable {
        /// Why.
        source: serde_json::Error,
    },
    /// An environment variable is not text.
    #[error("the environment variable {name} is not UTF-8")]
    BadVariable {
        /// Which one.
        name: &'static str,
    },
    /// The certificates to trust could not be read.
    #[error("cannot read certificates from {}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system has no certificates to trust, and none were given.
    #[error("this system has no trusted certificates")]
    NoTrustedCertificates,
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls {
        /// Why.
        source: rustls::Error,
    },
    /// A text is no path inside a box.
    #[error("{path:?} is not a path inside a box")]
    BadPath {
        /// The text.
        path: String,
        /// What is wrong with it.
        source: BoxPathError,
    },
    /// There is no box of this name.
    #[error("there is no box named {name:?}")]
    NoSuchName {
        /// The name.
        name: String,
    },
    /// A local file could not be worked on.
    #[error("cannot {doing} {}", path.display())]
    Local {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file that is transferred is not the one that the transfer began with.
    #[error("{path} changed while it was transferred")]
    SourceChanged {
        /// The file.
        path: String,
    },
    /// The caller cancelled the transfer.
    #[error("the transfer was cancelled")]
    Cancelled,
    /// A program said more than the caller wanted to hold in memory; it was killed.
    #[error("the program wrote more than {limit_bytes} bytes")]
    OutputTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
}

impl ClientError {
    /// The same, as the one form that all surfaces know.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::Problem(problem) => {
                let mut problem = problem.clone();
                problem.hint = self.hint();
                problem
            }
            other => Problem::of(other),
        }
    }
}

impl Coded for ClientError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Problem(problem) => problem.code,
            Self::Connect { .. } | Self::Broken { .. } => ErrorCode::Unavailable,
            Self::Timeout { .. } => ErrorCode::Timeout,
            Self::BadAnswer { .. } => ErrorCode::BadAgentAnswer,
            Self::NoApiKey | Self::BadApiKey => ErrorCode::Unauthorized,
            Self::BadUrl { .. }
            | Self::BadUserAgent
            | Self::Unwritable { .. }
            | Self::BadVariable { .. }
            | Self::CaFile { .. }
            | Self::NoTrustedCertificates
            | Self::Tls { .. } => ErrorCode::InvalidRequest,
            Self::BadPath { source, .. } => source.code(),
            Self::NoSuchName { .. } => ErrorCode::DevboxNotFound,
            Self::Local { source, .. } => local_code(source),
            Self::SourceChanged { .. } => ErrorCode::Conflict,
            Self::Cancelled => ErrorCode::Interrupted,
            Self::OutputTooLarge { .. } => ErrorCode::TooLarge,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            // The server speaks of headers; whoever uses this crate sets a key.
            Self::Problem(problem) if problem.code == ErrorCode::Unauthorized => HINT_OF_KEY,
            Self::Problem(problem) => return problem.hint.clone(),
            Self::BadPath { source, .. } => return source.hint(),
            Self::Connect { source, .. } => hint_of_tls(source).unwrap_or(HINT_OF_SERVER),
            Self::Broken { source, .. } if is_not_http(source) => HINT_OF_TLS,
            Self::Broken { .. } | Self::Timeout { .. } => {
                "look at the state with `devbox ls` before you repeat the call"
            }
            Self::BadAnswer { .. } => "set DEVBOX_URL to the address of a Devbox server",
            Self::BadUrl { .. } => "write it like http://127.0.0.1:8080 or https://devbox.example.com",
            Self::NoApiKey | Self::BadApiKey => HINT_OF_KEY,
            Self::CaFile { .. } | Self::NoTrustedCertificates => {
                "set DEVBOX_CA_FILE to a PEM file with the certificates to trust"
            }
            Self::NoSuchName { .. } => "see `devbox ls` for the boxes that there are",
            Self::SourceChanged { .. } => "transfer it again once nobody changes it any more",
            Self::OutputTooLarge { .. } => "stream the output, or write it to a file in the box",
            Self::Local { .. }
            | Self::Cancelled
            | Self::BadUserAgent
            | Self::Unwritable { .. }
            | Self::BadVariable { .. }
            | Self::Tls { .. } => {
                return None;
            }
        };
        Some(hint.to_owned())
    }
}

impl From<Problem> for ClientError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<devbox_guest::BodyError> for ClientError {
    fn from(error: devbox_guest::BodyError) -> Self {
        Problem::from(error).into()
    }
}

const HINT_OF_SERVER: &str = "start the server with `devbox serve`, or set DEVBOX_URL to where it listens";

const HINT_OF_KEY: &str =
    "set DEVBOX_API_KEY; `devbox serve` leaves its first key in first.key in its data directory";

/// Whether what came back is not HTTP: a port of TLS answers plain text with an alert.
fn is_not_http(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<SendError>());
    matches!(error, Some(SendError::Malformed { .. }))
}

/// What to do if connecting failed at TLS, once somebody listened.
fn hint_of_tls(error: &io::Error) -> Option<&'static str> {
    use rustls::{CertificateError, Error, OtherError};

    Some(match error.get_ref()?.downcast_ref::<Error>()? {
        Error::InvalidCertificate(CertificateError::NotValidForName)
        | Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }) => {
            "write the address with a name that the certificate is for"
        }
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "renew the server's certificate, or set the clock of this machine",
        // What the certificate library says has no type here, only a name.
        Error::InvalidCertificate(CertificateError::Other(OtherError(error)))
            if error.to_string() == "CaUsedAsEndEntity" =>
        {
            "make the server's certificate with `basicConstraints=CA:FALSE`: this one is an authority's"
        }
        Error::InvalidCertificate(_) => {
            "give the server's certificate authority as `ca_file` (DEVBOX_CA_FILE)"
        }
        Error::InvalidMessage(_) => "write the address with http:// if the server has no TLS",
        _ => return None,
    })
}

fn local_code(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorCode::NotFound,
        io::ErrorKind::PermissionDenied => ErrorCode::PermissionDenied,
        io::ErrorKind::IsADirectory => ErrorCode::IsADirectory,
        io::ErrorKind::StorageFull => ErrorCode::NoSpace,
        io::ErrorKind::QuotaExceeded => ErrorCode::QuotaExceeded,
        io::ErrorKind::ReadOnlyFilesystem => ErrorCode::ReadOnly,
        io::ErrorKind::InvalidInput => ErrorCode::NotARegularFile,
        _ => ErrorCode::Internal,
    }
}
