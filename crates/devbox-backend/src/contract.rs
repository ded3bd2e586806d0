//! The trait, and what it promises.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use devbox_guest::{Guest, Transport};
use devbox_types::BoxId;
use devbox_types::devbox::{BoxSpec, BoxStatus, Template};
use serde::{Deserialize, Serialize};

use crate::error::BackendError;

/// What a backend can do beyond making and deleting boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capabilities {
    /// Boxes have their own kernel namespaces: code in one cannot see another.
    pub isolates: bool,
    /// Limits of cpu, memory and processes hold.
    pub limits: bool,
}

/// How the inside of a running box is reached.
#[derive(Clone)]
pub enum Reach {
    /// An agent serves the guest contract over HTTP at the other end of byte streams like this.
    Transport(Arc<dyn Transport>),
    /// The backend brings the guest itself.
    Guest(Arc<dyn Guest>),
}

impl fmt::Debug for Reach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(_) => formatter.write_str("Transport"),
            Self::Guest(_) => formatter.write_str("Guest"),
        }
    }
}

/// A place where boxes live.
///
/// # Contract
/// A box is whole or it is not there: a call that fails, is dropped, or is cut off by a kill leaves the box as it was
/// before, or (for `create`) nothing at all, at the latest when the backend next starts. Calls on different boxes do not
/// wait for each other; calls on the same box are put in order by the backend. `stop` and `delete` of what is stopped or
/// gone succeed, so every call may be retried.
#[async_trait]
pub trait Backend: Send + Sync {
    /// What this backend can do, on this machine.
    fn capabilities(&self) -> Capabilities;

    /// What boxes can be made from, in the order of preference.
    fn templates(&self) -> Vec<Template>;

    /// Makes a box and starts it. When it answers, the box runs and its agent answers.
    async fn create(&self, id: &BoxId, spec: &BoxSpec) -> Result<(), BackendError>;

    /// Starts a stopped or failed box on the files it has.
    async fn start(&self, id: &BoxId) -> Result<(), BackendError>;

    /// Ends every process of a box; files are kept.
    async fn stop(&self, id: &BoxId) -> Result<(), BackendError>;

    /// Removes a box and all it holds.
    async fn delete(&self, id: &BoxId) -> Result<(), BackendError>;

    /// Looks at the box itself, not at a record of it: a killed agent shows here.
    async fn status(&self, id: &BoxId) -> Result<BoxStatus, BackendError>;

    /// The ids of all boxes that are there, in any state, in no particular order.
    async fn ids(&self) -> Result<Vec<BoxId>, BackendError>;

    /// Says how to reach the inside of a running box.
    ///
    /// # Errors
    /// `NotRunning` if it does not run. A box may die right after; then the transport fails to connect.
    async fn reach(&self, id: &BoxId) -> Result<Reach, BackendError>;
}
