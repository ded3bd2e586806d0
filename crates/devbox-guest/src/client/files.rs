//! Files over HTTP.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use devbox_types::entry::StatRequest;
use devbox_types::file::{ByteRange, FileHead, ReadRequest, WriteRequest, Written};
use devbox_types::operation::{Operation, Operations, Report};
use devbox_types::patch::PatchRequest;
use devbox_types::{
    BoxPath, Digests, Entry, ErrorCode, Grant, ListPage, ListRequest, Problem, WriteCondition,
};
use futures_util::stream::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::answer::{self, nonsense};
use super::guest::{Call, GuestClient, list_of};
use super::lines::Lines;
use super::multipart;
use crate::body::{Body, BodyError};
use crate::coding::ContentCoding;
use crate::contract::{EntryStream, FileContent, Files, UploadParts};
use crate::wire::{self, digest};

/// How long a peer may read a file for its digest, if the grant says nothing: some hundred GiB.
const DIGEST_TIMEOUT: Duration = Duration::from_mins(10);

/// Contents up to this length are read at once, so that the connection is free before the caller looks at them.
const READ_AT_ONCE: u64 = 64 << 10;

#[async_trait]
impl Files for GuestClient {
    async fn read(&self, grant: &Grant, request: ReadRequest) -> Result<FileContent, Problem> {
        let method = if request.head { Method::HEAD } else { Method::GET };
        let mut call = self.call(grant, method, self.target("/files", Some(&request.path)), Body::empty())?;
        read_headers(&mut call, &request)?;
        if let Some(coding) = self.coding.filter(|_| request.range == ByteRange::Whole && !request.head) {
            call.header(header::ACCEPT_ENCODING, HeaderValue::from_static(coding.as_str()));
        }
        let expected = [StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED];
        let answer = self.send(call, &expected).await?;
        let coding = coding_of(&answer, self.coding)?;
        let head = file_head(&answer, coding)?;
        let mut body = answer.into_body();
        if request.head || head.not_modified {
            return Ok(FileContent { head, body: Body::empty() });
        }
        if let Some(coding) = coding {
            return Ok(FileContent { body: decoded(body, coding, head.length), head });
        }
        if body.length() != Some(head.length) {
            return Err(nonsense("the length of the content is not the one announced"));
        }
        if head.length <= READ_AT_ONCE {
            let limit = usize::try_from(head.length).unwrap_or(usize::MAX);
            body = Body::from_bytes(answer::short_body(body, limit).await?);
        }
        Ok(FileContent { head, body })
    }

