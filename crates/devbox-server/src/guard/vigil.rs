//! Whether an agent that is silent still lives.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use devbox_guest::{Body, BodyError, Guest};
use devbox_types::{ErrorCode, Problem};
use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream::StreamExt as _;
use tokio::time::{Instant, sleep_until, timeout};

use crate::metrics::{Metrics, Stall};

/// Watches over one call: as long as something moves, nothing is asked; then the agent is, for a sign of life, and after
/// that as often again as it stays silent.
///
/// A call may take as long as its content or its work takes, so its whole time says nothing. What tells a busy agent from a
/// starved or stopped one is whether it still answers the smallest of questions.
#[derive(Clone)]
pub(super) struct Vigil(Arc<Watch>);

struct Watch {
    guest: Arc<dyn Guest>,
    metrics: Arc<Metrics>,
    /// How long nothing moves before the agent is asked, and how long it may take to answer.
    patience: Duration,
    /// How long nothing moves until the call is given up, even if the agent lives.
    longest: Option<Duration>,
    began: Instant,
    /// When something moved last, in milliseconds since it began.
    last: AtomicU64,
}

impl Vigil {
    pub(super) fn new(
        guest: Arc<dyn Guest>,
        metrics: Arc<Metrics>,
        patience: Duration,
        longest: Option<Duration>,
    ) -> Self {
        let (began, last) = (Instant::now(), AtomicU64::new(0));
        Self(Arc::new(Watch { guest, metrics, patience, longest, began, last }))
    }

    /// Waits for the outcome of a call, unless the agent is given up first; the call is then dropped, and so cut off.
    pub(super) async fn over<T>(&self, call: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
        tokio::select! {
            biased;
            outcome = call => outcome,
            problem = self.give_up() => Err(problem),
        }
    }

    /// The same content of a request; each piece that the agent takes is a movement.
    pub(super) fn sending(&self, body: Body) -> Body {
        if body.as_bytes().is_some() {
            return body;
        }
        let (vigil, length) = (self.clone(), body.length());
        Body::from_stream(body.inspect(move |_| vigil.moved()), length)
    }

    /// The same content of an answer, watched over until its end.
    pub(super) fn receiving(&self, body: Body) -> Body {
        if body.as_bytes().is_some() {
            return body;
        }
        let length = body.length();
        Body::from_stream(self.watched(body, BodyError::Problem), length)
    }

    /// The same items, watched over until their end.
    pub(super) fn watched<T, E, S>(&self, stream: S, failed: fn(Problem) -> E) -> Watched<S, E>
    where
        S: Stream<Item = Result<T, E>> + Unpin,
    {
        Watched { stream: Some(stream), vigil: self.clone(), verdict: None, failed }
    }

    /// Something moves.
    fn moved(&self) {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(now, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.0.began + Duration::from_millis(self.0.last.load(Ordering::Relaxed))
    }

    /// Waits until there is no reason to wait any more, and says why not.
    async fn give_up(&self) -> Problem {
        let watch = &*self.0;
        let mut next = self.last() + watch.patience;
        loop {
            sleep_until(next).await;
            let due = self.last() + watch.patience;
            if due > Instant::now() {
                next = due;
                continue;
            }
            if !matches!(timeout(watch.patience, watch.guest.greet()).await, Ok(Ok(_))) {
                watch.metrics.stalled(Stall::Agent);
                return Problem::new(
                    ErrorCode::AgentUnreachable,
                    "the agent of the box shows no sign of life",
                )
                .with_hint("stop and start the box if it stays so");
            }
            let silent = self.last().elapsed();
            if watch.longest.is_some_and(|longest| silent >= longest) {
                watch.metrics.stalled(Stall::Agent);
                return Problem::new(
                    ErrorCode::Timeout,
                    "the agent of the box lives, but the call does not go on",
                )
                .with_hint("stop and start the box if it stays so");
            }
            next = Instant::now() + watch.patience;
        }
    }
}

/// A stream of what an agent sends; its last item is a problem if the agent is given up.
pub(super) struct Watched<S, E> {
    /// Gone once it has ended, or was given up.
    stream: Option<S>,
    vigil: Vigil,
    /// Made when the stream has to be waited for, for the first time.
    verdict: Option<BoxFuture<'static, Problem>>,
    failed: fn(Problem) -> E,
}

impl<T, E, S> Stream for Watched<S, E>
where
    S: Stream<Item = Result<T, E>> + Unpin,
{
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else { return Poll::Ready(None) };
        if let Poll::Ready(item) = stream.poll_next_unpin(context) {
            // Whoever reads slowly does not count against the agent: its time begins when it is waited for.
            this.verdict = None;
            if item.is_none() {
                this.stream = None;
            }
            return Poll::Ready(item);
        }
        let verdict = this.verdict.get_or_insert_with(|| {
            this.vigil.moved();
            let vigil = this.vigil.clone();
            Box::pin(async move { vigil.give_up().await })
        });
        let problem = ready!(verdict.as_mut().poll(context));
        (this.stream, this.verdict) = (None, None);
        Poll::Ready(Some(Err((this.failed)(problem))))
    }
}
