//! One tokio runtime a process, made when it is first needed, and waiting for it.

use std::num::NonZero;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use crate::content::Feeder;
use crate::failure::Failure;

/// How long Ctrl-C may go unnoticed: a waiting call looks for signals this often.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// The most threads of the runtime: they only move bytes, and the machine is the caller's.
const MAX_WORKERS: usize = 4;

static RUNTIME: PerProcess<Arc<Runtime>> = PerProcess::new();

/// A value that belongs to the process that made it: a child made by fork() has none of its threads and must not
/// touch its sockets, so it makes its own.
pub(crate) struct PerProcess<T> {
    // Locked only by who holds the interpreter lock, and never across a release of it. As Python forks under that
    // lock too, a child never inherits this mutex locked.
    slot: Mutex<Option<(u32, T)>>,
}

impl<T: Clone> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self { slot: Mutex::new(None) }
    }

    /// The value of this process; `make` makes it.
    pub(crate) fn get<E>(&self, _lock: Python<'_>, make: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let process = std::process::id();
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((owner, value)) = slot.as_ref()
            && *owner == process
        {
            return Ok(value.clone());
        }
        let value = make()?;
        // What the parent made is left as it is: dropping it would wait for threads that are not here.
        std::mem::forget(slot.replace((process, value.clone())));
        Ok(value)
    }
}

/// Waits for `future` on the calling thread, without the interpreter lock.
///
/// Content that the future wants from a Python iterator is taken from `feeder` meanwhile, under the lock, on this
/// thread. A signal handler that raises (Ctrl-C) ends the wait: the future is dropped, which cancels what it does.
pub(crate) fn wait<T, F>(py: Python<'_>, future: F, mut feeder: Option<Feeder>) -> PyResult<T>
where
    T: Send,
    F: Future<Output = Result<T, Failure>> + Send,
{
    let runtime = runtime(py)?;
    let mut future = pin!(future);
    loop {
        let turn = py.detach(|| runtime.block_on(turn(future.as_mut(), feeder.as_ref())));
        match turn {
            Turn::Done(result) => return result.map_err(PyErr::from),
            Turn::Hungry => feeder = feeder.map(|feeder| feeder.feed(py)).transpose()?.flatten(),
            Turn::Tick => py.check_signals()?,
        }
    }
}

enum Turn<T> {
    /// The future is done.
    Done(Result<T, Failure>),
    /// There is room for another chunk.
    Hungry,
    /// It is time to look for signals.
    Tick,
}

async fn turn<T, F>(future: Pin<&mut F>, feeder: Option<&Feeder>) -> Turn<T>
where
    F: Future<Output = Result<T, Failure>>,
{
    let hungry = async {
        match feeder {
            Some(feeder) => feeder.hungry().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        result = future => Turn::Done(result),
        () = hungry => Turn::Hungry,
        () = sleep(SIGNAL_INTERVAL) => Turn::Tick,
    }
}

fn runtime(py: Python<'_>) -> PyResult<Arc<Runtime>> {
    let make = || {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(processors.clamp(1, MAX_WORKERS))
            .thread_name("sealos-devbox")
            .enable_all()
            .build()?;
        Ok::<_, std::io::Error>(Arc::new(runtime))
    };
    Ok(RUNTIME.get(py, make)?)
}
