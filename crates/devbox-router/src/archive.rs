//! Many files as one stream.

use axum::body::Body;
use axum::response::Response;
use devbox_types::archive::{ArchiveFormat, ArchiveRequest, UnpackRequest};
use devbox_types::{ErrorCode, Problem};
use http::{HeaderValue, StatusCode, header};

use crate::call::{Call, invalid};
use crate::content::Content;
use crate::failure::Failure;
use crate::json;

pub(crate) async fn pack(mut call: Call, content: Content) -> Result<Response, Failure> {
    call.finish_query()?;
    let request: ArchiveRequest = json::body(content).await?;
    if request.paths.len() > ArchiveRequest::MAX_PATHS {
        let detail = format!("an archive is of at most {} paths", ArchiveRequest::MAX_PATHS);
        let problem = Problem::new(ErrorCode::TooLarge, detail);
        return Err(problem.with_hint("name the directory that they are in, with patterns").into());
    }
    let media_type = HeaderValue::from_static(request.format.media_type());
    let body = call.guest.pack(&call.grant, request).await?;
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    Ok(response)
}

pub(crate) async fn unpack(mut call: Call, Content(body): Content) -> Result<Response, Failure> {
    let directory = call.path_below("/archive")?;
    let format = match call.query.take_parsed::<ArchiveFormat>("format")? {
        Some(format) => format,
        None => format_of(call.header(&header::CONTENT_TYPE)?.unwrap_or(""))?,
    };
    let strip = call.query.take_parsed("strip")?.unwrap_or(0);
    let make_parents = call.query.take_flag("parents")?;
    call.take_idempotency_key()?;
    call.finish_query()?;
    let request = UnpackRequest { directory, format, strip, make_parents };
    json::answer(StatusCode::OK, &call.guest.unpack(&call.grant, request, body).await?)
}

fn format_of(media_type: &str) -> Result<ArchiveFormat, Failure> {
    let is_named = |format: &ArchiveFormat| media_type.eq_ignore_ascii_case(format.media_type());
    let known = ArchiveFormat::ALL.into_iter().find(is_named);
    Ok(known.ok_or_else(|| invalid("say which format the archive has: `?format=tar.gz`, for one"))?)
}
