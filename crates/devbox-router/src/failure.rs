//! Problems as answers.

use axum::response::{IntoResponse, Response};
use devbox_guest::wire;
use devbox_types::{ErrorCode, Problem, RequestId};
use http::{HeaderValue, StatusCode, header};

use crate::codings;

/// A problem as the answer to a request: `application/problem+json` under the status of its code.
#[derive(Debug, Clone)]
pub struct Failure(pub Problem);

impl<P: Into<Problem>> From<P> for Failure {
    fn from(problem: P) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = Response::new(body(&self.0));
        *response.status_mut() = status(&self.0);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(wire::PROBLEM));
        response.headers_mut().insert(wire::ERROR, HeaderValue::from_static(self.0.code.as_str()));
        if self.0.code == ErrorCode::UnsupportedCoding {
            response.headers_mut().insert(header::ACCEPT_ENCODING, codings::TAKEN);
        }
        // The layer that knows the request's id writes the body again, with it.
        response.extensions_mut().insert(self);
        response
    }
}

/// Puts the request's id into the body of an answer that is a problem.
pub(crate) fn name_request(response: &mut Response, id: &RequestId) {
    if let Some(Failure(problem)) = response.extensions_mut().remove::<Failure>() {
        let problem = problem.with_request_id(id.clone());
        *response.body_mut() = body(&problem);
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
}

fn status(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn body(problem: &Problem) -> axum::body::Body {
    // A problem is made of text only: it always has a JSON form.
    serde_json::to_vec(problem).unwrap_or_default().into()
}
