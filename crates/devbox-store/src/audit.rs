//! Records of operations: queued, committed in groups, read back in pages.

mod query;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use devbox_types::audit::AuditRecord;
use sqlx::SqliteConnection;
use tokio::sync::{Mutex, Notify, mpsc, oneshot};

pub use self::query::AuditFilter;
use crate::error::StoreError;

/// How many audited operations may be open or waiting for their commit at once; the next one waits. It bounds the
/// memory of the queue to a few megabytes, and what a killed process can lose.
const QUEUE_LENGTH: usize = 8192;

/// How long an operation waits for a place in the queue before it is refused: the disk is full or dead by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the writer is told.
enum Message {
    Record(Box<AuditRecord>),
    /// Answer when everything before this is committed.
    Flush(oneshot::Sender<()>),
}

/// The audit: a bounded queue before one task that commits what it finds in groups, at the latest after 50 ms.
///
/// Nothing is dropped: an operation reserves its place before it begins ([`AuditTrail::reserve`]), and where there is
/// none it waits. A commit that fails is tried again until it succeeds.
#[derive(Debug)]
pub struct AuditTrail {
    queue: mpsc::Sender<Message>,
    /// Rung by whoever waits for a commit.
    hurry: Arc<Notify>,
    reader: Mutex<SqliteConnection>,
}

/// A place in the queue, for one record.
#[derive(Debug)]
pub struct AuditSlot(mpsc::OwnedPermit<Message>);

impl AuditSlot {
    /// Hands the record over. Does not wait, so it can be called where nothing can: in a `Drop`.
    pub fn record(self, record: AuditRecord) {
        self.0.send(Message::Record(Box::new(record)));
    }
}

impl AuditTrail {
    pub(crate) fn start(journal: SqliteConnection, reader: SqliteConnection) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE_LENGTH);
        let hurry = Arc::new(Notify::new());
        tokio::spawn(writer::run(journal, messages, Arc::clone(&hurry)));
        Self { queue, hurry, reader: Mutex::new(reader) }
    }

    /// Waits for a place in the queue.
    ///
    /// # Errors
    /// `AuditStalled` if there is none for ten seconds, or the audit is closed.
    pub async fn reserve(&self) -> Result<AuditSlot, StoreError> {
        let permit = match self.queue.clone().try_reserve_owned() {
            Ok(permit) => permit,
            Err(mpsc::error::TrySendError::Full(queue)) => {
                tokio::time::timeout(PATIENCE, queue.reserve_owned())
                    .await
                    .map_err(|_| StoreError::AuditStalled)?
                    .map_err(|_| StoreError::AuditStalled)?
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(StoreError::AuditStalled),
        };
        Ok(AuditSlot(permit))
    }

    /// Waits until every record handed over before is committed.
    ///
    /// # Errors
    /// `AuditStalled` if the writer is gone.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (done, committed) = oneshot::channel();
        self.queue.send(Message::Flush(done)).await.map_err(|_| StoreError::AuditStalled)?;
        self.hurry.notify_one();
        committed.await.map_err(|_| StoreError::AuditStalled)
    }

    /// How many places of the queue are free.
    #[must_use]
    pub fn free_slots(&self) -> usize {
        self.queue.capacity()
    }
}
