//! Contents as streams of chunks.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use devbox_types::{Coded, ErrorCode};
use futures_util::Stream;
use futures_util::stream::{self, StreamExt as _};

/// Why a stream of content ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The other side went away, or sent less than it announced.
    #[error("the content ended early")]
    Interrupted {
        /// What the transport says of it.
        source: Option<io::Error>,
    },
    /// It is larger than the limit.
    #[error("the content is larger than the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The far side met this problem while it was sending.
    #[error("{0}")]
    Problem(devbox_types::Problem),
}

impl Coded for BodyError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Interrupted { .. } => ErrorCode::Interrupted,
            Self::TooLarge { .. } => ErrorCode::TooLarge,
            Self::Problem(problem) => problem.code,
        }
    }
}

impl From<BodyError> for devbox_types::Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Problem(problem) => problem,
            other => Self::of(&other),
        }
    }
}

/// A stream of content: chunks in order, then the end. An error is the last item.
///
/// Nothing is buffered beyond the chunk in hand; whoever polls sets the pace. Dropping it tells the sender to stop.
pub struct Body {
    stream: Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>,
    length: Option<u64>,
}

impl Body {
    /// No content.
    #[must_use]
    pub fn empty() -> Self {
        Self { stream: Box::pin(stream::empty()), length: Some(0) }
    }

    /// Content that is in memory already.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let length = u64::try_from(bytes.len()).ok();
        let chunks = stream::iter((!bytes.is_empty()).then_some(Ok(bytes)));
        Self { stream: Box::pin(chunks), length }
    }

    /// Content that comes chunk by chunk; `length` is the whole in bytes, if it is known.
    #[must_use]
    pub fn from_stream(
        stream: impl Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
        length: Option<u64>,
    ) -> Self {
        Self { stream: Box::pin(stream), length }
    }

    /// How many bytes the whole has, if its sender said.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Collects at most `limit_bytes` into memory.
    ///
    /// # Errors
    /// `TooLarge` beyond that, and whatever ends the stream early.
    pub async fn collect(mut self, limit_bytes: usize) -> Result<Bytes, BodyError> {
        let too_large =
            || BodyError::TooLarge { limit_bytes: u64::try_from(limit_bytes).unwrap_or(u64::MAX) };
        let Some(first) = self.next().await.transpose()? else { return Ok(Bytes::new()) };
        let mut whole: Option<Vec<u8>> = None;
        let mut size = first.len();
        while let Some(chunk) = self.next().await.transpose()? {
            size += chunk.len();
            if size > limit_bytes {
                return Err(too_large());
            }
            whole.get_or_insert_with(|| first.to_vec()).extend_from_slice(&chunk);
        }
        if size > limit_bytes {
            return Err(too_large());
        }
        Ok(whole.map_or(first, Bytes::from))
    }
}

impl Stream for Body {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_next_unpin(context)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Body").field("length", &self.length).finish_non_exhaustive()
    }
}
