//! Clients of the agents of running boxes.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use devbox_backend::{Backend, Reach};
use devbox_guest::{Guest, GuestClient};
use devbox_types::agent::{AgentGreeting, PROTOCOL, ProtocolRange};
use devbox_types::{BoxId, ErrorCode, Problem};
use tokio::time::timeout;

use crate::guard::Featured;
use crate::refusal::Refusal;

/// The protocol versions that this server speaks.
const SPOKEN: ProtocolRange = ProtocolRange { min: 1, max: PROTOCOL };

/// What to do about an agent that is too old.
pub(crate) const GET_A_NEW_AGENT: &str = "restart the box: it gets this server's agent";

/// One client for each running box that was asked for: a pool of connections to its agent. A client is dropped when
/// its box stops, or its agent does not answer.
#[derive(Default)]
pub(crate) struct Guests {
    open: RwLock<HashMap<BoxId, Arc<dyn Guest>>>,
}

impl Guests {
    /// The guest of a running box; greeted, when it is the first call, to learn that both sides understand each other.
    ///
    /// # Errors
    /// `not_running`, `agent_unreachable`, `unsupported` if there is no common protocol version.
    pub(crate) async fn reach(
        &self,
        backend: &dyn Backend,
        id: &BoxId,
        patience: Duration,
    ) -> Result<Arc<dyn Guest>, Refusal> {
        if let Some(guest) = self.open.read().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(Arc::clone(guest));
        }
        let guest: Arc<dyn Guest> = match backend.reach(id).await? {
            Reach::Guest(guest) => guest,
            Reach::Transport(transport) => Arc::new(GuestClient::to_agent(transport)),
        };
        let greeting = agree(&*guest, patience).await?;
        let guest: Arc<dyn Guest> = Arc::new(Featured::new(guest, &greeting));
        // Two first calls at once make two clients; either is good, and the last one stays.
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), Arc::clone(&guest));
        Ok(guest)
    }

    /// Drops the client of a box; calls that use it go on.
    pub(crate) fn forget(&self, id: &BoxId) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

async fn agree(guest: &dyn Guest, patience: Duration) -> Result<AgentGreeting, Refusal> {
    let silent = |_| Problem::new(ErrorCode::AgentUnreachable, "the agent of the box does not answer");
    let greeting = timeout(patience, guest.greet()).await.map_err(silent).and_then(|greeting| greeting);
    let greeting = greeting.map_err(Refusal::passing)?;
    match greeting.protocol.agree(SPOKEN) {
        Some(_) => Ok(greeting),
        None => Err(Refusal::new(
            ErrorCode::Unsupported,
            format!(
                "the agent of the box speaks protocol versions {} to {}, this server {} to {}",
                greeting.protocol.min, greeting.protocol.max, SPOKEN.min, SPOKEN.max
            ),
        )
        .with_hint(GET_A_NEW_AGENT)),
    }
}
