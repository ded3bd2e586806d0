//! What an agent says of itself.

use axum::response::Response;
use http::StatusCode;

use crate::call::Call;
use crate::failure::Failure;
use crate::json;

pub(crate) async fn greet(mut call: Call) -> Result<Response, Failure> {
    call.finish_query()?;
    json::answer(StatusCode::OK, &call.guest.greet().await?)
}
