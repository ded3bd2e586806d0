//! Errors on their way to the client.

use std::any::Any;
use std::error::Error;
use std::fmt::Write as _;

use axum::response::{IntoResponse, Response};
use devbox_guest::wire;
use devbox_types::{Coded, ErrorCode, Problem, RequestId};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

/// What a handler answers when it cannot do what it was asked.
///
/// As a response it is a status and this value as an extension: the edge, which knows the id of the request, writes the
/// body and the log ([`Refusal::render`]).
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    problem: Problem,
    /// The chain of causes, for the log only.
    causes: Option<String>,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self::passing(Problem::new(code, detail))
    }

    /// A problem as it came from a guest.
    pub(crate) fn passing(problem: Problem) -> Self {
        Self { problem, causes: None }
    }

    /// An internal error, whose account is for the log only.
    pub(crate) fn internal(causes: String) -> Self {
        let detail = "the server failed; its log tells why, under the id of this request";
        Self { problem: Problem::new(ErrorCode::Internal, detail), causes: Some(causes) }
    }

    /// What was panicked with goes to the log; the client gets an id to ask about.
    pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
        Self::internal(format!("a panic: {text}"))
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { problem: self.problem.with_hint(hint), ..self }
    }

    pub(crate) fn code(&self) -> ErrorCode {
        self.problem.code
    }

    /// The problem as other than an HTTP answer: of an internal one, not the cause.
    pub(crate) fn into_problem(self) -> Problem {
        if let Some(causes) = &self.causes {
            tracing::error!(code = %self.problem.code, causes, "guest_call_failed");
        }
        self.problem
    }

    /// Makes `response` the answer, keeping headers that were set for it (`Allow`, `Content-Range`), and logs the causes
    /// that the answer leaves out.
    pub(crate) fn render(self, request_id: &RequestId, response: &mut Response) {
        let problem = self.problem.with_request_id(request_id.clone());
        if let Some(causes) = &self.causes {
            tracing::error!(request_id = %request_id, code = %problem.code, causes, "request_failed");
        }
        *response.status_mut() = status_of(problem.code);
        // A problem is made of text only: it always has a JSON form.
        *response.body_mut() = serde_json::to_vec(&problem).unwrap_or_default().into();
        let retry_after = problem.retry_after_seconds();
        let headers = response.headers_mut();
        headers.extend(retry_after.map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds))));
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(wire::PROBLEM));
        // All that the answer to a HEAD says of what is wrong.
        headers.insert(wire::ERROR, HeaderValue::from_static(problem.code.as_str()));
    }
}

/// Headers that follow from the status, whoever made the answer.
pub(crate) fn complete_headers(response: &mut Response) {
    let status = response.status();
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"devbox\""));
    }
    let temporary = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    if temporary.contains(&status) {
        headers.entry(RETRY_AFTER).or_insert(HeaderValue::from_static("1"));
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = status_of(self.problem.code).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Every error that knows its code. What is internal keeps its causes for the log, and tells the client nothing of them.
impl<E: Coded + 'static> From<E> for Refusal {
    fn from(error: E) -> Self {
        let problem = Problem::of(&error);
        if problem.code != ErrorCode::Internal {
            return Self::passing(problem);
        }
        Self::internal(chain(&error))
    }
}

/// The error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

fn status_of(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
