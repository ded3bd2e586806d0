//! Large files: how Python hears how far a transfer is.

use std::ops::ControlFlow;
use std::sync::Arc;

use devbox_client::{ClientError, LargeOptions, TransferProgress};
use devbox_types::Entry;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use tokio::sync::Notify;

use crate::failure::Failure;

/// How a transfer goes that Python asked for.
pub(crate) fn large_options(piece_bytes: u64, resumable: bool) -> LargeOptions {
    LargeOptions { piece_bytes, resumable, ..LargeOptions::default() }
}

/// Calls the function that wants to know, and keeps what it raises.
pub(crate) struct Listener {
    told: Option<Py<PyAny>>,
    raised: Option<PyErr>,
    interrupted: Arc<Notify>,
}

impl Listener {
    pub(crate) fn new(told: Option<Py<PyAny>>) -> Self {
        Self { told, raised: None, interrupted: Arc::default() }
    }

    /// Waits for the transfer, or until what was told of it raised what is no `Exception`: Ctrl-C ends the program there, as it
    /// would elsewhere, and what came is kept for the next run.
    #[expect(
        clippy::needless_lifetimes,
        reason = "elided, it would be any lifetime, which the transfer cannot outlive"
    )]
    pub(crate) async fn follow<'c, F>(
        &'c mut self,
        transfer: impl FnOnce(Box<dyn FnMut(TransferProgress) -> ControlFlow<()> + Send + 'c>) -> F,
    ) -> Option<Result<Entry, ClientError>>
    where
        F: Future<Output = Result<Entry, ClientError>>,
    {
        let interrupted = Arc::clone(&self.interrupted);
        let transfer = transfer(Box::new(|progress| self.tell(progress)));
        tokio::select! {
            biased;
            () = interrupted.notified() => None,
            outcome = transfer => Some(outcome),
        }
    }

    /// Tells it; an exception, or a return value of `False`, cancels the transfer.
    fn tell(&mut self, progress: TransferProgress) -> ControlFlow<()> {
        let Some(told) = &self.told else { return ControlFlow::Continue(()) };
        let TransferProgress { done_bytes, sent_bytes, total_bytes, retries } = progress;
        let arguments = (progress.percent(), done_bytes, sent_bytes, total_bytes, retries);
        let said = Python::attach(|py| {
            let said = told.call1(py, arguments)?;
            Ok::<_, PyErr>(said.bind(py).is_truthy()? || said.is_none(py))
        });
        match said {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => ControlFlow::Break(()),
            Err(error) => {
                let is_exception = Python::attach(|py| error.is_instance_of::<PyException>(py));
                self.raised = Some(error);
                if is_exception {
                    return ControlFlow::Break(());
                }
                self.interrupted.notify_one();
                ControlFlow::Continue(())
            }
        }
    }

    /// What became of a transfer, or of the wait for it.
    pub(crate) fn conclude(&mut self, outcome: Option<Result<Entry, ClientError>>) -> Result<Entry, Failure> {
        match (outcome, self.raised.take()) {
            (Some(Ok(entry)), None) => Ok(entry),
            (Some(Err(ClientError::Cancelled)) | None | Some(Ok(_)), Some(raised)) => Err(raised.into()),
            (Some(Err(ClientError::Local { path, source, .. })), _) => Err(Failure::local(&path)(source)),
            (Some(Err(error)), _) => Err(error.into()),
            // Only what was raised ends the wait.
            (None, None) => Err(ClientError::Cancelled.into()),
        }
    }
}
