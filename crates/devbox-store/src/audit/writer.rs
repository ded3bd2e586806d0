//! The task that commits records in groups.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use devbox_types::audit::AuditRecord;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use super::Message;

/// How long the first record of a group waits for company; with the commit itself it stays under 50 ms.
const GROUP_TIME: Duration = Duration::from_millis(25);

/// The largest group: one transaction of about a megabyte.
const GROUP_LENGTH: usize = 1024;

/// How long to wait before a failed commit is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Commits what comes, until the queue is closed and empty. Whoever rings `hurry` does not want to wait for company.
pub(super) async fn run(
    mut journal: SqliteConnection,
    mut messages: mpsc::Receiver<Message>,
    hurry: Arc<Notify>,
) {
    let mut group = Group::default();
    while group.gather(&mut messages, &hurry).await {
        group.commit(&mut journal).await;
    }
    if let Err(error) = journal.close().await {
        tracing::warn!(error = %error, "audit_close_failed");
    }
}

#[derive(Default)]
struct Group {
    records: Vec<AuditRecord>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Group {
    /// Takes the next messages: those of 25 ms, or up to a `Flush`. `false` at the end of the queue.
    ///
    /// While the group grows, records lie in the queue: a task that took each as it comes would be woken for each, which
    /// costs an operation more than all else about its record.
    async fn gather(&mut self, messages: &mut mpsc::Receiver<Message>, hurry: &Notify) -> bool {
        let Some(first) = messages.recv().await else { return false };
        self.add(first);
        if self.waiting.is_empty() && messages.len() < GROUP_LENGTH {
            // Whether the time is over or somebody is in a hurry is all the same.
            let _: Result<(), Elapsed> = timeout(GROUP_TIME, hurry.notified()).await;
        }
        while self.waiting.is_empty() && self.records.len() < GROUP_LENGTH {
            match messages.try_recv() {
                Ok(message) => self.add(message),
                Err(_) => break,
            }
        }
        true
    }

    fn add(&mut self, message: Message) {
        match message {
            Message::Record(record) => self.records.push(*record),
            Message::Flush(done) => self.waiting.push(done),
        }
    }

    /// Commits the group, however often that has to be tried: the queue fills up meanwhile, and operations wait.
    async fn commit(&mut self, journal: &mut SqliteConnection) {
        while let Err(error) = insert(journal, &self.records).await {
            tracing::error!(error = %error, records = self.records.len(), "audit_commit_failed");
            sleep(RETRY_PAUSE).await;
        }
        self.records.clear();
        for done in self.waiting.drain(..) {
            // Whoever asked may have gone away.
            let _ = done.send(());
        }
    }
}

async fn insert(journal: &mut SqliteConnection, records: &[AuditRecord]) -> Result<(), sqlx::Error> {
    if records.is_empty() {
        return Ok(());
    }
    let mut transaction = journal.begin_with("BEGIN IMMEDIATE").await?;
    let mut rest = records;
    for (rows, statement) in STATEMENTS.iter() {
        let chunks = rest.chunks_exact(*rows);
        rest = chunks.remainder();
        for chunk in chunks {
            insert_rows(&mut transaction, statement, chunk).await?;
        }
    }
    transaction.commit().await
}

/// Rows in one statement. Each statement is a message to SQLite's thread and back, which costs more than a row: with 32 rows
/// in one, a record costs 3 µs of processor time instead of 11.
static STATEMENTS: LazyLock<[(usize, String); 3]> =
    LazyLock::new(|| [32, 8, 1].map(|rows| (rows, statement_of(rows))));

fn statement_of(rows: usize) -> String {
    let row = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    format!(
        "INSERT INTO audit (time, request_id, key_id, project, box_id, operation, path, bytes, entries, \
         sha256, error, exit_code, duration_us) VALUES {}",
        vec![row; rows].join(", ")
    )
}

/// Inserts as many rows as `statement` has.
async fn insert_rows(
    connection: &mut SqliteConnection,
    statement: &str,
    records: &[AuditRecord],
) -> Result<(), sqlx::Error> {
    // Made of constants, above.
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for record in records {
        query = query
            .bind(record.time.nanoseconds())
            .bind(record.request_id.as_str())
            .bind(&record.key_id)
            .bind(&record.project)
            .bind(record.box_id.as_ref().map(|id| id.as_str()))
            .bind(record.operation.as_str())
            .bind(&record.path)
            .bind(clamp(record.bytes))
            .bind(clamp(record.entries))
            .bind(&record.sha256)
            .bind(record.error.map(|code| code.as_str()))
            .bind(record.exit_code)
            .bind(clamp(record.duration_us));
    }
    query.execute(connection).await.map(|_| ())
}

/// SQLite's integers are signed; no count of ours gets there.
fn clamp(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
