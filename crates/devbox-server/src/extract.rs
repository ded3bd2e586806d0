//! What handlers take from a request; what is wrong with it is a [`Refusal`].

use axum::body::to_bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use devbox_types::ErrorCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::refusal::Refusal;

/// The largest JSON body of a control route: a create with all labels and variables stays far below.
const MAX_JSON_BYTES: usize = 1 << 20;

/// A JSON body. None at all is read as `{}`, where every field is optional. The media type is not asked for.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let body = request.into_body();
        let announced = http_body::Body::size_hint(&body).lower();
        if announced > u64::try_from(MAX_JSON_BYTES).unwrap_or(u64::MAX) {
            return Err(too_large());
        }
        let bytes = to_bytes(body, MAX_JSON_BYTES).await.map_err(|error| {
            let over =
                std::error::Error::source(&error).is_some_and(|e| e.is::<http_body_util::LengthLimitError>());
            if over {
                too_large()
            } else {
                Refusal::new(ErrorCode::Interrupted, "the request body ended early")
            }
        })?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        // serde would take an array for the fields in their order.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(invalid("the body is not a JSON object"));
        }
        let parsed = serde_json::from_slice(text);
        parsed.map(Self).map_err(|error| invalid(format!("the body is not what this call takes: {error}")))
    }
}

/// The query string.
#[derive(Debug)]
pub(crate) struct Parameters<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = Query::from_request_parts(parts, state).await;
        let Query(parameters) = query.map_err(|error: QueryRejection| {
            let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
            invalid(format!("the query is not what this call takes: {cause}"))
        })?;
        Ok(Self(parameters))
    }
}

pub(crate) fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, detail)
}

fn too_large() -> Refusal {
    Refusal::new(ErrorCode::TooLarge, format!("the body is larger than {MAX_JSON_BYTES} bytes"))
}
