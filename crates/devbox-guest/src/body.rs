//! Contents as streams of chunks.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use devbox_types::{Coded, ErrorCode, Problem};
use futures_util::Stream;
use futures_util::stream::StreamExt as _;
use http_body::{Frame, SizeHint};

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
    Problem(Problem),
}

impl BodyError {
    /// The problem that it is to a caller.
    #[must_use]
    pub fn to_problem(&self) -> Problem {
        match self {
            Self::Problem(problem) => problem.clone(),
            Self::Interrupted { .. } | Self::TooLarge { .. } => Problem::of(self),
        }
    }
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

impl From<BodyError> for Problem {
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
/// If `length` is known, more or fewer bytes than that are an error. It is an [`http_body::Body`] too.
pub struct Body {
    content: Content,
    length: Option<u64>,
    delivered: u64,
}

/// What is in memory is kept apart from what streams: it needs no box, and can be sent again.
enum Content {
    Memory(Bytes),
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>),
}

impl Body {
    /// No content.
    #[must_use]
    pub fn empty() -> Self {
        Self::from_bytes(Bytes::new())
    }

    /// Content that is in memory already.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let length = u64::try_from(bytes.len()).ok();
        Self { content: Content::Memory(bytes), length, delivered: 0 }
    }

    /// Content that comes chunk by chunk; `length` is the whole in bytes, if it is known.
    #[must_use]
    pub fn from_stream(
        stream: impl Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
        length: Option<u64>,
    ) -> Self {
        Self { content: Content::Stream(Box::pin(stream)), length, delivered: 0 }
    }

    /// How many bytes the whole has, if its sender said.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// All that is left, if it is in memory already: then nobody needs to wait for it.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Memory(bytes) => Some(bytes),
            Content::Stream(_) => None,
        }
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

    /// Holds the stream to its announced length.
    fn checked(&mut self, item: Option<Result<Bytes, BodyError>>) -> Option<Result<Bytes, BodyError>> {
        match &item {
            Some(Ok(chunk)) => {
                self.delivered =
                    self.delivered.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
                if self.length.is_some_and(|length| self.delivered > length) {
                    let detail = "more content came than was announced";
                    return Some(Err(BodyError::Problem(Problem::new(ErrorCode::InvalidRequest, detail))));
                }
            }
            None if self.length.is_some_and(|length| self.delivered < length) => {
                self.length = None;
                return Some(Err(BodyError::Interrupted { source: None }));
            }
            None | Some(Err(_)) => {}
        }
        item
    }
}

impl Stream for Body {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = match &mut self.content {
            Content::Memory(bytes) if bytes.is_empty() => None,
            Content::Memory(bytes) => Some(Ok(std::mem::take(bytes))),
            Content::Stream(stream) => ready!(stream.poll_next_unpin(context)),
        };
        Poll::Ready(self.checked(item))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let item = ready!(self.poll_next(context));
        Poll::Ready(item.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Memory(bytes) => bytes.is_empty(),
            Content::Stream(_) => self.length == Some(self.delivered),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.length.map(|length| length.saturating_sub(self.delivered));
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Body").field("length", &self.length).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;

    fn of_chunks(chunks: &[&'static str], length: Option<u64>) -> Body {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        Body::from_stream(stream::iter(chunks), length)
    }

    async fn sent(body: Body) -> Result<Bytes, BodyError> {
        BodyExt::collect(body).await.map(http_body_util::Collected::to_bytes)
    }

    #[tokio::test]
    async fn what_was_announced_is_what_is_sent() {
        assert_eq!(sent(of_chunks(&["ab", "c"], Some(3))).await.expect("whole"), "abc");
        assert_eq!(sent(of_chunks(&["ab", "c"], None)).await.expect("whole"), "abc");
        assert_eq!(sent(Body::from_bytes("abc")).await.expect("whole"), "abc");
    }

    #[tokio::test]
    async fn fewer_or_more_bytes_than_announced_are_an_error() {
        assert_eq!(
            sent(of_chunks(&["ab"], Some(3))).await.expect_err("short").code(),
            ErrorCode::Interrupted
        );
        let long = sent(of_chunks(&["ab", "cd"], Some(3))).await.expect_err("long");
        assert_eq!(long.code(), ErrorCode::InvalidRequest);
    }

    #[tokio::test]
    async fn a_limit_is_kept_while_collecting() {
        assert_eq!(of_chunks(&["ab", "c"], None).collect(3).await.expect("fits"), "abc");
        let error = of_chunks(&["ab", "c"], None).collect(2).await.expect_err("too large");
        assert_eq!(error.code(), ErrorCode::TooLarge);
    }
}
