//! Large files: how Python hears how far a transfer is.

use std::ops::ControlFlow;

use devbox_client::{ClientError, LargeOptions, TransferProgress};
use pyo3::prelude::*;

use crate::failure::Failure;

/// How a transfer goes that Python asked for.
pub(crate) fn large_options(piece_bytes: u64, resumable: bool) -> LargeOptions {
    LargeOptions { piece_bytes, resumable, ..LargeOptions::default() }
}

/// Calls the function that wants to know, and keeps what it raises.
pub(crate) struct Listener {
    told: Option<Py<PyAny>>,
    raised: Option<PyErr>,
}

impl Listener {
    pub(crate) fn new(told: Option<Py<PyAny>>) -> Self {
        Self { told, raised: None }
    }

    /// Tells it; an exception, or a return value of `False`, cancels the transfer.
    pub(crate) fn tell(&mut self, progress: TransferProgress) -> ControlFlow<()> {
        let Some(told) = &self.told else { return ControlFlow::Continue(()) };
        let TransferProgress { done_bytes, total_bytes, retries } = progress;
        let said = Python::attach(|py| {
            let said = told.call1(py, (done_bytes, total_bytes, retries))?;
            Ok(said.bind(py).is_truthy()? || said.is_none(py))
        });
        match said {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => ControlFlow::Break(()),
            Err(error) => {
                self.raised = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Why a transfer failed: what was raised here, if something was.
    pub(crate) fn explain(&mut self, error: ClientError) -> Failure {
        match (self.raised.take(), error) {
            (Some(raised), ClientError::Cancelled) => raised.into(),
            (_, ClientError::Local { path, source, .. }) => Failure::local(&path)(source),
            (_, error) => error.into(),
        }
    }
}
