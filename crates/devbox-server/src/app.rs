//! What every request can reach.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use devbox_backend::Backend;
use devbox_store::{KeyRecord, Store};
use devbox_types::audit::{AuditRecord, AuditedOperation};
use devbox_types::{BoxId, RequestId, Timestamp};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::allotment::Allotments;
use crate::census::Census;
use crate::config::ServerConfig;
use crate::guests::Guests;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::request_id::RequestIds;

/// What every request can reach.
pub(crate) struct App {
    pub(crate) config: ServerConfig,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) store: Arc<Store>,
    pub(crate) guests: Guests,
    pub(crate) allotments: Allotments,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) census: Census,
    pub(crate) request_ids: RequestIds,
    /// Work that goes on when its client goes away.
    pub(crate) tasks: TaskTracker,
    /// Set when the server is told to stop: `/readyz` says so.
    pub(crate) stopping: AtomicBool,
}

impl App {
    /// Runs `work` to its end even if the caller goes away: what changes boxes and records is never half done.
    ///
    /// # Errors
    /// Those of `work`; `internal` if it panics.
    pub(crate) async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let task = self.tasks.spawn(work);
        task.await.unwrap_or_else(|error| Err(Refusal::internal(error.to_string())))
    }
}

/// Who asks, and under which id: what a record of the audit begins with.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    pub(crate) key: Arc<KeyRecord>,
    pub(crate) request_id: RequestId,
}

impl Actor {
    /// Does `work` on a box or key, and records how it ended; `subject` says what it was about, once that is known.
    ///
    /// # Errors
    /// Those of `work`, and `unavailable` if the audit has no room.
    pub(crate) async fn audited<T>(
        &self,
        store: &Store,
        operation: AuditedOperation,
        subject: impl FnOnce(Option<&T>) -> Subject,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let slot = store.audit().reserve().await?;
        let (time, began) = (Timestamp::from(std::time::SystemTime::now()), Instant::now());
        let result = work.await;
        let subject = subject(result.as_ref().ok());
        slot.record(AuditRecord {
            time,
            request_id: self.request_id.clone(),
            key_id: self.key.id.clone(),
            project: self.key.project.clone(),
            box_id: subject.box_id,
            operation,
            path: subject.name,
            bytes: 0,
            entries: 1,
            sha256: None,
            error: result.as_ref().err().map(Refusal::code),
            exit_code: None,
            duration_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        });
        result
    }
}

/// What a record of the audit is about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subject {
    pub(crate) box_id: Option<BoxId>,
    pub(crate) name: Option<String>,
}

impl Subject {
    pub(crate) fn of_box(id: &BoxId) -> Self {
        Self { box_id: Some(id.clone()), name: None }
    }

    pub(crate) fn named(name: impl Into<String>) -> Self {
        Self { box_id: None, name: Some(name.into()) }
    }
}
