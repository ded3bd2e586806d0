//! The `Backend` contract, in the unprivileged server: it knows which boxes there are and asks the spawner to change that.

mod link;
mod ready;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use devbox_backend::{Backend, BackendError, Capabilities, Reach};
use devbox_types::BoxId;
use devbox_types::devbox::{BoxSpec, BoxState, BoxStatus, Template};
use tokio::sync::oneshot;

use crate::spawner::Spawner;
use crate::spawner::protocol::{Answer, Call, Failure, Ready, Room};
use crate::transport::BoxTransport;
use link::Link;

/// Boxes on this machine, made by a [`Spawner`].
#[derive(Clone)]
pub struct LocalBackend {
    shared: Arc<Shared>,
}

struct Shared {
    link: Link,
    ready: Ready,
    sockets: Arc<OwnedFd>,
    boxes: Mutex<HashMap<BoxId, Arc<Entry>>>,
}

/// One box, as the server knows it.
struct Entry {
    /// Puts the calls on this box in order.
    order: tokio::sync::Mutex<()>,
    life: Mutex<Life>,
}

/// What became of a box.
enum Life {
    /// Being made: not there yet for anybody else.
    Making,
    /// Runs until its first process, of which this is the pidfd, ends.
    Running(OwnedFd),
    /// Does not run.
    Down(BoxStatus),
    /// Deleted, or never made: whoever waited for its turn finds no box.
    Gone,
}

/// The reason of a box whose first process ended unasked.
pub(crate) const AGENT_KILLED: &str = "agent_killed";

impl LocalBackend {
    /// Takes a spawner over into the running tokio runtime.
    ///
    /// # Errors
    /// `Step` if the spawner is gone.
    pub async fn connect(spawner: Spawner) -> Result<Self, BackendError> {
        let Spawner { socket, child, ready, sockets } = spawner;
        let link = Link::new(socket, child).map_err(|source| broken("use the spawner's socket", source))?;
        let backend = Self {
            shared: Arc::new(Shared {
                link,
                ready,
                sockets: Arc::new(sockets),
                boxes: Mutex::new(HashMap::new()),
            }),
        };
        backend.load().await?;
        Ok(backend)
    }

    /// Stops every box and ends the spawner; files are kept.
    ///
    /// # Errors
    /// `Step` if the spawner is gone already: its boxes are then gone too.
    pub async fn shutdown(&self) -> Result<(), BackendError> {
        self.ask(&Call::Shutdown).await.map_err(|failure| explain(None, failure))?;
        self.shared.link.ended().await.map_err(|source| broken("wait for the spawner", source))
    }

    /// Waits until the spawner has ended, or cannot be understood any more: the boxes are gone with it, and none can be made.
    pub async fn spawner_lost(&self) {
        self.shared.link.lost().await;
    }

    async fn load(&self) -> Result<(), BackendError> {
        let mut after = None;
        loop {
            let (answer, _) =
                self.ask(&Call::List { after }).await.map_err(|failure| explain(None, failure))?;
            let Answer::Boxes { boxes, more } = answer else { return Err(nonsense()) };
            after = boxes.last().map(|(id, _)| id.clone());
            self.boxes(|map| {
                map.extend(boxes.into_iter().map(|(id, status)| (id, Entry::new(Life::Down(status)))));
            });
            if !more {
                return Ok(());
            }
        }
    }

    async fn ask(&self, call: &Call) -> Result<(Answer, Vec<OwnedFd>), Failure> {
        self.shared.link.call(call).await
    }

