//! Reading answers that may be lies.

use std::time::Duration;

use bytes::Bytes;
use devbox_types::{ErrorCode, Problem};
use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::body::{Body, BodyError};
use crate::wire;

/// How long a peer may take to send the rest of a short answer whose head has come.
const SHORT_ANSWER: Duration = Duration::from_secs(30);

/// A peer's answer makes no sense.
pub(super) fn nonsense(detail: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::BadAgentAnswer, detail)
}

/// Lets an answer of one of these kinds through; any other is the problem that it carries, or nonsense.
pub(super) async fn expect(
    answer: Response<Body>,
    expected: &[StatusCode],
) -> Result<Response<Body>, Problem> {
    let status = answer.status();
    if expected.contains(&status) {
        return Ok(answer);
    }
    if !status.is_client_error() && !status.is_server_error() {
        return Err(nonsense(format!("status {} was not expected", status.as_u16())));
    }
    if !has_type(answer.headers(), wire::PROBLEM) {
        return Err(nonsense(format!("status {} came without a problem", status.as_u16())));
    }
    let retry_after = retry_after(answer.headers());
    let code = text(answer.headers(), &wire::ERROR).and_then(ErrorCode::from_wire);
    let body = short_body(answer.into_body(), wire::MAX_PROBLEM_BYTES).await?;
    match (serde_json::from_slice::<Problem>(&body), code) {
        (Ok(problem), _) => Err(Problem { retry_after, ..problem }),
        // The answer to a HEAD.
        (Err(_), Some(code)) if body.is_empty() => {
            Err(Problem { retry_after, ..Problem::new(code, code.title().to_lowercase()) })
        }
        (Err(_), _) => Err(nonsense("the problem is malformed")),
    }
}

/// How long the peer asks to wait. Seconds only: a date would trust the two clocks to agree.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    text(headers, &header::RETRY_AFTER)?.trim().parse().ok().map(Duration::from_secs)
}

/// Reads a JSON answer.
pub(super) async fn json<T: DeserializeOwned>(answer: Response<Body>) -> Result<T, Problem> {
    if !has_type(answer.headers(), wire::JSON) {
        return Err(nonsense("the answer is not JSON"));
    }
    let body = short_body(answer.into_body(), wire::MAX_JSON_BYTES).await?;
    serde_json::from_slice(&body).map_err(|error| nonsense(format!("the JSON of the answer: {error}")))
}

/// Reads an answer whose content does not matter, so that its connection can be used again.
pub(super) async fn nothing(answer: Response<Body>) -> Result<(), Problem> {
    short_body(answer.into_body(), wire::MAX_PROBLEM_BYTES).await.map(|_| ())
}

/// Reads a body of at most `limit` bytes, for as long as a short body may take.
pub(super) async fn short_body(body: Body, limit: usize) -> Result<Bytes, Problem> {
    if let Some(bytes) = body.as_bytes() {
        return Ok(bytes.clone());
    }
    match timeout(SHORT_ANSWER, body.collect(limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(BodyError::TooLarge { .. })) => {
            Err(nonsense(format!("the answer is longer than {limit} bytes")))
        }
        Ok(Err(error)) => Err(broken_off(error)),
        Err(_) => Err(Problem::new(ErrorCode::Timeout, "the rest of the answer did not come in time")),
    }
}

/// A body of an answer that ended early is no fault of the request.
pub(super) fn broken_off(error: BodyError) -> Problem {
    match error {
        BodyError::Interrupted { .. } => {
            Problem::new(ErrorCode::AgentUnreachable, "the connection broke in the middle of the answer")
        }
        other => other.into(),
    }
}

/// Whether the content is of this media type, whatever its parameters.
pub(super) fn has_type(headers: &HeaderMap, expected: &str) -> bool {
    let found = text(headers, &header::CONTENT_TYPE);
    let found = found.and_then(|value| value.split(';').next()).map(str::trim);
    found.is_some_and(|found| found.eq_ignore_ascii_case(expected))
}

/// A header's value, if it is there and is text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
