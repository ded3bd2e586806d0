//! Large files in pieces: the tus protocol, version 1.0.0, with creation, creation-with-upload, checksum, expiration and
//! termination and concatenation (<https://tus.io/protocols/resumable-upload>).
//!
//! Where tus has no body, a client that accepts JSON gets the upload's status.

use axum::extract::{Path, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use devbox_guest::wire::{self, json::to_ascii, tus};
use devbox_types::file::WriteRequest;
use devbox_types::upload::{ChunkRequest, UploadRequest, UploadRole, UploadStatus};
use devbox_types::{BoxPath, Digests, ErrorCode, Problem, UploadId};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::call::{Call, header_text, invalid};
use crate::content::Content;
use crate::digests::Announced;
use crate::failure::Failure;
use crate::files::{condition, http_date, set_etag, value};
use crate::json;

const VERSION: HeaderName = HeaderName::from_static("tus-version");
const EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
const CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");
const DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
const EXTENSIONS: &str = "creation,creation-with-upload,checksum,expiration,termination,concatenation";

/// Looks at the version of the protocol that a request speaks, and says ours on every answer.
pub(crate) async fn speak(request: Request, next: Next) -> Response {
    let spoken = request.headers().get(wire::TUS_RESUMABLE).map(HeaderValue::as_bytes);
    let needs_none = [Method::OPTIONS, Method::GET].contains(request.method());
    let mut response = match spoken {
        Some(version) if version == wire::TUS_VERSION.as_bytes() => next.run(request).await,
        None if needs_none => next.run(request).await,
        Some(_) | None => wrong_version().into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(wire::TUS_RESUMABLE, HeaderValue::from_static(wire::TUS_VERSION));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VERSION, HeaderValue::from_static(wire::TUS_VERSION));
    response
}

fn wrong_version() -> Failure {
    let problem = Problem::new(ErrorCode::PreconditionFailed, "uploads are spoken to in tus 1.0.0");
    Failure(problem.with_hint("send `Tus-Resumable: 1.0.0`"))
}

pub(crate) async fn options(mut call: Call) -> Result<Response, Failure> {
    call.finish_query()?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(EXTENSION, HeaderValue::from_static(EXTENSIONS));
    headers.insert(CHECKSUM_ALGORITHM, HeaderValue::from_static("sha1,sha256"));
    if let Some(most) = call.grant.max_bytes {
        headers.insert(MAX_SIZE, HeaderValue::from(most));
    }
    Ok(response)
}

pub(crate) async fn create(mut call: Call, Content(body): Content) -> Result<Response, Failure> {
    // Later requests are on behalf of the same user.
    let user = call.asked_user.take();
    let request = upload_request(&mut call)?;
    if matches!(request.role, UploadRole::Joined(_)) && is_piece(&call)? && body.length() != Some(0) {
        return Err(Failure(invalid("a file that is joined from parts takes no piece")));
    }
    let mut status = call.guest.create_upload(&call.grant, request).await?;
    let first = first_piece(&call, &status, body.length())?;
    if let Some(first) = first
        && !status.is_complete()
    {
        status = match call.guest.append_upload(&call.grant, first, body).await {
            // The upload is there, with what came of its first piece.
            Err(problem) if problem.code == ErrorCode::Interrupted => {
                call.guest.look_at_upload(&call.grant, status.id).await?
            }
            answer => answer?,
        };
    }
    let mut response = render(&call, StatusCode::CREATED, &status)?;
    let below = if call.raw_path().ends_with('/') { "" } else { "uploads/" };
    let query = user.map(|user| format!("?user={user}")).unwrap_or_default();
    let location = value(format!("{below}{}{query}", status.id))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

pub(crate) async fn append(
    mut call: Call,
    Path(id): Path<String>,
    Content(body): Content,
) -> Result<Response, Failure> {
    call.finish_query()?;
    if !is_piece(&call)? {
        return Err(Failure(invalid(format!("the content type of a piece is `{}`", wire::PIECE))));
    }
    let offset =
        number(&call.headers, &wire::UPLOAD_OFFSET)?.ok_or_else(|| invalid("`Upload-Offset` is missing"))?;
    let chunk = ChunkRequest {
        id: upload_id(&id)?,
        offset,
        length: body.length(),
        checksum: checksum(&call)?,
        digests: digests_of_whole(&call)?,
    };
    let status = call.guest.append_upload(&call.grant, chunk, body).await?;
    render(&call, StatusCode::NO_CONTENT, &status)
}

/// What a client means that can only send POST.
pub(crate) async fn overridden(call: Call, id: Path<String>, content: Content) -> Result<Response, Failure> {
    match call.header(&METHOD_OVERRIDE)? {
        Some("PATCH") => append(call, id, content).await,
        Some("DELETE") => delete(call, id).await,
        Some(_) | None => {
            let detail = "an upload takes POST only with `X-HTTP-Method-Override`: PATCH or DELETE";
            Err(Failure(Problem::new(ErrorCode::MethodNotAllowed, detail)))
        }
    }
}

pub(crate) async fn look(mut call: Call, Path(id): Path<String>) -> Result<Response, Failure> {
    call.finish_query()?;
    let status = call.guest.look_at_upload(&call.grant, upload_id(&id)?).await?;
    match call.method == Method::GET {
        true => with_headers(json::answer(StatusCode::OK, &status)?, &status),
        false => with_headers(StatusCode::OK.into_response(), &status),
    }
}

pub(crate) async fn delete(mut call: Call, Path(id): Path<String>) -> Result<Response, Failure> {
    call.finish_query()?;
    call.guest.delete_upload(&call.grant, upload_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn upload_request(call: &mut Call) -> Result<UploadRequest, Problem> {
    if call.headers.contains_key(DEFER_LENGTH) {
        let problem = Problem::new(ErrorCode::Unsupported, "the length of an upload has to be known");
        return Err(problem.with_hint("send `Upload-Length`"));
    }
    let role = call.header(&wire::UPLOAD_CONCAT)?.map(tus::role).transpose();
    let role = role.map_err(|error| Problem::of(&error))?.unwrap_or_default();
    let length = length(&role, number(&call.headers, &wire::UPLOAD_LENGTH)?)?;
    let metadata = call.header(&wire::UPLOAD_METADATA)?.unwrap_or("").to_owned();
    let path = match role {
        UploadRole::Part => tus::path_in(&metadata).map(|_| BoxPath::root()),
        UploadRole::File | UploadRole::Joined(_) => tus::target_in(&metadata),
    };
    let path = path.map_err(|error| Problem::of(&error))?;
    let mut write = call.query.take_write_options(path)?;
    let digest_follows = call.query.take_flag("digest_follows")?;
    call.finish_query()?;
    write.condition = condition(&call.headers)?;
    write.digests = digests_of_whole(call)?;
    if role == UploadRole::Part {
        // A client says the same with each of its requests; it counts with the one that joins the parts.
        write = WriteRequest::to(BoxPath::root());
    }
    write.length = length;
    Ok(UploadRequest { write, digest_follows, metadata, role })
}

/// How long it will be: of parts, the box knows.
fn length(role: &UploadRole, announced: Option<u64>) -> Result<Option<u64>, Problem> {
    match (role, announced) {
        (UploadRole::Joined(_), None) => Ok(None),
        (UploadRole::Joined(_), Some(_)) => Err(invalid("a file that is joined from parts has their length")),
        (UploadRole::File | UploadRole::Part, None) => Err(invalid("`Upload-Length` is missing")),
        (UploadRole::File | UploadRole::Part, length) => Ok(length),
    }
}

fn is_piece(call: &Call) -> Result<bool, Problem> {
    Ok(call.header(&header::CONTENT_TYPE)?.is_some_and(|found| found.trim() == wire::PIECE))
}

/// The piece that came with the creation, if one did.
fn first_piece(
    call: &Call,
    status: &UploadStatus,
    length: Option<u64>,
) -> Result<Option<ChunkRequest>, Problem> {
    if !is_piece(call)? || length == Some(0) {
        return Ok(None);
    }
    let checksum = checksum(call)?;
    Ok(Some(ChunkRequest { id: status.id.clone(), offset: 0, length, checksum, digests: Digests::default() }))
}

fn checksum(call: &Call) -> Result<Option<devbox_types::upload::ChunkChecksum>, Problem> {
    let header = call.header(&wire::UPLOAD_CHECKSUM)?;
    header.map(tus::checksum).transpose().map_err(|error| Problem::of(&error))
}

/// The digests of the whole file. Of the bytes that a request about an upload brings, tus has `Upload-Checksum`.
fn digests_of_whole(call: &Call) -> Result<Digests, Problem> {
    let of_piece = [&wire::CONTENT_DIGEST, &wire::CONTENT_MD5];
    if let Some(name) = of_piece.into_iter().find(|name| call.headers.contains_key(*name)) {
        let problem = Problem::new(ErrorCode::Unsupported, format!("the piece of an upload has no `{name}`"));
        return Err(problem.with_hint("send `Upload-Checksum`, or `Repr-Digest` of the whole file"));
    }
    Announced::of(&call.headers)?.uncoded()
}

fn upload_id(text: &str) -> Result<UploadId, Problem> {
    text.parse().map_err(|_| Problem::new(ErrorCode::UploadNotFound, "there is no such upload"))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Problem> {
    let Some(text) = header_text(headers, name)? else { return Ok(None) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.map(Some).ok_or_else(|| invalid(format!("header `{name}` is not a number of bytes")))
}

/// The status as headers; as JSON too for who asks for it.
fn render(call: &Call, code: StatusCode, status: &UploadStatus) -> Result<Response, Failure> {
    let accepts_json = call.header(&header::ACCEPT)?.is_some_and(|accepted| accepted.contains(wire::JSON));
    let response = match accepts_json {
        true if code == StatusCode::NO_CONTENT => json::answer(StatusCode::OK, status)?,
        true => json::answer(code, status)?,
        false => code.into_response(),
    };
    with_headers(response, status)
}

fn with_headers(mut response: Response, status: &UploadStatus) -> Result<Response, Failure> {
    let headers = response.headers_mut();
    headers.insert(wire::UPLOAD_OFFSET, HeaderValue::from(status.offset_bytes));
    headers.insert(wire::UPLOAD_LENGTH, HeaderValue::from(status.length_bytes));
    headers.insert(wire::UPLOAD_EXPIRES, value(http_date(status.expires))?);
    if let Some(role) = tus::role_header(&tus::role_of(status)) {
        headers.insert(wire::UPLOAD_CONCAT, value(role)?);
    }
    if !status.metadata.is_empty() {
        headers.insert(wire::UPLOAD_METADATA, value(status.metadata.clone())?);
    }
    if let Some(entry) = &status.entry {
        set_etag(headers, entry.etag.as_ref())?;
        let text = to_ascii(entry).map_err(|_| invalid("the entry cannot be written"))?;
        headers.insert(wire::ENTRY, value(text)?);
    }
    Ok(response)
}
