//! NDJSON answers: one JSON value a line, or a problem as the last.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use devbox_types::Problem;
use futures_util::Stream;
use futures_util::stream::StreamExt as _;
use serde::de::DeserializeOwned;

use super::answer::{broken_off, nonsense};
use crate::body::Body;
use crate::wire::MAX_LINE_BYTES;

/// The values of an NDJSON stream. A line that is a problem, or no value at all, or that does not pass the check, is the
/// last item.
pub(super) struct Lines<T, C> {
    body: Body,
    check: C,
    chunk: Bytes,
    begun: BytesMut,
    ended: bool,
    value: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned, C: Fn(Result<T, Problem>) -> Result<T, Problem>> Lines<T, C> {
    pub(super) fn new(body: Body, check: C) -> Self {
        let (chunk, begun) = (Bytes::new(), BytesMut::new());
        Self { body, check, chunk, begun, ended: false, value: PhantomData }
    }

    /// Cuts the next line off what has come, and reads it.
    fn next_line(&mut self) -> Result<Option<T>, Problem> {
        let Some(end) = memchr::memchr(b'\n', &self.chunk) else {
            self.begun.extend_from_slice(&std::mem::take(&mut self.chunk));
            return if self.begun.len() > MAX_LINE_BYTES {
                Err(nonsense("a line is too long"))
            } else {
                Ok(None)
            };
        };
        let line = self.chunk.split_to(end + 1);
        if self.begun.is_empty() {
            return parse(&line).map(Some);
        }
        self.begun.extend_from_slice(&line);
        parse(&self.begun.split()).map(Some)
    }
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(line).map_err(|error| {
        serde_json::from_slice::<Problem>(line)
            .unwrap_or_else(|_| nonsense(format!("a line of the answer: {error}")))
    })
}

impl<T, C> Stream for Lines<T, C>
where
    T: DeserializeOwned,
    C: Fn(Result<T, Problem>) -> Result<T, Problem> + Unpin,
{
    type Item = Result<T, Problem>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.ended {
            let line = match self.next_line() {
                Ok(Some(value)) => Ok(value),
                Err(problem) => Err(problem),
                Ok(None) => match std::task::ready!(self.body.poll_next_unpin(context)) {
                    Some(Ok(chunk)) => {
                        self.chunk = chunk;
                        continue;
                    }
                    Some(Err(error)) => Err(broken_off(error)),
                    None if self.begun.is_empty() => break,
                    None => Err(nonsense("the last line is cut off")),
                },
            };
            let checked = (self.check)(line);
            self.ended = checked.is_err();
            return Poll::Ready(Some(checked));
        }
        self.ended = true;
        Poll::Ready(None)
    }
}
