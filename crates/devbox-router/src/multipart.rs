//! The parser of batches: multipart/form-data (RFC 7578), one part at a time, in bounded memory.
//!
//! Nothing is kept but the chunk in hand and, of a part's head, at most [`MAX_HEAD_BYTES`]; a general-purpose parser
//! reads ahead for as long as bytes come, and gathers heads of any length.

mod head;
mod parser;

use std::cmp::Ordering;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use devbox_guest::contract::UploadParts;
use devbox_guest::wire::MAX_PARTS;
use devbox_guest::{Body, BodyError, UploadPart};
use devbox_types::file::WriteRequest;
use devbox_types::{ErrorCode, Problem};
use futures_util::Stream;
use futures_util::stream::StreamExt as _;

use crate::call::invalid;
pub(crate) use parser::Boundary;
use parser::{Content, Parser};

/// What the request says for all of its parts; its path means nothing.
pub(crate) struct Defaults(pub(crate) WriteRequest);

/// The parts of a body, as the contract has them.
pub(crate) fn parts(body: Body, boundary: &Boundary, defaults: Defaults) -> UploadParts {
    let shared = Arc::new(Mutex::new(Shared { parser: Parser::new(body, boundary), part: 0, open: false }));
    Parts { shared, defaults, ended: false }.boxed()
}

/// The parser, which the stream of parts and the content of the current part take turns to use.
struct Shared {
    parser: Parser,
    /// Which part is the current one.
    part: usize,
    /// Whether its content has not been read to its end.
    open: bool,
}

impl Shared {
    fn poll_content(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Problem>>> {
        if !self.open {
            return Poll::Ready(None);
        }
        let chunk = ready!(self.parser.poll_content(context)).transpose();
        if !matches!(chunk, Some(Ok(_))) {
            self.open = false;
        }
        Poll::Ready(chunk)
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<(head::Head, Content)>, Problem>> {
        // What the guest did not care to read of the part before.
        while let Some(skipped) = ready!(self.poll_content(context)) {
            skipped?;
        }
        let Some(next) = ready!(self.parser.poll_head(context))? else { return Poll::Ready(Ok(None)) };
        self.part += 1;
        if self.part > MAX_PARTS {
            let detail = format!("a batch has at most {MAX_PARTS} files");
            return Poll::Ready(Err(Problem::new(ErrorCode::TooLarge, detail)));
        }
        self.open = matches!(next.1, Content::Follows);
        Poll::Ready(Ok(Some(next)))
    }
}

struct Parts {
    shared: Arc<Mutex<Shared>>,
    defaults: Defaults,
    ended: bool,
}

impl Parts {
    fn part(&self, head: &head::Head, content: Content) -> Result<UploadPart, Problem> {
        let request = head.request(&self.defaults.0)?;
        let (body, length) = match content {
            Content::Whole(bytes) => {
                let length = u64::try_from(bytes.len()).ok();
                // As of a body that streams, so that it does not matter how the batch was cut.
                match request.length.cmp(&length) {
                    _ if request.length.is_none() => {}
                    Ordering::Equal => {}
                    Ordering::Less => return Err(invalid("more content came than was announced")),
                    Ordering::Greater => return Err(Problem::of(&BodyError::Interrupted { source: None })),
                }
                (Body::from_bytes(bytes), length)
            }
            Content::Follows => {
                let shared = Arc::clone(&self.shared);
                let part = lock(&shared).part;
                (Body::from_stream(PartBody { shared, part }, request.length), request.length)
            }
        };
        Ok(UploadPart { request: WriteRequest { length, ..request }, body })
    }
}

impl Stream for Parts {
    type Item = Result<UploadPart, Problem>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = ready!(lock(&self.shared).poll_next(context));
        let part = match next {
            Ok(Some((head, content))) => Some(self.part(&head, content)),
            Ok(None) => None,
            Err(problem) => Some(Err(problem)),
        };
        self.ended = !matches!(part, Some(Ok(_)));
        Poll::Ready(part)
    }
}

/// The content of one part, for as long as it is the current one.
struct PartBody {
    shared: Arc<Mutex<Shared>>,
    part: usize,
}

impl Stream for PartBody {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut shared = lock(&self.shared);
        if shared.part != self.part {
            // The contract forbids it, and bytes of another part would be worse than an error.
            return Poll::Ready(Some(Err(BodyError::Interrupted { source: None })));
        }
        let chunk = ready!(shared.poll_content(context));
        Poll::Ready(chunk.map(|chunk| chunk.map_err(BodyError::Problem)))
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
