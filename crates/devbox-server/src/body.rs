//! Bodies of requests on their way through: counted, held to their key's rate, and not waited for for ever.

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

use crate::allotment::{Allotment, Direction};
use crate::metrics::{Metrics, Stall};
use crate::patience::Patience;

/// A request body: counts what comes, and fails when its client sends nothing, or next to nothing, for too long.
pub(crate) struct Received {
    body: Incoming,
    metrics: Arc<Metrics>,
    route: &'static str,
    patience: Option<Patience>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Received {
    pub(crate) fn new(
        body: Incoming,
        metrics: Arc<Metrics>,
        route: &'static str,
        pause: Option<Duration>,
    ) -> Self {
        Self { body, metrics, route, patience: pause.map(Patience::new), timer: None }
    }

    /// Whether the client has been silent for too long. The timer is set once and pushed on when it fires.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Some(patience) = &mut self.patience else { return Poll::Pending };
        let until = patience.wait(Instant::now());
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        loop {
            ready!(timer.as_mut().poll(context));
            if timer.deadline() >= until {
                self.metrics.stalled(Stall::Request);
                let late = "the client sent too little for too long";
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, late));
            }
            timer.as_mut().reset(until);
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
                let bytes = length_of(&frame);
                if let Some(patience) = &mut self.patience {
                    patience.moved(bytes);
                }
                self.metrics.received(self.route, u64::try_from(bytes).unwrap_or(u64::MAX));
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

/// How many bytes of content a frame has.
pub(crate) fn length_of<E>(frame: &Option<Result<Frame<Bytes>, E>>) -> usize {
    let frame = frame.as_ref().and_then(|frame| frame.as_ref().ok());
    frame.and_then(Frame::data_ref).map_or(0, Bytes::len)
}

/// Holds a body to the rate of its key: what has passed is charged, and the next piece waits until that is made up for.
pub(crate) struct Pace {
    allotment: Arc<Allotment>,
    direction: Direction,
    rest: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// `None`, if the key has no such rate.
    pub(crate) fn of(allotment: &Arc<Allotment>, direction: Direction) -> Option<Self> {
        allotment.bytes(direction)?;
        Some(Self { allotment: Arc::clone(allotment), direction, rest: None })
    }

    /// Waits for what passed before.
    pub(crate) fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(context));
            self.rest = None;
        }
        Poll::Ready(())
    }

    /// These bytes have passed.
    pub(crate) fn passed(&mut self, bytes: usize) {
        let Some(meter) = self.allotment.bytes(self.direction).filter(|_| bytes > 0) else { return };
        let pause = meter.charge(u64::try_from(bytes).unwrap_or(u64::MAX));
        if !pause.is_zero() {
            self.rest = Some(Box::pin(sleep_until(Instant::now() + pause)));
        }
    }
}

/// A request body at the pace of its key.
pub(crate) struct Paced {
    body: axum::body::Body,
    pace: Pace,
}

impl Paced {
    pub(crate) fn new(body: axum::body::Body, pace: Pace) -> Self {
        Self { body, pace }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        ready!(self.pace.poll_turn(context));
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.pace.passed(length_of(&frame));
        Poll::Ready(frame)
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
