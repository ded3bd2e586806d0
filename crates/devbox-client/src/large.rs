//! Large files, both ways: in pieces, repeated when the line drops, gone on with by a later run.
//!
//! | module | subject |
//! |---|---|
//! | [`upload`] | from here into a box |
//! | [`download`] | from a box to here |
//! | `state` | what is remembered for a later run, and where |
//!
//! An upload is remembered below `$XDG_STATE_HOME/devbox` (`~/.local/state/devbox`), for its source may be read-only; a
//! download beside its target, as `.NAME.devbox-part` and `.NAME.devbox-part.json`.

mod download;
mod state;
mod upload;

use std::ops::ControlFlow;
use std::time::Duration;

use devbox_types::{ErrorCode, Problem};

use crate::call::random;
use crate::error::ClientError;
use crate::retry::RetryPolicy;

/// How a large file is transferred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargeOptions {
    /// How many bytes go in one request; at most two pieces are in memory.
    pub piece_bytes: u64,
    /// How often, and how patiently, a piece is repeated. Counted anew whenever bytes got through.
    pub retry: RetryPolicy,
    /// Whether a later run may go on: without it nothing is remembered.
    pub resumable: bool,
}

impl LargeOptions {
    /// From this size on, files are transferred in pieces by the command line.
    pub const FROM_BYTES: u64 = 100 << 20;
    /// Ten MiB: a dropped line costs little, and the cost of a request does not show.
    pub const PIECE_BYTES: u64 = 10 << 20;
}

impl Default for LargeOptions {
    /// Eight attempts in half a minute: a server that restarts is back by then.
    fn default() -> Self {
        let retry = RetryPolicy { attempts: 8, ..RetryPolicy::default() };
        Self { piece_bytes: Self::PIECE_BYTES, retry, resumable: true }
    }
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferProgress {
    /// How many bytes are stored at the far end, or here.
    pub done_bytes: u64,
    /// How many there are.
    pub total_bytes: u64,
    /// How often a request had to be repeated so far.
    pub retries: u32,
}

impl TransferProgress {
    /// The same in percent; of nothing, all is done.
    #[must_use]
    pub fn percent(&self) -> f64 {
        if self.total_bytes == 0 {
            return 100.0;
        }
        // A percentage needs no 53 bits.
        #[expect(clippy::cast_precision_loss, reason = "shown to people")]
        let (done, total) = (self.done_bytes as f64, self.total_bytes as f64);
        100.0 * done / total
    }
}

/// Hears how far a transfer is. With [`ControlFlow::Break`] it is cancelled: nothing of it is left.
pub type OnProgress<'c> = &'c mut (dyn FnMut(TransferProgress) -> ControlFlow<()> + Send);

/// Counts attempts, and waits between them.
struct Patience {
    policy: RetryPolicy,
    attempt: u32,
    retries: u32,
}

impl Patience {
    fn new(policy: RetryPolicy) -> Self {
        Self { policy, attempt: 0, retries: 0 }
    }

    /// Bytes got through.
    fn renew(&mut self) {
        self.attempt = 0;
    }

    /// Waits before the next attempt, or gives up with the problem.
    async fn after(&mut self, problem: Problem) -> Result<(), ClientError> {
        self.attempt += 1;
        let pause = match is_passing(&problem) {
            true => self.policy.pause_after(self.attempt, None, random::<1>()[0]),
            false => None,
        };
        let Some(pause) = pause else { return Err(problem.into()) };
        self.retries += 1;
        wait(pause).await;
        Ok(())
    }
}

async fn wait(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// Whether the same piece, sent again from where the far side is, may get through. A wrong digest of the whole would be
/// as wrong again.
fn is_passing(problem: &Problem) -> bool {
    problem.code != ErrorCode::DigestMismatch && (problem.retryable || problem.code == ErrorCode::Conflict)
}
