//! A backend whose boxes are entries of a map: keeps the contract, isolates nothing.

mod guest;
mod lease;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use devbox_guest::Guest;
use devbox_types::BoxId;
use devbox_types::devbox::{BoxSpec, BoxState, BoxStatus, Template};

pub use self::guest::MemoryGuest;
use self::lease::Lease;
use crate::contract::{Backend, Capabilities, Reach};
use crate::error::BackendError;

/// Makes the inside of a box.
type Factory = Box<dyn Fn(&BoxId) -> Arc<dyn Guest> + Send + Sync>;

/// Boxes in memory: for tests of whoever uses a backend, and the reference that the conformance suite is tried on.
///
/// The guest of a box is made once and kept while the box is stopped, as its files would be. Guests that were reached
/// before a stop or kill answer `agent_unreachable` from then on, as a dead agent's client would.
pub struct MemoryBackend {
    templates: Vec<Template>,
    make: Factory,
    boxes: Mutex<HashMap<BoxId, MemoryBox>>,
    is_full: AtomicBool,
}

struct MemoryBox {
    guest: Arc<dyn Guest>,
    status: BoxStatus,
    /// Whether the agent of the present run lives; each start has its own.
    alive: Arc<AtomicBool>,
}

impl MemoryBackend {
    /// A backend with these templates, whose boxes `make` makes.
    pub fn new(
        templates: Vec<Template>,
        make: impl Fn(&BoxId) -> Arc<dyn Guest> + Send + Sync + 'static,
    ) -> Self {
        Self { templates, make: Box::new(make), boxes: Mutex::default(), is_full: AtomicBool::new(false) }
    }

    /// Ends the agent of a box behind everybody's back, as a kill from outside would.
    pub fn kill_agent(&self, id: &BoxId) {
        if let Some(found) = self.boxes().get_mut(id) {
            found.end(BoxState::Failed, Some("agent_killed"));
        }
    }

    /// Lets the agent of a box die without the backend having seen it yet: [`Self::kill_agent`] is when it does.
    pub fn lose_agent(&self, id: &BoxId) {
        if let Some(found) = self.boxes().get(id) {
            found.alive.store(false, Ordering::Relaxed);
        }
    }

    /// From now on, or no longer, there is no room for another box.
    pub fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    fn boxes(&self) -> MutexGuard<'_, HashMap<BoxId, MemoryBox>> {
        self.boxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryBox {
    fn begin(&mut self) {
        self.alive = Arc::new(AtomicBool::new(true));
        self.status = BoxStatus { state: BoxState::Running, reason: None };
    }

    fn end(&mut self, state: BoxState, reason: Option<&str>) {
        self.alive.store(false, Ordering::Relaxed);
        self.status = BoxStatus { state, reason: reason.map(str::to_owned) };
    }
}

fn no_such(id: &BoxId) -> BackendError {
    BackendError::NoSuchBox { id: id.clone() }
}

#[async_trait]
impl Backend for MemoryBackend {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn templates(&self) -> Vec<Template> {
        self.templates.clone()
    }

    async fn create(&self, id: &BoxId, spec: &BoxSpec) -> Result<(), BackendError> {
        if !self.templates.iter().any(|template| template.name == spec.template) {
            return Err(BackendError::NoSuchTemplate { name: spec.template.clone() });
        }
        if self.is_full.load(Ordering::Relaxed) {
            return Err(BackendError::NoSpace { step: "make a box" });
        }
        let mut boxes = self.boxes();
        if boxes.contains_key(id) {
            return Err(BackendError::Exists { id: id.clone() });
        }
        let mut made = MemoryBox {
            guest: (self.make)(id),
            status: BoxStatus { state: BoxState::Starting, reason: None },
            alive: Arc::default(),
        };
        made.begin();
        boxes.insert(id.clone(), made);
        Ok(())
    }

    async fn start(&self, id: &BoxId) -> Result<(), BackendError> {
        let mut boxes = self.boxes();
        let found = boxes.get_mut(id).ok_or_else(|| no_such(id))?;
        if found.status.state != BoxState::Running {
            found.begin();
        }
        Ok(())
    }

    async fn stop(&self, id: &BoxId) -> Result<(), BackendError> {
        let mut boxes = self.boxes();
        let found = boxes.get_mut(id).ok_or_else(|| no_such(id))?;
        found.end(BoxState::Stopped, None);
        Ok(())
    }

    async fn delete(&self, id: &BoxId) -> Result<(), BackendError> {
        if let Some(mut gone) = self.boxes().remove(id) {
            gone.end(BoxState::Stopped, None);
        }
        Ok(())
    }

    async fn status(&self, id: &BoxId) -> Result<BoxStatus, BackendError> {
        self.boxes().get(id).map(|found| found.status.clone()).ok_or_else(|| no_such(id))
    }

    async fn ids(&self) -> Result<Vec<BoxId>, BackendError> {
        Ok(self.boxes().keys().cloned().collect())
    }

    async fn reach(&self, id: &BoxId) -> Result<Reach, BackendError> {
        let boxes = self.boxes();
        let found = boxes.get(id).ok_or_else(|| no_such(id))?;
        let state = match found.status.state {
            BoxState::Running => {
                let lease = Lease::new(Arc::clone(&found.guest), Arc::clone(&found.alive));
                return Ok(Reach::Guest(Arc::new(lease)));
            }
            BoxState::Starting => "starting",
            BoxState::Stopped => "stopped",
            BoxState::Failed => "failed",
        };
        Err(BackendError::NotRunning { id: id.clone(), state })
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemoryBackend").field("boxes", &self.boxes().len()).finish_non_exhaustive()
    }
}
