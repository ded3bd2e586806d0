//! The contents of files.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use devbox_guest::wire::{self, json::to_ascii};
use devbox_guest::{ContentCoding, FileContent, Guest};
use devbox_types::entry::StatRequest;
use devbox_types::etag::parse_list;
use devbox_types::file::{ByteRange, FileHead, ReadRequest, WriteRequest, Written};
use devbox_types::operation::Operation;
use devbox_types::{BoxPath, ErrorCode, Etag, Grant, Problem, Timestamp, WriteCondition};
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::call::{Call, header_text, invalid};
use crate::codings::{self, Accepted};
use crate::content::SentContent;
use crate::digests::{Form, Wish};
use crate::failure::Failure;
use crate::json;

pub(crate) const RESOURCE: &str = "/files";

pub(crate) async fn read(mut call: Call) -> Result<Response, Failure> {
    call.finish_query()?;
    let wish = Wish::of(&call.headers)?;
    let accepted = Accepted::of(&call.headers);
    let mut request = ReadRequest { want_digest: wish.algorithm, ..read_request(&call)? };
    let (path, known) = (request.path.clone(), request.if_none_match.clone());
    request.if_none_match = accepted.versions(request.if_none_match);
    let accepted = Some(accepted).filter(|_| request.range == ByteRange::Whole);
    let is_head = request.head;
    match call.guest.read(&call.grant, request).await {
        Ok(content) => render(content, wish, Manner { accepted, is_head, known: &known }),
        Err(problem) if problem.code == ErrorCode::RangeNotSatisfiable => {
            Ok(unsatisfiable(problem, size_of(&*call.guest, &call.grant, path).await))
        }
        Err(problem) => Err(Failure(problem)),
    }
}

pub(crate) async fn write(mut call: Call, SentContent(body): SentContent) -> Result<Response, Failure> {
    let (body, digests) = codings::stored(&call.headers, body)?;
    let request = WriteRequest { digests, ..write_request(&mut call, body.length())? };
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
    Ok(WriteRequest { condition: condition(&call.headers)?, length, ..request })
}

/// The condition of a write, from the headers of a request or of a part.
pub(crate) fn condition(headers: &HeaderMap) -> Result<WriteCondition, Problem> {
    let if_match = header_text(headers, &header::IF_MATCH)?;
    let if_none_match = header_text(headers, &header::IF_NONE_MATCH)?;
    let condition = WriteCondition::from_headers(if_match, if_none_match);
    let name = if if_match.is_some() { &header::IF_MATCH } else { &header::IF_NONE_MATCH };
    tags(name, condition).map(codings::of_versions)
}

fn tags<T>(name: &HeaderName, tags: Result<T, devbox_types::etag::EtagError>) -> Result<T, Problem> {
    tags.map_err(|error| invalid(format!("header `{name}`: {error}")))
}

/// How a file is to be sent.
struct Manner<'r> {
    /// What the reader takes, unless he asked for a range.
    accepted: Option<Accepted>,
    is_head: bool,
    /// The tags of what he has.
    known: &'r [Etag],
}

impl Manner<'_> {
    fn coding(&self, head: &FileHead) -> Option<ContentCoding> {
        let coding = self.accepted.and_then(|accepted| accepted.for_size(head.entry.size_bytes));
        match &head.entry.etag {
            // Of two forms that could have been meant, the one that the reader has.
            Some(tag) if head.not_modified => coding.filter(|_| {
                self.known.iter().any(|known| known.matches_weakly(&codings::coded_tag(tag, coding)))
            }),
            _ => coding,
        }
    }
}

fn render(
    FileContent { head, body }: FileContent,
    wish: Wish,
    manner: Manner<'_>,
) -> Result<Response, Failure> {
    let coding = manner.coding(&head);
    let body = match coding {
        // One whose length nobody knows.
        Some(_) if manner.is_head => Body::new(devbox_guest::Body::from_stream(stream::empty(), None)),
        _ if manner.is_head || head.not_modified => Body::empty(),
        Some(coding) => Body::new(coding.encode(body)),
        None => Body::new(body),
    };
    let mut response = Response::new(body);
    *response.status_mut() = match &head {
        FileHead { not_modified: true, .. } => StatusCode::NOT_MODIFIED,
        FileHead { partial: true, .. } => StatusCode::PARTIAL_CONTENT,
        FileHead { .. } => StatusCode::OK,
    };
    let headers = response.headers_mut();
    let tag = head.entry.etag.as_ref().map(|tag| codings::coded_tag(tag, coding));
    set_etag(headers, tag.as_ref())?;
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
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
    let form = match coding {
        Some(coding) => {
            headers.insert(header::CONTENT_ENCODING, codings::header_value(coding));
            Form::Coded
        }
        None => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(head.length));
            if head.partial || manner.is_head { Form::Less } else { Form::Whole }
        }
    };
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
