//! Bodies of answers on their way out: counted, held to their key's rate, and not offered for ever.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::body::{Pace, length_of};
use crate::idle::Busy;
use crate::metrics::{OpenRequest, Stall};
use crate::patience::Patience;

/// What an answer consists of, and holds until its end.
struct Content {
    body: axum::body::Body,
    pace: Option<Pace>,
    open: OpenRequest,
    _busy: Busy,
}

impl Content {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(pace) = &mut self.pace {
            ready!(pace.poll_turn(context));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let bytes = length_of(&frame);
        if let Some(pace) = &mut self.pace {
            pace.passed(bytes);
        }
        self.open.sent(u64::try_from(bytes).unwrap_or(u64::MAX));
        Poll::Ready(frame)
    }
}

/// An answer's body. The request is open until this is dropped, or its client has not read on for too long.
pub(crate) struct Answer(Kind);

enum Kind {
    /// Has a connection of its own, which fails when it stalls.
    Plain(Content),
    /// Shares a connection, which goes on when one of its streams stalls: a watch lets go of what that one holds.
    Watched { state: Arc<Mutex<Watched>>, size: SizeHint, _watch: AbortOnDropHandle<()> },
}

struct Watched {
    /// `None`: given up.
    content: Option<Content>,
    patience: Patience,
    /// Until when the client may take to ask for more, while it does not.
    until: Option<Instant>,
}

impl Answer {
    pub(crate) fn new(body: axum::body::Body, pace: Option<Pace>, open: OpenRequest, busy: Busy) -> Self {
        Self(Kind::Plain(Content { body, pace, open, _busy: busy }))
    }

    /// The same on a connection that it shares with others.
    pub(crate) fn watched(self, pause: Duration) -> Self {
        match self.0 {
            Kind::Plain(content) if !content.body.is_end_stream() => {
                let size = content.body.size_hint();
                let mut patience = Patience::new(pause);
                let until = Some(patience.wait(Instant::now()));
                let state = Arc::new(Mutex::new(Watched { content: Some(content), patience, until }));
                let watch = tokio::spawn(watch(Arc::downgrade(&state), pause));
                Self(Kind::Watched { state, size, _watch: AbortOnDropHandle::new(watch) })
            }
            kind => Self(kind),
        }
    }
}

/// Gives the answer up once its client has not asked for more of it for too long.
async fn watch(state: Weak<Mutex<Watched>>, pause: Duration) {
    loop {
        let until = {
            let Some(state) = state.upgrade() else { return };
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            match state.until {
                Some(until) if until <= Instant::now() => {
                    if let Some(content) = state.content.take() {
                        content.open.metrics().stalled(Stall::Answer);
                    }
                    return;
                }
                Some(until) => until,
                None => Instant::now() + pause,
            }
        };
        sleep_until(until).await;
    }
}

impl Watched {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.until = None;
        self.patience.rest();
        let Some(content) = &mut self.content else {
            let late = "the client did not read its answer for too long";
            return Poll::Ready(Some(Err(axum::Error::new(std::io::Error::other(late)))));
        };
        let frame = ready!(content.poll_frame(context));
        self.patience.moved(length_of(&frame));
        self.until = Some(self.patience.wait(Instant::now()));
        Poll::Ready(frame)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.0 {
            Kind::Plain(content) => content.poll_frame(context),
            Kind::Watched { state, .. } => {
                state.lock().unwrap_or_else(PoisonError::into_inner).poll_frame(context)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Plain(content) => content.body.is_end_stream(),
            Kind::Watched { state, .. } => {
                let state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.content.as_ref().is_some_and(|content| content.body.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Plain(content) => content.body.size_hint(),
            // Asked for once, before the first frame.
            Kind::Watched { size, .. } => *size,
        }
    }
}
