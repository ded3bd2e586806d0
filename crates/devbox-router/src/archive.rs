//! Many files as one stream.

use axum::body::Body;
use axum::response::Response;
use devbox_types::archive::ArchiveRequest;
use http::{HeaderValue, header};

use crate::call::Call;
use crate::content::Content;
use crate::failure::Failure;
use crate::json;

pub(crate) async fn pack(mut call: Call, content: Content) -> Result<Response, Failure> {
    call.finish_query()?;
    let request: ArchiveRequest = json::body(content).await?;
    let media_type = HeaderValue::from_static(request.format.media_type());
    let body = call.guest.pack(&call.grant, request).await?;
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    Ok(response)
}
