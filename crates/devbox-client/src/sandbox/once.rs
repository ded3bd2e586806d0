//! Calls that make many changes: sent again when the line breaks, and done once.

use devbox_types::{ErrorCode, Grant, IdempotencyKey, Problem};
use futures_util::future::BoxFuture;

use super::Sandbox;
use crate::call::random;
use crate::error::ClientError;

impl Sandbox {
    /// Sends a call until it is answered, as patiently as the client's retry policy: each time under the same key, so that
    /// one whose answer was lost is answered again and not done again.
    pub(super) async fn once<'c, T>(
        &self,
        call: impl Fn(Grant) -> BoxFuture<'c, Result<T, Problem>> + Send + Sync,
    ) -> Result<T, ClientError> {
        let grant = self.grant.clone().with_key(IdempotencyKey::from_random(random()));
        let mut attempt = 1;
        loop {
            let problem = match call(Grant { attempt, ..grant.clone() }).await {
                Ok(answer) => return Ok(answer),
                Err(problem) => problem,
            };
            let pause = self.client.retry().pause_after(attempt, problem.retry_after, random::<1>()[0]);
            match pause.filter(|_| is_passing(&problem, attempt)) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(problem.into()),
            }
            attempt += 1;
        }
    }
}

/// Whether the same call, sent again, may be answered: its answer was lost, or never begun; or the first attempt, whose answer
/// was lost, is still at work.
fn is_passing(problem: &Problem, attempt: u32) -> bool {
    match problem.code {
        ErrorCode::AgentUnreachable | ErrorCode::Unavailable | ErrorCode::RateLimited => true,
        ErrorCode::Busy => attempt > 1,
        _ => false,
    }
}
