//! A body that passes through a codec.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use devbox_types::{DigestHasher, Digests, ErrorCode, Problem};
use futures_util::stream::{Stream, StreamExt as _};

use super::{Codec, ContentCoding};
use crate::body::{Body, BodyError};

/// What came out is handed on from this size on, or when there is nothing to go on with.
const CHUNK: usize = 64 << 10;

/// What is done to a content.
#[derive(Debug, Clone, Copy)]
pub(super) enum Task {
    /// It is coded.
    Encode,
    /// It is brought back.
    Decode {
        /// From this coding.
        coding: ContentCoding,
        /// What the coded bytes must hash to.
        sent: Digests,
    },
}

/// The content that comes out of a codec.
pub(super) fn pass(source: Body, codec: io::Result<Box<dyn Codec>>, task: Task) -> Body {
    let hasher = match &task {
        Task::Encode => DigestHasher::default(),
        Task::Decode { sent, .. } => DigestHasher::new(sent.algorithms()),
    };
    Body::from_stream(Passing { source, input: Bytes::new(), codec: Some(codec), hasher, task }, None)
}

struct Passing {
    source: Body,
    /// What came and was not taken yet.
    input: Bytes,
    /// Nothing once the content has ended, well or not; or why there never was one.
    codec: Option<io::Result<Box<dyn Codec>>>,
    hasher: DigestHasher,
    task: Task,
}

impl Passing {
    /// The next chunk that comes out; `None`: that was all.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        let mut output = Vec::new();
        loop {
            let codec = match &mut self.codec {
                Some(Ok(codec)) => codec,
                Some(Err(error)) => return Poll::Ready(Err(self.task.failed(error))),
                None => return Poll::Ready(Ok(None)),
            };
            while !self.input.is_empty() {
                let before = output.len();
                let taken = codec.take(&self.input, &mut output).map_err(|error| self.task.failed(&error))?;
                if taken == 0 && output.len() == before {
                    return Poll::Ready(Err(self.task.failed(&io::ErrorKind::InvalidData.into())));
                }
                self.input.advance(taken);
                if output.len() >= CHUNK {
                    return Poll::Ready(Ok(Some(output.into())));
                }
            }
            match self.source.poll_next_unpin(context) {
                Poll::Pending if output.is_empty() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(Ok(Some(output.into()))),
                Poll::Ready(Some(chunk)) => {
                    self.input = chunk?;
                    self.hasher.update(&self.input);
                }
                Poll::Ready(None) => {
                    codec.end(&mut output).map_err(|error| self.task.failed(&error))?;
                    self.codec = None;
                    self.task.check(&std::mem::take(&mut self.hasher).finish())?;
                    return Poll::Ready(Ok(Some(output)
                        .filter(|output| !output.is_empty())
                        .map(Bytes::from)));
                }
            }
        }
    }
}

impl Stream for Passing {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.poll_chunk(context);
        if let Poll::Ready(Err(_)) = &polled {
            self.codec = None;
        }
        polled.map(Result::transpose)
    }
}

impl Task {
    fn check(&self, found: &Digests) -> Result<(), BodyError> {
        match self {
            Self::Decode { sent, .. } if !sent.are_met_by(found) => {
                let detail = "the bytes that were sent do not have the announced digest";
                Err(BodyError::Problem(Problem::new(ErrorCode::DigestMismatch, detail)))
            }
            Self::Decode { .. } | Self::Encode => Ok(()),
        }
    }

    fn failed(&self, error: &io::Error) -> BodyError {
        let problem = match self {
            Self::Encode => {
                Problem::new(ErrorCode::Internal, format!("the content cannot be compressed: {error}"))
            }
            Self::Decode { coding, .. } => {
                let detail = format!("the content is not {} to its end: {error}", coding.as_str());
                let problem = Problem::new(ErrorCode::InvalidRequest, detail);
                match coding {
                    ContentCoding::Gzip => problem,
                    ContentCoding::Zstd => problem.with_hint("compress with a window of at most 8 MiB"),
                }
            }
        };
        BodyError::Problem(problem)
    }
}
