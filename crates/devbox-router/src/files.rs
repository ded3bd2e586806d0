//! The contents of files.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use devbox_guest::wire::{self, json::to_ascii};
use devbox_guest::{FileContent, Guest};
use devbox_types::entry::StatRequest;
use devbox_types::etag::parse_list;
use devbox_types::file::{ByteRange, FileHead, ReadRequest, WriteRequest, Written};
use devbox_types::operation::Operation;
use devbox_types::{BoxPath, ErrorCode, Etag, Grant, Problem, Timestamp, WriteCondition};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::call::{Call, header_text, invalid};
use crate::content::Content;
use crate::digests::{Form, Wish, announced_digests};
use crate::failure::Failure;
use crate::json;

pub(crate) const RESOURCE: &str = "/files";

pub(crate) async fn read(mut call: Call) -> Result<Response, Failure> {
    call.finish_query()?;
    let wish = Wish::of(&call.headers)?;
    let request = ReadRequest { want_digest: wish.algorithm, ..read_request(&call)? };
    let path = request.path.clone();
    match call.guest.read(&call.grant, request).await {
        Ok(content) => render(content, wish, call.method == Method::HEAD),
        Err(problem) if problem.code == ErrorCode::RangeNotSatisfiable => {
            Ok(unsatisfiable(problem, size_of(&*call.guest, &call.grant, path).await))
        }
        Err(problem) => Err(Failure(problem)),
    }
}

pub(crate) async fn write(mut call: Call, Content(body): Content) -> Result<Response, Failure> {
    let request = write_request(&mut call, body.length())?;
    render_written(&call.guest.write(&call.grant, request, body).await?)
}

/// A file that was written, as an answer.
pub(crate) fn render_written(written: &Written) -> Result<Response, Failure> {
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = json::answer(status, written)?;
    set_etag(response.headers_mut(), written.entry.etag.as_ref())?;
    Ok(response)
}

pub(crate) async fn delete(mut call: Call) -> Result<Response, Failure> {
    let recursive = call.query.take_flag("recursive")?;
    let missing_ok = call.query.take_flag("missing_ok")?;
    call.finish_query()?;
    let operation = Operation::Delete { path: call.path_below(RESOURCE)?, recursive, missing_ok };
    call.guest.apply(&call.grant, vec![operation]).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn read_request(call: &Call) -> Result<ReadRequest, Problem> {
    let if_none_match = match call.header(&header::IF_NONE_MATCH)? {
        // "Unless there is one": what is read exists, and is wanted.
        None | Some("*") => Vec::new(),
        Some(list) => tags(&header::IF_NONE_MATCH, parse_list(list))?,
    };
    Ok(ReadRequest {
        path: call.path_below(RESOURCE)?,
        range: call.header(&header::RANGE)?.map(ByteRange::from_header).unwrap_or_default(),
        if_none_match,
        if_range: call
            .header(&header::IF_RANGE)?
            .map(str::parse)
            .transpose()
            .or_else(|error| tags(&header::IF_RANGE, Err(error)))?,
        head: call.method == Method::HEAD,
        want_digest: None,
    })
}

fn write_request(call: &mut Call, length: Option<u64>) -> Result<WriteRequest, Problem> {
    let path = call.path_below(RESOURCE)?;
    let mut request = call.query.take_write_options(path)?;
    request.in_place = call.query.take_flag("inplace")?;
    request.verify = call.query.take_flag("verify")?;
    call.finish_query()?;
    Ok(WriteRequest {
        condition: condition(&call.headers)?,
        length,
        digests: announced_digests(&call.headers)?,
        ..request
    })
}

/// The condition of a write, from the headers of a request or of a part.
pub(crate) fn condition(headers: &HeaderMap) -> Result<WriteCondition, Problem> {
    let if_match = header_text(headers, &header::IF_MATCH)?;
    let if_none_match = header_text(headers, &header::IF_NONE_MATCH)?;
    let condition = WriteCondition::from_headers(if_match, if_none_match);
    tags(if if_match.is_some() { &header::IF_MATCH } else { &header::IF_NONE_MATCH }, condition)
}

fn tags<T>(name: &HeaderName, tags: Result<T, devbox_types::etag::EtagError>) -> Result<T, Problem> {
    tags.map_err(|error| invalid(format!("header `{name}`: {error}")))
}

fn render(FileContent { head, body }: FileContent, wish: Wish, head_only: bool) -> Result<Response, Failure> {
    let mut response =
        Response::new(if head_only || head.not_modified { Body::empty() } else { Body::new(body) });
    *response.status_mut() = match &head {
        FileHead { not_modified: true, .. } => StatusCode::NOT_MODIFIED,
        FileHead { partial: true, .. } => StatusCode::PARTIAL_CONTENT,
        FileHead { .. } => StatusCode::OK,
    };
    let headers = response.headers_mut();
    set_etag(headers, head.entry.etag.as_ref())?;
    let entry = to_ascii(&head.entry).map_err(|error| {
        Problem::new(ErrorCode::Internal, format!("the entry cannot be written: {error}"))
    })?;
    headers.insert(wire::ENTRY, value(entry)?);
    headers.insert(header::LAST_MODIFIED, value(http_date(head.entry.modified))?);
    if head.not_modified {
        return Ok(response);
    }
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(wire::OCTETS));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(head.length));
    let form = if head.partial || head_only { Form::Less } else { Form::Whole };
    wish.grant(&head.digests, form, headers)?;
    if head.partial {
        let last = (head.offset + head.length).saturating_sub(1);
        let range = format!("bytes {}-{last}/{}", head.offset, head.entry.size_bytes);
        headers.insert(header::CONTENT_RANGE, value(range)?);
    }
    Ok(response)
}

/// The answer that no byte of the file is in the range, with the file's size as RFC 9110 section 15.5.17 has it.
fn unsatisfiable(problem: Problem, size: Option<u64>) -> Response {
    let mut response = Failure(problem).into_response();
    if let Some(range) = size.and_then(|size| HeaderValue::try_from(format!("bytes */{size}")).ok()) {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    response
}

async fn size_of(guest: &dyn Guest, grant: &Grant, path: BoxPath) -> Option<u64> {
    guest.stat(grant, StatRequest::target_of(path)).await.ok().map(|entry| entry.size_bytes)
}

pub(crate) fn set_etag(headers: &mut HeaderMap, etag: Option<&Etag>) -> Result<(), Problem> {
    if let Some(etag) = etag {
        headers.insert(header::ETAG, value(etag.to_string())?);
    }
    Ok(())
}

pub(crate) fn value(text: String) -> Result<HeaderValue, Problem> {
    HeaderValue::try_from(text).map_err(|_| Problem::new(ErrorCode::Internal, "a header cannot be written"))
}

/// A time as HTTP has it, which begins in 1970 and knows no fractions.
pub(crate) fn http_date(time: Timestamp) -> String {
    let seconds = u64::try_from(time.parts().0).unwrap_or(0);
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}
