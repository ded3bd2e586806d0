//! Cutting a body at its boundaries.

use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use devbox_guest::{Body, BodyError};
use devbox_types::Problem;
use futures_util::stream::StreamExt as _;
use memchr::memmem::{self, Finder};

use super::head::{self, Head};
use crate::call::invalid;

/// The longest head of a part: a path of 4,095 escaped bytes, and as much again.
pub(super) const MAX_HEAD_BYTES: usize = 32 << 10;
/// What may stand before the first boundary, and what is skipped behind the last.
const MAX_PREAMBLE_BYTES: usize = 16 << 10;

/// What separates the parts of a body, of 1 to 70 characters (RFC 2046).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Boundary(String);

impl Boundary {
    /// Reads a content type.
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        let parameters = head::parameters(content_type, "multipart/form-data")?;
        let boundary = parameters.into_iter().find(|(name, _)| name == "boundary")?.1;
        let fits =
            (1..=70).contains(&boundary.len()) && boundary.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        fits.then_some(Self(boundary))
    }
}

/// The content behind a part's head.
#[derive(Debug)]
pub(super) enum Content {
    /// It was there already, to its end.
    Whole(Bytes),
    /// It has to be asked for.
    Follows,
}

/// A parser over a body. Its calls follow each other: a head, its content to the end, the next head.
pub(super) struct Parser {
    source: Body,
    source_ended: bool,
    buffer: Bytes,
    delimiter: Finder<'static>,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    BeforeFirst,
    /// Right behind a delimiter.
    AtHead,
    InContent,
    AfterLast,
}

impl Parser {
    pub(super) fn new(source: Body, Boundary(boundary): &Boundary) -> Self {
        Self {
            source,
            source_ended: false,
            // A body may begin with its first boundary, which then has no line before it.
            buffer: Bytes::from_static(b"\r\n"),
            delimiter: Finder::new(format!("\r\n--{boundary}").as_bytes()).into_owned(),
            place: Place::BeforeFirst,
        }
    }

    /// The head of the next part; `None`: there is none.
    pub(super) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<(Head, Content)>, Problem>> {
        if self.place == Place::BeforeFirst {
            ready!(self.poll_first(context))?;
        }
        if self.place == Place::AtHead {
            let Some(head) = ready!(self.poll_head_here(context))? else {
                self.place = Place::AfterLast;
                ready!(self.poll_rest(context))?;
                return Poll::Ready(Ok(None));
            };
            let content = match self.delimiter.find(&self.buffer) {
                Some(end) => {
                    let whole = self.buffer.split_to(end);
                    self.skip_delimiter();
                    Content::Whole(whole)
                }
                None => {
                    self.place = Place::InContent;
                    Content::Follows
                }
            };
            return Poll::Ready(Ok(Some((head, content))));
        }
        ready!(self.poll_rest(context))?;
        Poll::Ready(Ok(None))
    }

    /// A stretch of the current part's content, never empty; `None`: that was all.
    pub(super) fn poll_content(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Problem>> {
        while self.place == Place::InContent {
            if let Some(end) = self.delimiter.find(&self.buffer) {
                let last = self.buffer.split_to(end);
                self.skip_delimiter();
                return Poll::Ready(Ok(Some(last).filter(|last| !last.is_empty())));
            }
            let certain = self.buffer.len() - self.beginning_of_delimiter();
            if certain > 0 {
                return Poll::Ready(Ok(Some(self.buffer.split_to(certain))));
            }
            ready!(self.poll_more(context))?;
        }
        Poll::Ready(Ok(None))
    }

    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        loop {
            if let Some(end) = self.delimiter.find(&self.buffer) {
                self.buffer.advance(end);
                self.skip_delimiter();
                return Poll::Ready(Ok(()));
            }
            if self.buffer.len() > MAX_PREAMBLE_BYTES {
                return Poll::Ready(Err(invalid("the batch does not begin with its boundary")));
            }
            ready!(self.poll_more(context))?;
        }
    }

    /// Reads on behind a delimiter: a head, or the two dashes that say that there is none.
    fn poll_head_here(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Head>, Problem>> {
        loop {
            if self.buffer.starts_with(b"--") {
                return Poll::Ready(Ok(None));
            }
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                let lines = self.buffer.split_to(end + 2);
                self.buffer.advance(2);
                return Poll::Ready(Head::parse(&lines).map(Some));
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Poll::Ready(Err(invalid(format!(
                    "a part's head is longer than {MAX_HEAD_BYTES} bytes"
                ))));
            }
            ready!(self.poll_more(context))?;
        }
    }

    /// Skips what follows the last boundary, which is nothing from our clients, so that the connection can go on.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        let mut skipped = self.buffer.len();
        while !self.source_ended {
            self.buffer.clear();
            if skipped > MAX_PREAMBLE_BYTES {
                return Poll::Ready(Err(invalid("the batch goes on behind its last boundary")));
            }
            match ready!(self.source.poll_next_unpin(context)) {
                Some(chunk) => skipped += chunk?.len(),
                None => self.source_ended = true,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn skip_delimiter(&mut self) {
        self.buffer.advance(self.delimiter.needle().len());
        self.place = Place::AtHead;
    }

    /// How many bytes at the end of the buffer may be the beginning of a delimiter.
    fn beginning_of_delimiter(&self) -> usize {
        let needle = self.delimiter.needle();
        let tail = &self.buffer[self.buffer.len().saturating_sub(needle.len() - 1)..];
        let begins = |from: &usize| needle.starts_with(&tail[*from..]);
        memchr::memchr_iter(b'\r', tail).find(begins).map_or(0, |from| tail.len() - from)
    }

    /// Takes another chunk behind what is left of the one before.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        let chunk = match ready!(self.source.poll_next_unpin(context)) {
            Some(chunk) => chunk?,
            None => {
                self.source_ended = true;
                return Poll::Ready(Err(Problem::of(&BodyError::Interrupted { source: None })
                    .with_hint("send the batch to its closing boundary")));
            }
        };
        let left = std::mem::take(&mut self.buffer);
        self.buffer = if left.is_empty() { chunk } else { joined(left, &chunk) };
        Poll::Ready(Ok(()))
    }
}

fn joined(left: Bytes, chunk: &[u8]) -> Bytes {
    let mut joined = left.try_into_mut().unwrap_or_else(|shared| {
        let mut copy = BytesMut::with_capacity(shared.len() + chunk.len());
        copy.extend_from_slice(&shared);
        copy
    });
    joined.extend_from_slice(chunk);
    joined.freeze()
}
