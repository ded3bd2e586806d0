//! One HTTP connection, driven by whoever waits for its answer.
//!
//! There is no task per HTTP/1.1 connection: the request's own future polls the connection beside the answer, and the
//! answer's body does the same. That saves two wake-ups of another task per call, which dominate small calls, and makes
//! dropping a call close its connection, which is how the peer learns that nobody waits any more.

use std::convert::Infallible;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use devbox_types::Problem;
use futures_util::FutureExt as _;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::pool::Pool;
use crate::body::{Body, BodyError};
use crate::transport::Connection;

type Io = TokioIo<Box<dyn Connection>>;

/// How much of an answer's head is kept before it is refused as endless. Ours have at most two entries' worth of escapes.
const MAX_HEAD_BYTES: usize = 256 << 10;
/// The most header lines of an answer.
const MAX_HEADERS: usize = 64;
/// Bounds the read buffer of a connection; also the largest chunk of a body.
const MAX_BUFFER_BYTES: usize = 512 << 10;

/// Enough for 4 GiB/s at 4 ms of latency: one connection carries everything.
const CONNECTION_WINDOW: u32 = 32 << 20;
/// One stream may fill a quarter of it.
const STREAM_WINDOW: u32 = 8 << 20;
const MAX_FRAME_BYTES: u32 = 256 << 10;

/// An HTTP/1.1 connection: one exchange at a time.
pub(super) struct Http1 {
    sender: http1::SendRequest<Body>,
    /// Gone once it has ended: dropping it is what tells a waiting answer so.
    connection: Option<http1::Connection<Io, Body>>,
    idle_since: Instant,
}

impl Http1 {
    pub(super) async fn handshake(stream: Box<dyn Connection>) -> hyper::Result<Box<Self>> {
        let (sender, connection) = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD_BYTES)
            .max_buf_size(MAX_BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Box::new(Self { sender, connection: Some(connection), idle_since: Instant::now() }))
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// With the request, if not a byte of it was sent.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        std::future::poll_fn(|context| {
            drive(connection, context);
            answer.as_mut().poll(context)
        })
        .await
    }

    /// Lets the connection see that the exchange is over; whether it can take another.
    pub(super) fn settle(&mut self) -> bool {
        drive(&mut self.connection, &mut Context::from_waker(Waker::noop()));
        self.idle_since = Instant::now();
        self.connection.is_some() && self.sender.is_ready()
    }

    pub(super) fn is_fresh(&self, longest_idle: Duration) -> bool {
        self.idle_since.elapsed() < longest_idle
    }
}

/// Lets a connection read and write what it can. How it ended is told by the answer or its body.
fn drive(connection: &mut Option<http1::Connection<Io, Body>>, context: &mut Context<'_>) {
    if connection.as_mut().is_some_and(|connection| connection.poll_unpin(context).is_ready()) {
        *connection = None;
    }
}

/// Opens the one HTTP/2 connection; its task ends with the stream, or with the last sender.
pub(super) async fn http2_handshake(stream: Box<dyn Connection>) -> hyper::Result<http2::SendRequest<Body>> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
        .max_send_buf_size(1 << 20)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "http2 connection ended");
        }
    });
    Ok(sender)
}

/// Keeps the body of a request going. A task sends it, which without this would go on after the call was dropped.
pub(super) struct Sending {
    _alive: oneshot::Sender<Infallible>,
    failure: oneshot::Receiver<Problem>,
}

impl Sending {
    /// A body that breaks off when the [`Sending`] beside it is dropped; the peer then sees the call cut off.
    pub(super) fn tie(mut body: Body) -> (Body, Self) {
        let (alive, mut dropped) = oneshot::channel();
        let (failed, failure) = oneshot::channel();
        let mut failed = Some(failed);
        let length = body.length();
        let tied = stream::poll_fn(move |context| {
            if Pin::new(&mut dropped).poll(context).is_ready() {
                return Poll::Ready(Some(Err(BodyError::Interrupted { source: None })));
            }
            let item = std::task::ready!(body.poll_next_unpin(context));
            if let (Some(Err(error)), Some(failed)) =
                (&item, failed.take_if(|_| matches!(item, Some(Err(_)))))
            {
                // If nobody waits for it, the call is over already.
                let _ = failed.send(error.to_problem());
            }
            Poll::Ready(item)
        });
        (Body::from_stream(tied, length), Self { _alive: alive, failure })
    }

    /// Waits until the body fails; for ever, if it does not. HTTP/2 does not tell the call so.
    pub(super) async fn failure(&mut self) -> Problem {
        match (&mut self.failure).await {
            Ok(problem) => problem,
            Err(_) => std::future::pending().await,
        }
    }
}

/// What has to be polled for an answer's body to come.
pub(super) enum Driver {
    /// A task of its own does it.
    Task,
    /// This does; at the body's end the connection goes back to the pool.
    Inline { connection: Box<Http1>, pool: Arc<Pool> },
}

impl Driver {
    /// Leaves the connection to a task, for exchanges in which both bodies stream at once: what is sent must not wait
    /// until somebody reads what comes.
    pub(super) fn detach(self) -> Self {
        if let Self::Inline { connection, .. } = self {
            tokio::spawn(async move {
                let Http1 { connection, sender, .. } = *connection;
                // Nobody sends a next request: the connection then ends with this exchange instead of idling for ever.
                drop(sender);
                if let Some(connection) = connection
                    && let Err(error) = connection.await
                {
                    tracing::debug!(error = &error as &dyn std::error::Error, "http1 connection ended");
                }
            });
        }
        Self::Task
    }
}

/// The body of an answer as it comes.
pub(super) struct AnswerBody {
    incoming: Incoming,
    driver: Option<Driver>,
    /// Ends what is still being sent when nobody reads the answer any more.
    _sending: Option<Sending>,
}

impl AnswerBody {
    pub(super) fn new(incoming: Incoming, driver: Driver, sending: Option<Sending>) -> Self {
        Self { incoming, driver: Some(driver), _sending: sending }
    }

    /// The same for whoever need not know.
    pub(super) fn into_body(mut self) -> Body {
        let length = self.incoming.size_hint().exact();
        if self.incoming.is_end_stream() {
            self.finish();
            return Body::empty();
        }
        Body::from_stream(self, length)
    }

    fn finish(&mut self) {
        if let Some(Driver::Inline { mut connection, pool }) = self.driver.take()
            && connection.settle()
        {
            pool.put_back(connection);
        }
    }

    fn poll_incoming(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        loop {
            match std::task::ready!(Pin::new(&mut self.incoming).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => return Poll::Ready(Some(Ok(chunk))),
                    // Trailers mean nothing here.
                    Err(_) => continue,
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Stream for AnswerBody {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.driver.is_none() {
            return Poll::Ready(None);
        }
        // Asking first tells the connection that a chunk is wanted; then it may have one.
        let mut answer = this.poll_incoming(context);
        if let (Poll::Pending, Some(Driver::Inline { connection, .. })) = (&answer, &mut this.driver) {
            drive(&mut connection.connection, context);
            answer = this.poll_incoming(context);
        }
        match std::task::ready!(answer) {
            Some(Ok(chunk)) => {
                if this.incoming.is_end_stream() {
                    this.finish();
                }
                Poll::Ready(Some(Ok(chunk)))
            }
            Some(Err(error)) => {
                this.driver = None;
                let source = std::io::Error::other(error);
                Poll::Ready(Some(Err(BodyError::Interrupted { source: Some(source) })))
            }
            None => {
                this.finish();
                Poll::Ready(None)
            }
        }
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AnswerBody").finish_non_exhaustive()
    }
}
