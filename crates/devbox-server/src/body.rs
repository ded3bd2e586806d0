//! Bodies on their way through: counted, and not waited for for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::metrics::{Metrics, OpenRequest};

/// A request body: counts what comes, and fails when nothing has come for `pause`.
pub(crate) struct Received {
    body: Incoming,
    metrics: Arc<Metrics>,
    pause: Option<Duration>,
    patience: Option<Pin<Box<Sleep>>>,
    last: Instant,
}

impl Received {
    pub(crate) fn new(body: Incoming, metrics: Arc<Metrics>, pause: Option<Duration>) -> Self {
        Self { body, metrics, pause, patience: None, last: Instant::now() }
    }

    /// Whether the client has been silent for too long. The timer is set once and pushed on when it fires, so that
    /// chunks cost a look at the clock and no more.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Some(pause) = self.pause else { return Poll::Pending };
        let last = self.last;
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep_until(last + pause)));
        loop {
            ready!(patience.as_mut().poll(context));
            if self.last + pause <= Instant::now() {
                return Poll::Ready(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client sent nothing for too long",
                ));
            }
            patience.as_mut().reset(self.last + pause);
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                if self.pause.is_some() {
                    self.last = Instant::now();
                }
                if let Some(Ok(frame)) = &frame {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    self.metrics.received(u64::try_from(bytes).unwrap_or(u64::MAX));
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            // While the box does not read on, nobody polls, and no time is counted against the client.
            Poll::Pending => self.poll_patience(context).map(|late| Some(Err(late.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How much of a refused upload is read and thrown away, and for how long: a connection that is closed with unread bytes is
/// reset, and its client may never see the answer.
const LINGER_BYTES: usize = 32 << 20;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Reads on what is left of a refused request, so that its sender gets to read the answer. HTTP/2 needs none of it.
pub(crate) fn linger(request: Request<axum::body::Body>) {
    let (version, body) = (request.version(), request.into_body());
    if version < Version::HTTP_2 && !body.is_end_stream() {
        let rest = Limited::new(body, LINGER_BYTES);
        tokio::spawn(timeout(LINGER_TIME, async {
            let mut rest = std::pin::pin!(rest);
            while let Some(Ok(_)) = rest.frame().await {}
        }));
    }
}

/// An answer's body: counts what goes, and keeps the request open until it is dropped.
pub(crate) struct Sent {
    body: axum::body::Body,
    open: OpenRequest,
}

impl Sent {
    pub(crate) fn new(body: axum::body::Body, open: OpenRequest) -> Self {
        Self { body, open }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.open.metrics().sent(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
