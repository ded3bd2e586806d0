//! The time that a grant leaves for a call.

use std::future::Future;
use std::time::Duration;

use devbox_types::{ErrorCode, Grant, Problem};
use tokio::time::Instant;

/// When a call must have ended, counted from its arrival.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// The deadline of a call that arrives now. One that the clock cannot hold is none.
    pub(crate) fn of(grant: &Grant) -> Self {
        Self(grant.deadline_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms))))
    }

    /// Fails once it has passed.
    pub(crate) fn check(self) -> Result<(), Problem> {
        match self.0 {
            Some(deadline) if Instant::now() >= deadline => Err(passed()),
            _ => Ok(()),
        }
    }

    /// Waits for `future`, but not beyond it.
    pub(crate) async fn bound<T>(self, future: impl Future<Output = T>) -> Result<T, Problem> {
        match self.0 {
            None => Ok(future.await),
            Some(deadline) => tokio::time::timeout_at(deadline, future).await.map_err(|_| passed()),
        }
    }

    /// How long is left.
    pub(crate) fn left(self) -> Option<Duration> {
        self.0.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

fn passed() -> Problem {
    Problem::new(ErrorCode::Timeout, "the deadline of the call has passed")
}
