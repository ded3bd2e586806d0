//! The content of a request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use devbox_guest::{Body, BodyError};
use futures_util::Stream;
use http::Version;
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::codings;
use crate::failure::Failure;

/// Contents up to this length are gathered before the call is made: the guest then has them in hand and need not wait.
const GATHERED: u64 = 64 << 10;

/// How much of a refused upload is read and thrown away, so that its sender gets to read the answer: closing a TCP
/// connection with unread data resets it, and the answer is lost (as nginx's lingering close).
const LINGER_BYTES: u64 = 32 << 20;
/// For how long.
const LINGER: Duration = Duration::from_secs(2);

/// Marks a request whose content is under a content coding, for whom the headers are gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coded;

/// The body of a request as the contract has it. Under a content coding it is refused.
pub(crate) struct Content(pub(crate) Body);

/// The body of a request as it was sent, which may be under a content coding.
pub(crate) struct SentContent(pub(crate) Body);

impl<S: Sync> FromRequest<S> for Content {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let is_coded = request.extensions().get::<Coded>().is_some();
        // What is refused is read to its end too, so that its sender hears of it.
        let content = SentContent::from_request(request, state).await;
        let SentContent(body) = content.map_err(Failure::into_response)?;
        if is_coded { Err(codings::no_coding()) } else { Ok(Self(body)) }
    }
}

impl<S: Sync> FromRequest<S> for SentContent {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        let version = request.version();
        let body = request.into_body();
        let length = body.size_hint().exact();
        let incoming = Incoming { body: Some(body), lingers: version < Version::HTTP_2 };
        let content = Body::from_stream(incoming, length);
        match length {
            Some(length) if length <= GATHERED => {
                let limit = usize::try_from(length).unwrap_or(usize::MAX);
                Ok(Self(Body::from_bytes(content.collect(limit).await?)))
            }
            _ => Ok(Self(content)),
        }
    }
}

struct Incoming {
    body: Option<axum::body::Body>,
    lingers: bool,
}

impl Stream for Incoming {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        loop {
            match ready!(Pin::new(&mut *body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => return Poll::Ready(Some(Ok(chunk))),
                    // Trailers mean nothing here.
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    self.body = None;
                    let source = std::io::Error::other(error);
                    return Poll::Ready(Some(Err(BodyError::Interrupted { source: Some(source) })));
                }
                None => {
                    self.body = None;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| self.lingers && !body.is_end_stream());
        if let (Some(body), Ok(runtime)) = (unread, tokio::runtime::Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(LINGER, throw_away(body)));
        }
    }
}

async fn throw_away(mut body: axum::body::Body) {
    let mut left = LINGER_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(u64::try_from(length).unwrap_or(u64::MAX)) else { return };
        left = rest;
    }
}
