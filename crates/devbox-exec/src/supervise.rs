//! The task beside each process: it enforces the timeout, and sees the process end.

use std::sync::Arc;
use std::time::Duration;

use devbox_types::process::ExitStatus;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::engine::Process;
use crate::error::ExecError;
use crate::reaper::{Child, Ending};

/// Waits for the process to end, whoever else has lost interest in it: an unreaped child would stay a zombie.
///
/// When its time is up the whole tree is killed, and its end reported only when the tree is gone.
pub(crate) async fn supervise(
    process: Arc<Process>,
    mut child: Child,
    timeout: Option<Duration>,
    input: AbortHandle,
    exited: oneshot::Sender<Result<ExitStatus, ExecError>>,
) {
    // A timeout beyond what the clock can hold is no timeout.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let (ending, timed_out) = match deadline {
        None => (child.wait().await, false),
        Some(deadline) => match tokio::time::timeout_at(deadline, child.wait()).await {
            Ok(ending) => (ending, false),
            Err(_) => {
                process.kill_tree().await;
                (child.wait().await, true)
            }
        },
    };
    input.abort();
    process.forget();
    let duration_ms = u64::try_from(process.started_at().elapsed().as_millis()).unwrap_or(u64::MAX);
    let status = |code, signal| Ok(ExitStatus { code, signal, timed_out, duration_ms });
    let outcome = match ending {
        Ending::Exited(code) => status(Some(code), None),
        Ending::Killed(signal) => status(None, Some(signal)),
        Ending::Lost => Err(ExecError::StatusLost),
    };
    // Nobody waits for it any more if the run was dropped.
    let _: Result<(), _> = exited.send(outcome);
}
