//! Writing a batch as multipart/form-data (RFC 7578).

use std::fmt::Write as _;

use bytes::Bytes;
use devbox_types::file::{Durability, WriteRequest};
use devbox_types::{ErrorCode, Problem, WriteCondition};
use futures_util::stream::{self, Stream, StreamExt as _};

use super::guest::list_of;
use crate::body::{Body, BodyError};
use crate::contract::UploadParts;
use crate::wire::{self, digest};

/// A boundary of 128 random bits: no content can have been made to contain it.
pub(super) fn boundary() -> Result<String, Problem> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)
        .map_err(|_| Problem::new(ErrorCode::Internal, "no random numbers can be had"))?;
    Ok(format!("devbox-{:032x}", u128::from_ne_bytes(bits)))
}

/// The parts as one body. A failing part ends it before its closing boundary, so the far side publishes nothing.
pub(super) fn write(
    boundary: &str,
    parts: UploadParts,
) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + use<> {
    let writer = Writer { boundary: boundary.to_owned(), parts, state: State::BetweenParts };
    stream::try_unfold(writer, Writer::step)
}

struct Writer {
    boundary: String,
    parts: UploadParts,
    state: State,
}

enum State {
    BetweenParts,
    InPart(Body),
    Done,
}

impl Writer {
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, BodyError> {
        if let State::InPart(body) = &mut self.state {
            if let Some(chunk) = body.next().await {
                return Ok(Some((chunk?, self)));
            }
            self.state = State::BetweenParts;
            return Ok(Some((Bytes::from_static(b"\r\n"), self)));
        }
        if matches!(self.state, State::Done) {
            return Ok(None);
        }
        let chunk = match self.parts.next().await {
            Some(Err(problem)) => return Err(BodyError::Problem(problem)),
            Some(Ok(part)) => {
                let head = part_head(&self.boundary, &part.request);
                self.begin(head, part.body)
            }
            None => {
                self.state = State::Done;
                format!("--{}--\r\n", self.boundary).into()
            }
        };
        Ok(Some((chunk, self)))
    }

    /// A short content goes into one chunk with its head: most batches are of small files.
    fn begin(&mut self, mut head: String, body: Body) -> Bytes {
        const SHORT: usize = 16 << 10;
        let Some(bytes) = body.as_bytes().filter(|bytes| bytes.len() <= SHORT) else {
            self.state = State::InPart(body);
            return head.into();
        };
        head.reserve(bytes.len() + 2);
        let mut chunk = head.into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        chunk.into()
    }
}

fn part_head(boundary: &str, request: &WriteRequest) -> String {
    let mut head = String::with_capacity(160);
    let name = request.path.to_target();
    // Writing to a string cannot fail, here and below.
    let _ = write!(
        head,
        "--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"file\"\r\n"
    );
    let mut line = |name: &http::HeaderName, value: &dyn std::fmt::Display| {
        let _ = write!(head, "{name}: {value}\r\n");
    };
    if let Some(mode) = request.mode {
        line(&wire::PART_MODE, &format_args!("{mode:04o}"));
    }
    if let Some(modified) = request.modified {
        line(&wire::PART_MODIFIED, &modified);
    }
    let flags = [
        (wire::PART_PARENTS, request.make_parents),
        (wire::PART_NOFOLLOW, request.nofollow),
        (wire::PART_VERIFY, request.verify),
        (wire::PART_SYNC, request.durability == Durability::Power),
    ];
    for (name, _) in flags.iter().filter(|(_, set)| *set) {
        line(name, &"true");
    }
    match &request.condition {
        WriteCondition::None => {}
        WriteCondition::Absent => line(&http::header::IF_NONE_MATCH, &"*"),
        WriteCondition::Present => line(&http::header::IF_MATCH, &"*"),
        WriteCondition::Matches(tags) => line(&http::header::IF_MATCH, &list_of(tags)),
    }
    if let Some(length) = request.length {
        line(&http::header::CONTENT_LENGTH, &length);
    }
    if !request.digests.is_empty() {
        line(&wire::CONTENT_DIGEST, &digest::to_header(&request.digests));
    }
    head.push_str("\r\n");
    head
}
