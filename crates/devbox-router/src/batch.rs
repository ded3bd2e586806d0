//! Many files in one request: all or nothing.

use axum::response::Response;
use devbox_types::BoxPath;
use http::{StatusCode, header};

use crate::call::{Call, invalid};
use crate::content::Content;
use crate::failure::Failure;
use crate::json;
use crate::multipart::{self, Boundary, Defaults};

pub(crate) async fn write_many(mut call: Call, Content(body): Content) -> Result<Response, Failure> {
    let boundary = Boundary::of(call.header(&header::CONTENT_TYPE)?.unwrap_or(""))
        .ok_or_else(|| invalid("the request body has to be multipart/form-data with a boundary"))?;
    call.take_idempotency_key()?;
    let mut request = call.query.take_write_options(BoxPath::root())?;
    request.verify = call.query.take_flag("verify")?;
    call.finish_query()?;
    let parts = multipart::parts(body, &boundary, Defaults(request));
    json::answer(StatusCode::OK, &call.guest.write_many(&call.grant, parts).await?)
}