    async fn write(&self, grant: &Grant, request: WriteRequest, body: Body) -> Result<Written, Problem> {
        let mut target = self.target("/files", Some(&request.path));
        target.write_options(&request);
        target.flag("inplace", request.in_place);
        target.flag("verify", request.verify);
        let body = match self.coding {
            Some(coding) => coding.encode(body),
            None => body,
        };
        let mut call = self.call(grant, Method::PUT, target, body)?;
        write_headers(&mut call, &request)?;
        if let Some(coding) = self.coding {
            call.header(header::CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
            call.rename_header(&wire::REPR_DIGEST, wire::STORED_DIGEST);
        }
        let answer = self.send_stream(call, &[StatusCode::OK, StatusCode::CREATED]).await?;
        answer::json(answer).await
    }

    async fn patch(&self, grant: &Grant, request: PatchRequest, body: Body) -> Result<Written, Problem> {
        let call = self.patch_call(grant, request, body)?;
        let answer = self.send_stream(call, &[StatusCode::OK, StatusCode::CREATED]).await?;
        answer::json(answer).await
    }

    async fn stat(&self, grant: &Grant, request: StatRequest) -> Result<Entry, Problem> {
        let mut target = self.target("/entries", Some(&request.path));
        target.flag("follow", request.follow);
        target.flag("xattrs", request.xattrs);
        let call = self.call(grant, Method::GET, target, Body::empty())?;
        answer::json(self.send(call, &[StatusCode::OK]).await?).await
    }

    async fn list(&self, grant: &Grant, request: ListRequest) -> Result<ListPage, Problem> {
        let mut target = self.target("/entries", Some(&request.path));
        target.pair("depth", request.depth);
        target.pair("limit", request.limit);
        if let Some(cursor) = &request.cursor {
            target.pair("cursor", BASE64_URL.encode(cursor));
        }
        let call = self.call(grant, Method::GET, target, Body::empty())?;
        let page: ListPage = answer::json(self.send(call, &[StatusCode::OK]).await?).await?;
        if page.entries.len() > request.limit {
            return Err(nonsense("the page has more entries than were asked for"));
        }
        page.entries.iter().try_for_each(|entry| check_below(&request.path, entry))?;
        Ok(page)
    }

    async fn walk(&self, grant: &Grant, request: ListRequest) -> Result<EntryStream, Problem> {
        let mut target = self.target("/entries", Some(&request.path));
        target.pair("depth", request.depth);
        let mut call = self.call(grant, Method::GET, target, Body::empty())?;
        call.header(header::ACCEPT, HeaderValue::from_static(wire::NDJSON));
        let answer = self.send(call, &[StatusCode::OK]).await?;
        if !answer::has_type(answer.headers(), wire::NDJSON) {
            return Err(nonsense("the listing does not come line by line"));
        }
        let (mode, top) = (self.mode, request.path);
        let check = move |entry: Result<Entry, Problem>| {
            let entry = entry.map_err(|problem| mode.believe(problem))?;
            check_below(&top, &entry)?;
            Ok(entry)
        };
        Ok(Lines::new(answer.into_body(), check).boxed())
    }

    async fn apply(&self, grant: &Grant, operations: Vec<Operation>) -> Result<Report, Problem> {
        let call = self.json_call(grant, self.target("/entries", None), &Operations { operations })?;
        answer::json(self.send(call, &[StatusCode::OK]).await?).await
    }

    async fn write_many(&self, grant: &Grant, parts: UploadParts) -> Result<Report, Problem> {
        let boundary = multipart::boundary()?;
        let body = Body::from_stream(multipart::write(&boundary, parts), None);
        let mut call = self.keyed_call(grant, Method::POST, self.target("/files", None), body)?;
        call.text_header(header::CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"))?;
        answer::json(self.send_stream(call, &[StatusCode::OK]).await?).await
    }
}

/// An entry of a listing lies below what was listed: whoever copies a listing goes by its paths.
fn check_below(top: &BoxPath, entry: &Entry) -> Result<(), Problem> {
    let path = &entry.path.0;
    if path.is_within(top) && path.as_bytes() != top.as_bytes() {
        return Ok(());
    }
    Err(nonsense("the listing names an entry of another directory"))
}

fn read_headers(call: &mut Call, request: &ReadRequest) -> Result<(), Problem> {
    let range = match request.range {
        ByteRange::Whole => None,
        ByteRange::FromTo { first, last: Some(last) } => Some(format!("bytes={first}-{last}")),
        ByteRange::FromTo { first, last: None } => Some(format!("bytes={first}-")),
        ByteRange::Suffix { length } => Some(format!("bytes=-{length}")),
    };
    if let Some(range) = range {
        call.text_header(header::RANGE, range)?;
    }
    if !request.if_none_match.is_empty() {
        call.text_header(header::IF_NONE_MATCH, list_of(&request.if_none_match))?;
    }
    if let Some(tag) = &request.if_range {
        call.text_header(header::IF_RANGE, tag.to_string())?;
    }
    if let Some(wanted) = request.want_digest {
        call.text_header(wire::WANT_REPR_DIGEST, digest::wish_to_header(wanted))?;
        call.takes_up_to(DIGEST_TIMEOUT);
    }
    Ok(())
}

pub(super) fn write_headers(call: &mut Call, request: &WriteRequest) -> Result<(), Problem> {
    condition_headers(call, &request.condition)?;
    if !request.digests.is_empty() {
        call.text_header(wire::REPR_DIGEST, digest::to_header(&request.digests))?;
    }
    Ok(())
}

pub(super) fn condition_headers(call: &mut Call, condition: &WriteCondition) -> Result<(), Problem> {
    match condition {
        WriteCondition::None => {}
        WriteCondition::Absent => call.header(header::IF_NONE_MATCH, HeaderValue::from_static("*")),
        WriteCondition::Present => call.header(header::IF_MATCH, HeaderValue::from_static("*")),
        WriteCondition::Matches(tags) => call.text_header(header::IF_MATCH, list_of(tags))?,
    }
    Ok(())
}

/// The coding that the content of an answer is under, which must be the one that was asked for.
fn coding_of(
    answer: &Response<Body>,
    asked: Option<ContentCoding>,
) -> Result<Option<ContentCoding>, Problem> {
    if !answer.headers().contains_key(header::CONTENT_ENCODING) {
        return Ok(None);
    }
    let name = answer::text(answer.headers(), &header::CONTENT_ENCODING);
    match name.and_then(ContentCoding::from_wire).filter(|found| Some(*found) == asked) {
        Some(coding) if answer.status() == StatusCode::OK => Ok(Some(coding)),
        _ => Err(nonsense("the content is under a coding that was not asked for")),
    }
}

/// The file that a coded content stands for.
fn decoded(coded: Body, coding: ContentCoding, length: u64) -> Body {
    let content = coding.decode(coded, Digests::default()).map(|chunk| {
        chunk.map_err(|error| match error {
            BodyError::Problem(problem) if problem.code == ErrorCode::InvalidRequest => {
                BodyError::Problem(nonsense(problem.detail))
            }
            error => error,
        })
    });
    Body::from_stream(content, Some(length))
}

/// Reads what an answer says of a file, and that it does not contradict itself.
fn file_head(answer: &Response<Body>, coding: Option<ContentCoding>) -> Result<FileHead, Problem> {
    let headers = answer.headers();
    let entry = answer::text(headers, &wire::ENTRY).ok_or_else(|| nonsense("the file's entry is missing"))?;
    let entry: Entry =
        serde_json::from_str(entry).map_err(|error| nonsense(format!("the entry: {error}")))?;
    if answer.status() == StatusCode::NOT_MODIFIED {
        return Ok(FileHead {
            entry,
            offset: 0,
            length: 0,
            partial: false,
            not_modified: true,
            digests: Digests::default(),
        });
    }
    let length = if coding.is_some() { entry.size_bytes } else { content_length(headers)? };
    let digests = headers.get_all(&wire::STORED_DIGEST).iter().map(|value| value.to_str().unwrap_or(""));
    let digests = digest::from_headers(digests).map_err(|error| nonsense(format!("the digest: {error}")))?;
    let partial = answer.status() == StatusCode::PARTIAL_CONTENT;
    let offset = if partial { content_range(headers, length, entry.size_bytes)? } else { 0 };
    if !partial && length != entry.size_bytes {
        return Err(nonsense("the length of the content is not the size of the file"));
    }
    Ok(FileHead { entry, offset, length, partial, not_modified: false, digests })
}

fn content_length(headers: &HeaderMap) -> Result<u64, Problem> {
    let length = answer::text(headers, &header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    length.ok_or_else(|| nonsense("the length of the content is missing"))
}

/// The first byte of `bytes FIRST-LAST/SIZE`, which must agree with what else is known.
fn content_range(headers: &HeaderMap, length: u64, size: u64) -> Result<u64, Problem> {
    let parse = || {
        let (range, whole) =
            answer::text(headers, &header::CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        let agrees = last.checked_sub(first)?.checked_add(1)? == length
            && last < size
            && whole.parse::<u64>().is_ok_and(|whole| whole == size);
        agrees.then_some(first)
    };
    parse().ok_or_else(|| nonsense("the range of the content is missing or contradicts its length"))
}
