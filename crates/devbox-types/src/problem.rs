//! The body of every error answer: RFC 9457 problem details, with a stable code.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Coded, ErrorCode};
use crate::id::RequestId;
use crate::path::BoxPath;

/// What went wrong, in a form that survives any number of hops.
///
/// It is the error of the whole `Guest` contract: what an engine reports, the agent sends and the server passes on.
/// On the wire `application/problem+json` with `type`, `title`, `status`, `detail` (RFC 9457), and `code`, `path`,
/// `hint`, `retryable`, `request_id` of our own. `type`, `title`, `status` follow from `code` and are ignored when read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct Problem {
    /// The stable code.
    pub code: ErrorCode,
    /// What happened, for a person: lower case, no full stop.
    pub detail: String,
    /// The path it is about, as a person reads it.
    pub path: Option<String>,
    /// What to do, as one imperative sentence.
    pub hint: Option<String>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// The request in which it happened; filled in by the edge.
    pub request_id: Option<RequestId>,
    /// The paths of a batch that conflict, where that is the problem; of very many, the first.
    pub conflicts: Vec<String>,
    /// What a write left behind that is not atomic and failed halfway.
    pub stands: Option<Stands>,
    /// How long to wait before the same request can succeed, where that is known. It is not in the body: it travels as
    /// `Retry-After`, in whole seconds.
    pub retry_after: Option<Duration>,
}

/// What is left of a write that is not atomic and failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Stands {
    /// How many bytes of the content are in the file.
    pub written_bytes: u64,
    /// How long the file is now.
    pub size_bytes: u64,
}

impl Problem {
    /// A problem of this code with this account of it.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            path: None,
            hint: None,
            retryable: code.is_retryable(),
            request_id: None,
            conflicts: Vec::new(),
            stands: None,
            retry_after: None,
        }
    }

    /// The problem that an error of ours is. Its cause is left out: that is for logs.
    #[must_use]
    pub fn of(error: &impl Coded) -> Self {
        Self { hint: error.hint(), ..Self::new(error.code(), error.to_string()) }
    }

    /// Names the path it is about.
    #[must_use]
    pub fn with_path(self, path: &BoxPath) -> Self {
        Self { path: Some(path.to_string()), ..self }
    }

    /// Says what to do.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Says how long to wait.
    #[must_use]
    pub fn with_retry_after(self, pause: Duration) -> Self {
        Self { retry_after: Some(pause), ..self }
    }

    /// How long to wait as `Retry-After` says it: whole seconds, at least one, never less than asked for.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let pause = self.retry_after?;
        Some(pause.as_secs().saturating_add(u64::from(pause.subsec_nanos() > 0)).max(1))
    }

    /// Says what a write left behind.
    #[must_use]
    pub fn with_stands(self, stands: Stands) -> Self {
        let Stands { written_bytes, size_bytes } = stands;
        let detail = format!(
            "{}; {written_bytes} bytes of the content are in the file, which has {size_bytes} bytes now",
            self.detail
        );
        Self { detail, stands: Some(stands), ..self }
    }

    /// Says in which request it happened.
    #[must_use]
    pub fn with_request_id(self, request_id: RequestId) -> Self {
        Self { request_id: Some(request_id), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

impl Coded for Problem {
    fn code(&self) -> ErrorCode {
        self.code
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

impl From<crate::path::BoxPathError> for Problem {
    fn from(error: crate::path::BoxPathError) -> Self {
        Self::of(&error)
    }
}

/// What went wrong: RFC 9457 problem details, with a stable code.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
struct Wire {
    /// `urn:devbox:error:` and the code.
    #[serde(default, rename = "type")]
    kind: String,
    /// What the code means, in a few words.
    #[serde(default)]
    title: String,
    /// The HTTP status.
    #[serde(default)]
    status: u16,
    /// What happened, for a person.
    #[serde(default)]
    detail: String,
    /// The stable code, for programs.
    code: ErrorCode,
    /// The path it is about, as a person reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// What to do, as one imperative sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Whether the same request may succeed later.
    #[serde(default)]
    retryable: bool,
    /// The request in which it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    request_id: Option<RequestId>,
    /// The paths of a batch that conflict, where that is the problem; of very many, the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    conflicts: Vec<String>,
    /// What a write left behind that is not atomic and failed halfway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stands: Option<Stands>,
}

/// The schema is that of the wire form.
#[cfg(feature = "schema")]
mod schema {
    use utoipa::openapi::{RefOr, Schema};

    use super::{Problem, Wire};

    impl utoipa::PartialSchema for Problem {
        fn schema() -> RefOr<Schema> {
            Wire::schema()
        }
    }

    impl utoipa::ToSchema for Problem {
        fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
            Wire::schemas(schemas);
        }
    }
}

impl From<Problem> for Wire {
    fn from(problem: Problem) -> Self {
        let code = problem.code;
        Self {
            kind: format!("urn:devbox:error:{code}"),
            title: code.title().to_owned(),
            status: code.http_status(),
            detail: problem.detail,
            code,
            path: problem.path,
            hint: problem.hint,
            retryable: problem.retryable,
            request_id: problem.request_id,
            conflicts: problem.conflicts,
            stands: problem.stands,
        }
    }
}

impl From<Wire> for Problem {
    fn from(wire: Wire) -> Self {
        Self {
            code: wire.code,
            detail: wire.detail,
            path: wire.path,
            hint: wire.hint,
            retryable: wire.retryable,
            request_id: wire.request_id,
            conflicts: wire.conflicts,
            stands: wire.stands,
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_survives_the_wire() {
        let path = BoxPath::parse(b"/workspace/a").expect("a path");
        let problem =
            Problem::new(ErrorCode::NotFound, "no entry").with_path(&path).with_hint("create it first");
        let json = serde_json::to_value(&problem).expect("json");
        assert_eq!(json["status"], 404);
        assert_eq!(json["type"], "urn:devbox:error:not_found");
        assert_eq!(serde_json::from_value::<Problem>(json).expect("a problem"), problem);
    }

    #[test]
    fn a_pause_is_rounded_up_to_whole_seconds() {
        let seconds = |milliseconds| {
            let pause = Duration::from_millis(milliseconds);
            Problem::new(ErrorCode::RateLimited, "slow down").with_retry_after(pause).retry_after_seconds()
        };
        assert_eq!([0, 1, 1_000, 1_001].map(seconds), [Some(1), Some(1), Some(1), Some(2)]);
        assert_eq!(Problem::new(ErrorCode::RateLimited, "slow down").retry_after_seconds(), None);
    }
}