    fn boxes<T>(&self, act: impl FnOnce(&mut HashMap<BoxId, Arc<Entry>>) -> T) -> T {
        act(&mut self.shared.boxes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn find(&self, id: &BoxId) -> Result<Arc<Entry>, BackendError> {
        let entry = self.boxes(|map| map.get(id).cloned());
        entry.filter(|entry| !entry.is_gone()).ok_or_else(|| BackendError::NoSuchBox { id: id.clone() })
    }

    fn transport(&self, id: &BoxId) -> BoxTransport {
        BoxTransport::new(Arc::clone(&self.shared.sockets), id)
    }

    /// Runs `work` to its end even if the caller goes away, so that no box is left half changed.
    async fn to_the_end<F>(&self, work: F) -> Result<(), BackendError>
    where
        F: Future<Output = Result<(), BackendError>> + Send + 'static,
    {
        tokio::spawn(work)
            .await
            .unwrap_or_else(|error| Err(broken("finish a change to a box", io::Error::other(error))))
    }

    /// Makes and starts a box, and waits for its agent. The entry is claimed already.
    async fn make(&self, id: &BoxId, spec: BoxSpec) -> Result<OwnedFd, BackendError> {
        let started = self.ask(&Call::Create { id: id.clone(), spec }).await;
        let first = self.handle(id, started, &Call::Delete { id: id.clone() }).await?;
        let answered = async {
            ready::wait(&self.transport(id), &first).await?;
            self.ask(&Call::Confirm { id: id.clone() }).await.map_err(|failure| explain(Some(id), failure))
        };
        if let Err(error) = answered.await {
            self.discard(id).await;
            return Err(error);
        }
        Ok(first)
    }

    /// The handle of a box that was started. Without one, for want of descriptors, the box is of no use and is undone.
    async fn handle(
        &self,
        id: &BoxId,
        started: Result<(Answer, Vec<OwnedFd>), Failure>,
        undo: &Call,
    ) -> Result<OwnedFd, BackendError> {
        let (_, mut descriptors) = started.map_err(|failure| explain(Some(id), failure))?;
        if let Some(first) = descriptors.pop() {
            return Ok(first);
        }
        if let Err(failure) = self.ask(undo).await {
            tracing::warn!(box_id = %id, ?failure, "cannot undo the start of a box");
        }
        Err(broken("get the handle of a box", io::Error::from_raw_os_error(libc::EMFILE)))
    }

    /// Removes what a failed or abandoned create made. What this cannot remove, the next spawner does.
    async fn discard(&self, id: &BoxId) {
        if let Err(failure) = self.ask(&Call::Delete { id: id.clone() }).await {
            tracing::warn!(box_id = %id, ?failure, "cannot remove a box that was not finished");
        }
    }

    async fn start_now(&self, id: &BoxId) -> Result<(), BackendError> {
        let entry = self.find(id)?;
        let _turn = entry.order.lock().await;
        if entry.is_gone() {
            return Err(BackendError::NoSuchBox { id: id.clone() });
        }
        if entry.status().state == BoxState::Running {
            return Ok(());
        }
        let started = self.ask(&Call::Start { id: id.clone() }).await;
        let first = self.handle(id, started, &Call::Stop { id: id.clone() }).await?;
        let answered = ready::wait(&self.transport(id), &first).await;
        if answered.is_err()
            && let Err(failure) = self.ask(&Call::Stop { id: id.clone() }).await
        {
            tracing::warn!(box_id = %id, ?failure, "cannot stop a box whose agent does not answer");
        }
        entry.become_(match &answered {
            Ok(()) => Life::Running(first),
            Err(_) => Life::Down(down(BoxState::Failed, "start_failed")),
        });
        answered
    }

    async fn stop_now(&self, id: &BoxId) -> Result<(), BackendError> {
        let entry = self.find(id)?;
        let _turn = entry.order.lock().await;
        if entry.is_gone() {
            return Err(BackendError::NoSuchBox { id: id.clone() });
        }
        self.ask(&Call::Stop { id: id.clone() }).await.map_err(|failure| explain(Some(id), failure))?;
        entry.become_(Life::Down(BoxStatus { state: BoxState::Stopped, reason: None }));
        Ok(())
    }

    async fn delete_now(&self, id: &BoxId) -> Result<(), BackendError> {
        let Ok(entry) = self.find(id) else { return Ok(()) };
        let _turn = entry.order.lock().await;
        if entry.is_gone() {
            return Ok(());
        }
        match self.ask(&Call::Delete { id: id.clone() }).await {
            Ok(_) | Err(Failure::NoSuchBox) => {}
            Err(failure) => return Err(explain(Some(id), failure)),
        }
        self.forget(id, &entry);
        Ok(())
    }

    /// Takes an id for a box that is to be made, after whatever still happens to an earlier one of that id.
    async fn claim(&self, id: &BoxId) -> Result<Arc<Entry>, BackendError> {
        loop {
            let entry = Entry::new(Life::Making);
            let earlier = self.boxes(|map| match map.get(id) {
                Some(earlier) => Some(Arc::clone(earlier)),
                None => {
                    map.insert(id.clone(), Arc::clone(&entry));
                    None
                }
            });
            let Some(earlier) = earlier else { return Ok(entry) };
            let _turn = earlier.order.lock().await;
            if !matches!(*earlier.lock(), Life::Gone | Life::Making) {
                return Err(BackendError::Exists { id: id.clone() });
            }
            // Gone; or claimed a moment ago by somebody whose work has not begun.
            tokio::task::yield_now().await;
        }
    }

    fn forget(&self, id: &BoxId, entry: &Entry) {
        entry.become_(Life::Gone);
        self.boxes(|map| map.remove(id));
    }
}

#[async_trait]
impl Backend for LocalBackend {
    fn capabilities(&self) -> Capabilities {
        Capabilities { isolates: true, limits: self.shared.ready.limits }
    }

    fn templates(&self) -> Vec<Template> {
        self.shared.ready.templates.clone()
    }

    /// # Cancel safety
    /// The work goes on after the future is dropped, and the box is then deleted.
    async fn create(&self, id: &BoxId, spec: &BoxSpec) -> Result<(), BackendError> {
        let entry = self.claim(id).await?;
        let (answer, answered) = oneshot::channel();
        let (backend, id, spec) = (self.clone(), id.clone(), spec.clone());
        tokio::spawn(async move {
            let _turn = entry.order.lock().await;
            let made = backend.make(&id, spec).await;
            let outcome = match made {
                Ok(first) if !answer.is_closed() => {
                    entry.become_(Life::Running(first));
                    Ok(())
                }
                Ok(_) => {
                    backend.discard(&id).await;
                    backend.forget(&id, &entry);
                    return;
                }
                Err(error) => {
                    backend.forget(&id, &entry);
                    Err(error)
                }
            };
            if answer.send(outcome).is_err() && !entry.is_gone() {
                backend.discard(&id).await;
                backend.forget(&id, &entry);
            }
        });
        answered
            .await
            .unwrap_or_else(|error| Err(broken("finish the making of a box", io::Error::other(error))))
    }

    async fn start(&self, id: &BoxId) -> Result<(), BackendError> {
        let (backend, id) = (self.clone(), id.clone());
        self.to_the_end(async move { backend.start_now(&id).await }).await
    }

    async fn stop(&self, id: &BoxId) -> Result<(), BackendError> {
        let (backend, id) = (self.clone(), id.clone());
        self.to_the_end(async move { backend.stop_now(&id).await }).await
    }

    async fn delete(&self, id: &BoxId) -> Result<(), BackendError> {
        let (backend, id) = (self.clone(), id.clone());
        self.to_the_end(async move { backend.delete_now(&id).await }).await
    }

    async fn status(&self, id: &BoxId) -> Result<BoxStatus, BackendError> {
        Ok(self.find(id)?.status())
    }

    async fn ids(&self) -> Result<Vec<BoxId>, BackendError> {
        Ok(self.boxes(|map| map.keys().cloned().collect()))
    }

    async fn reach(&self, id: &BoxId) -> Result<Reach, BackendError> {
        let state = match self.find(id)?.status().state {
            BoxState::Running => return Ok(Reach::Transport(Arc::new(self.transport(id)))),
            BoxState::Starting => "starting",
            BoxState::Stopped => "stopped",
            BoxState::Failed => "failed",
        };
        Err(BackendError::NotRunning { id: id.clone(), state })
    }
}

impl std::fmt::Debug for LocalBackend {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LocalBackend").field("ready", &self.shared.ready).finish_non_exhaustive()
    }
}

impl Entry {
    fn new(life: Life) -> Arc<Self> {
        Arc::new(Self { order: tokio::sync::Mutex::new(()), life: Mutex::new(life) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn become_(&self, life: Life) {
        *self.lock() = life;
    }

    fn is_gone(&self) -> bool {
        matches!(*self.lock(), Life::Gone)
    }

    /// Looks at the first process itself, so that a death shows at once and needs no watcher.
    fn status(&self) -> BoxStatus {
        match &*self.lock() {
            Life::Making => BoxStatus { state: BoxState::Starting, reason: None },
            Life::Running(first) if ready::has_ended(first) => down(BoxState::Failed, AGENT_KILLED),
            Life::Running(_) => BoxStatus { state: BoxState::Running, reason: None },
            Life::Down(status) => status.clone(),
            Life::Gone => BoxStatus { state: BoxState::Stopped, reason: None },
        }
    }
}

fn down(state: BoxState, reason: &str) -> BoxStatus {
    BoxStatus { state, reason: Some(reason.to_owned()) }
}

fn nonsense() -> BackendError {
    broken("understand the spawner", io::Error::from_raw_os_error(libc::EPROTO))
}

fn broken(step: &str, source: io::Error) -> BackendError {
    BackendError::Step { step: step.to_owned(), source }
}

fn explain(id: Option<&BoxId>, failure: Failure) -> BackendError {
    match (failure, id) {
        (Failure::NoSuchBox, Some(id)) => BackendError::NoSuchBox { id: id.clone() },
        (Failure::Exists, Some(id)) => BackendError::Exists { id: id.clone() },
        (Failure::NotStopped, Some(id)) => BackendError::NotRunning { id: id.clone(), state: "stopping" },
        (Failure::NoSuchTemplate { name }, _) => BackendError::NoSuchTemplate { name },
        (Failure::Full(Room::HostDisk), _) => {
            BackendError::NoSpace { step: "make a box: the host's disk would fall under its reserve" }
        }
        (Failure::Full(Room::Pool), _) => BackendError::NoSpace { step: "make a box: the pool is full" },
        (Failure::Full(Room::UidRanges), _) => {
            BackendError::NoSpace { step: "start a box: every range of user ids is taken" }
        }
        (Failure::Step { step, errno }, _) => {
            BackendError::Step { step, source: io::Error::from_raw_os_error(errno) }
        }
        (Failure::NoSuchBox | Failure::Exists | Failure::NotStopped, None) => nonsense(),
    }
}
