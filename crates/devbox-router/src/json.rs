//! JSON, both ways, bounded.

use axum::response::Response;
use devbox_guest::{BodyError, wire};
use devbox_types::{ErrorCode, Problem};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::invalid;
use crate::content::Content;
use crate::failure::Failure;

/// Reads the body of a call as one JSON value, whatever its media type says: `curl -d` calls it a form.
pub(crate) async fn body<T: DeserializeOwned>(Content(body): Content) -> Result<T, Problem> {
    let limit = u64::try_from(wire::MAX_JSON_BYTES).unwrap_or(u64::MAX);
    if body.length().is_some_and(|length| length > limit) {
        return Err(BodyError::TooLarge { limit_bytes: limit }.into());
    }
    let bytes = body.collect(wire::MAX_JSON_BYTES).await?;
    serde_json::from_slice(&bytes).map_err(|error| invalid(format!("the JSON body: {error}")))
}

/// Whether the content is said to have this media type, whatever its parameters.
pub(crate) fn is_type(headers: &HeaderMap, expected: &str) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let found = value.and_then(|value| value.split(';').next());
    found.is_some_and(|found| found.trim().eq_ignore_ascii_case(expected))
}

/// An answer that is one JSON value.
pub(crate) fn answer(status: StatusCode, value: &impl Serialize) -> Result<Response, Failure> {
    let json = serde_json::to_vec(value).map_err(|error| {
        Problem::new(ErrorCode::Internal, format!("the answer cannot be written: {error}"))
    })?;
    let mut response = Response::new(json.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(wire::JSON));
    Ok(response)
}
