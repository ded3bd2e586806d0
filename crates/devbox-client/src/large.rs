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
use std::time::{Duration, Instant};

use devbox_types::{ErrorCode, Grant, Problem};

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
    /// How many bytes are stored at the far end, or here: they need not come again, whatever happens.
    pub done_bytes: u64,
    /// The same with what of the piece under way has gone out to the network. It goes back to `done_bytes` where a line broke,
    /// and is the same in a download.
    pub sent_bytes: u64,
    /// How many there are.
    pub total_bytes: u64,
    /// How often a request had to be repeated so far.
    pub retries: u32,
}

impl TransferProgress {
    /// How much has gone out, in percent. It is 100 only when all is stored.
    #[must_use]
    pub fn percent(&self) -> f64 {
        if self.done_bytes >= self.total_bytes {
            return 100.0;
        }
        // A percentage needs no 53 bits.
        #[expect(clippy::cast_precision_loss, reason = "shown to people")]
        let (sent, total) = (self.sent_bytes as f64, self.total_bytes as f64);
        (100.0 * sent / total).min(99.9)
    }
}

/// Hears how far a transfer is: when it begins, a few times a second, and when all is stored. With [`ControlFlow::Break`] it is
/// cancelled: nothing of it is left, on either side, nor of the directories that it made on the way.
pub type OnProgress<'c> = &'c mut (dyn FnMut(TransferProgress) -> ControlFlow<()> + Send);

/// How often somebody is told how far a transfer is: smooth for the eye, and nothing for the transfer.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Whether it is time to tell again how far a transfer is.
struct Pace {
    step_bytes: u64,
    told: Option<(Instant, u64)>,
}

impl Pace {
    fn new(step_bytes: u64) -> Self {
        Self { step_bytes, told: None }
    }

    /// At the beginning, after a while or a piece, and at the end.
    fn is_due(&mut self, done_bytes: u64, total_bytes: u64) -> bool {
        let now = Instant::now();
        let is_due = self.told.is_none_or(|(at, bytes)| {
            done_bytes == total_bytes
                || now.duration_since(at) >= TELL_EVERY
                || done_bytes - bytes.min(done_bytes) >= self.step_bytes
        });
        if is_due {
            self.told = Some((now, done_bytes));
        }
        is_due
    }
}

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

    /// The same grant, which says how often what is to be sent now was sent before.
    fn grant(&self, grant: &Grant) -> Grant {
        Grant { attempt: self.attempt.saturating_add(1), ..grant.clone() }
    }

    /// Bytes got through.
    fn renew(&mut self) {
        self.attempt = 0;
    }

    /// Waits before the next attempt, or gives up with the problem.
    async fn after(&mut self, problem: Problem) -> Result<(), ClientError> {
        self.attempt += 1;
        let pause = match is_passing(&problem) {
            true => self.policy.pause_after(self.attempt, problem.retry_after, random::<1>()[0]),
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
