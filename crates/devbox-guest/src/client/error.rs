//! Why a request got no answer.

use std::error::Error as StdError;
use std::io;

use devbox_types::{Coded, ErrorCode, Problem};

use crate::body::BodyError;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection could be made: nothing was sent, and the request may be sent again.
    #[error("the peer cannot be reached")]
    Connect {
        /// What the transport says of it.
        source: io::Error,
    },
    /// The connection broke before an answer came; the request may have taken effect, or not.
    #[error("the connection broke before an answer came")]
    Broken {
        /// What HTTP says of it.
        source: hyper::Error,
    },
    /// What came is not HTTP, or its head is endless.
    #[error("the answer is not valid HTTP")]
    Malformed {
        /// What HTTP says of it.
        source: hyper::Error,
    },
    /// The content that was to be sent ended with this problem.
    #[error("{0}")]
    Content(Problem),
    /// The request cannot be written as HTTP.
    #[error("the request cannot be written as HTTP")]
    Request {
        /// Why not.
        source: http::Error,
    },
}

impl SendError {
    /// Sorts what HTTP says of a failed exchange.
    pub(super) fn of(error: hyper::Error) -> Self {
        let mut cause: Option<&(dyn StdError + 'static)> = error.source();
        while let Some(inner) = cause {
            if let Some(body) = inner.downcast_ref::<BodyError>() {
                return Self::Content(body.to_problem());
            }
            cause = inner.source();
        }
        if error.is_parse() || error.is_parse_status() {
            return Self::Malformed { source: error };
        }
        Self::Broken { source: error }
    }
}

impl Coded for SendError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Connect { .. } | Self::Broken { .. } => ErrorCode::AgentUnreachable,
            Self::Malformed { .. } => ErrorCode::BadAgentAnswer,
            Self::Content(problem) => problem.code,
            Self::Request { .. } => ErrorCode::InvalidRequest,
        }
    }
}

impl From<SendError> for Problem {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Content(problem) => problem,
            other => Self::of(&other),
        }
    }
}
