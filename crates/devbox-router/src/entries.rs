//! Names and metadata.

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use bytes::Bytes;
use devbox_guest::contract::EntryStream;
use devbox_guest::{BodyError, wire};
use devbox_types::entry::StatRequest;
use devbox_types::metadata::MetadataChange;
use devbox_types::operation::{Operation, Operations};
use devbox_types::{Entry, ErrorCode, ListRequest, Problem, WriteCondition};
use futures_util::stream::StreamExt as _;
use http::{HeaderValue, StatusCode, header};

use crate::call::{Call, invalid};
use crate::content::Content;
use crate::failure::Failure;
use crate::files::{condition, set_etag};
use crate::json;

const RESOURCE: &str = "/entries";
/// How many lines go into one chunk at the most, if they are there already.
const LINES_PER_CHUNK: usize = 256;

/// One entry, or with `depth` the entries below it: a page, or line by line.
pub(crate) async fn look(mut call: Call) -> Result<Response, Failure> {
    let path = call.path_below(RESOURCE)?;
    let Some(depth) = call.query.take_parsed("depth")? else {
        let follow = call.query.take_flag("follow")?;
        let xattrs = call.query.take_flag("xattrs")?;
        call.finish_query()?;
        let request = StatRequest { path, follow, xattrs };
        return json::answer(StatusCode::OK, &call.guest.stat(&call.grant, request).await?);
    };
    let request = list_request(&mut call, ListRequest { depth, ..ListRequest::of(path) })?;
    if accepts_lines(&call)? {
        return Ok(lines(call.guest.walk(&call.grant, request).await?));
    }
    json::answer(StatusCode::OK, &call.guest.list(&call.grant, request).await?)
}

pub(crate) async fn apply(mut call: Call, content: Content) -> Result<Response, Failure> {
    call.take_idempotency_key()?;
    call.finish_query()?;
    let body: Operations = json::body(content).await?;
    if body.operations.len() > Operations::MAX {
        let detail = format!("a request has at most {} operations", Operations::MAX);
        return Err(Failure(Problem::new(ErrorCode::TooLarge, detail)));
    }
    json::answer(StatusCode::OK, &call.guest.apply(&call.grant, body.operations).await?)
}

/// Sets metadata of one entry, and answers with what became of it.
pub(crate) async fn set(mut call: Call, content: Content) -> Result<Response, Failure> {
    let path = call.path_below(RESOURCE)?;
    call.finish_query()?;
    let set: MetadataChange = json::body(content).await?;
    let set = with_condition(set, condition(&call.headers)?)?;
    let operation = Operation::SetMetadata { path: path.clone(), set: set.clone() };
    let report = call.guest.apply(&call.grant, vec![operation]).await?;
    let entry = match report.entry {
        Some(entry) => *entry,
        None => {
            let request = StatRequest { path, follow: !set.nofollow, xattrs: !set.xattrs.is_empty() };
            call.guest.stat(&call.grant, request).await?
        }
    };
    let mut response = json::answer(StatusCode::OK, &entry)?;
    set_etag(response.headers_mut(), entry.etag.as_ref())?;
    Ok(response)
}

/// The condition of the headers, in the change itself.
fn with_condition(set: MetadataChange, condition: WriteCondition) -> Result<MetadataChange, Problem> {
    match condition {
        // What is set exists, or the call fails.
        WriteCondition::None | WriteCondition::Present => Ok(set),
        WriteCondition::Matches(tags) if set.if_match.is_empty() => {
            Ok(MetadataChange { if_match: tags, ..set })
        }
        WriteCondition::Matches(_) => Err(invalid("`if_match` is given twice, as a header and in the body")),
        WriteCondition::Absent => Err(invalid("metadata of what is not there cannot be set")),
    }
}

fn list_request(call: &mut Call, request: ListRequest) -> Result<ListRequest, Problem> {
    if !(1..=ListRequest::MAX_DEPTH).contains(&request.depth) {
        return Err(invalid(format!("`depth` is 1 to {}", ListRequest::MAX_DEPTH)));
    }
    let limit = call.query.take_parsed("limit")?.unwrap_or(ListRequest::MAX_LIMIT);
    if !(1..=ListRequest::MAX_LIMIT).contains(&limit) {
        return Err(invalid(format!("`limit` is 1 to {}", ListRequest::MAX_LIMIT)));
    }
    let cursor = call.query.take("cursor").map(|cursor| BASE64_URL.decode(&*cursor)).transpose();
    let cursor = cursor.map_err(|_| invalid("`cursor` is not one that a page gave"))?;
    call.finish_query()?;
    Ok(ListRequest { limit, cursor, ..request })
}

fn accepts_lines(call: &Call) -> Result<bool, Problem> {
    let accept = call.header(&header::ACCEPT)?.unwrap_or("");
    Ok(accept.split(',').any(|range| range.split(';').next().unwrap_or("").trim() == wire::NDJSON))
}

fn lines(entries: EntryStream) -> Response {
    let chunks = entries.ready_chunks(LINES_PER_CHUNK).map(|entries| Ok::<_, BodyError>(chunk_of(entries)));
    let mut response = Response::new(Body::from_stream(chunks));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(wire::NDJSON));
    response
}

fn chunk_of(entries: Vec<Result<Entry, Problem>>) -> Bytes {
    let mut chunk = Vec::with_capacity(entries.len() * 256);
    for entry in entries {
        // Entries and problems always have a JSON form, and writing to a vector cannot fail.
        let _ = match entry {
            Ok(entry) => serde_json::to_writer(&mut chunk, &entry),
            Err(problem) => serde_json::to_writer(&mut chunk, &problem),
        };
        chunk.push(b'\n');
    }
    chunk.into()
}
