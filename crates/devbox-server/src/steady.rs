//! A connection's task that stays where it is when it wakes itself.
//!
//! hyper hands bodies from the connection to the handler, and answers back, through channels, although both are polled by
//! one task: with each piece that task wakes itself. A runtime with several threads takes that for a task that yields: it
//! goes to the end of the queue, and a sleeping thread is woken to take it over. Where the other tasks sleep, as they mostly
//! do, that costs two switches of threads for each piece, and nothing is gained. Here a wake-up that comes while the task is
//! being polled makes it be polled again at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use tokio::task::coop::has_budget_remaining;

/// A future that is polled again at once when it was woken while it was polled, until tokio's budget of the task is used up:
/// then the others have their turn.
pub(crate) struct Steady<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    waker: Waker,
}

impl<F> Steady<F> {
    pub(crate) fn new(future: F) -> Self {
        let bell = Arc::new(Bell { state: AtomicU8::new(IDLE), task: AtomicWaker::new() });
        Self { future: Box::pin(future), waker: Waker::from(Arc::clone(&bell)), bell }
    }
}

impl<F: Future> Future for Steady<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.bell.task.register(context.waker());
        loop {
            this.bell.state.swap(POLLING, Ordering::AcqRel);
            if let Poll::Ready(output) = this.future.as_mut().poll(&mut Context::from_waker(&this.waker)) {
                return Poll::Ready(output);
            }
            if this.bell.fall_silent() {
                return Poll::Pending;
            }
            if !has_budget_remaining() {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

/// Nobody has rung since the last poll, which is over.
const IDLE: u8 = 0;
/// Nobody has rung since this poll began.
const POLLING: u8 = 1;
/// Somebody has rung, and the next poll is certain.
const RUNG: u8 = 2;

/// What the future rings to be polled. Whoever rings first while it is idle wakes the task.
struct Bell {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Bell {
    /// Ends a poll; `false` if somebody rang meanwhile.
    fn fall_silent(&self) -> bool {
        self.state.compare_exchange(POLLING, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(RUNG, Ordering::AcqRel) == IDLE {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::ready;

    use futures_util::future::poll_fn;
    use tokio::sync::mpsc;

    use super::*;

    /// Counts how often a task is woken from outside.
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_that_wakes_itself_is_polled_again_and_not_woken() {
        let mut left = 5;
        let mut steady = Steady::new(poll_fn(move |context| {
            left -= 1;
            if left == 0 {
                return Poll::Ready("done");
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }));
        let counted = Arc::new(Counted(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&counted));
        let output = Pin::new(&mut steady).poll(&mut Context::from_waker(&waker));
        assert_eq!(output, Poll::Ready("done"));
        assert_eq!(counted.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_wake_up_from_outside_wakes_the_task_once() {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut steady = Steady::new(poll_fn(move |context| {
            while ready!(receiver.poll_recv(context)) != Some("end") {}
            Poll::Ready(())
        }));
        let counted = Arc::new(Counted(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&counted));
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut steady).poll(&mut context).is_pending());
        sender.send("more").expect("there is a receiver");
        sender.send("end").expect("there is a receiver");
        assert_eq!(counted.0.load(Ordering::Relaxed), 1);
        assert!(Pin::new(&mut steady).poll(&mut context).is_ready());
    }

    #[tokio::test]
    async fn a_task_that_never_rests_lets_others_have_their_turn() {
        let restless = tokio::spawn(Steady::new(async {
            let (sender, mut receiver) = mpsc::unbounded_channel();
            loop {
                sender.send(()).expect("there is a receiver");
                receiver.recv().await;
            }
        }));
        tokio::task::yield_now().await;
        restless.abort();
        assert!(restless.await.expect_err("it never ends by itself").is_cancelled());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_up_from_another_thread_is_lost() {
        const ROUNDS: usize = 20_000;
        let (there, mut back) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let (to_echo, mut echo) = there;
        let answers = back.0.clone();
        tokio::spawn(async move {
            while let Some(number) = echo.recv().await {
                if answers.send(number).is_err() {
                    return;
                }
            }
        });
        let asking = tokio::spawn(Steady::new(async move {
            for number in 0..ROUNDS {
                to_echo.send(number).expect("the echo lives");
                assert_eq!(back.1.recv().await, Some(number));
            }
        }));
        asking.await.expect("every answer came");
    }
}
