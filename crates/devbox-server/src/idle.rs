//! Whether a connection has anything to do.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// Knows how many requests of one connection are open, and since when there is none.
#[derive(Debug, Clone)]
pub(crate) struct Idle(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    open: usize,
    since: Instant,
}

impl Idle {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { open: 0, since: Instant::now() })))
    }

    /// A request begins; it is open until the answer is dropped.
    pub(crate) fn begin(&self) -> Busy {
        self.with(|state| state.open += 1);
        Busy(self.clone())
    }

    /// Since when no request is open.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.with(|state| (state.open == 0).then_some(state.since))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One open request.
#[derive(Debug)]
pub(crate) struct Busy(Idle);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.with(|state| {
            state.open -= 1;
            state.since = Instant::now();
        });
    }
}
