//! Opening the database, and who writes to it when.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use devbox_types::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};

use crate::audit::AuditTrail;
use crate::boxes::BoxRecord;
use crate::directory::Directory;
use crate::error::{StoreError, statement};
use crate::key::KeyRecord;

/// How long a statement waits for another connection's transaction, all of which are short.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The records of one server: a database, and in memory all of it that requests ask for.
///
/// One process uses a database at a time. Writes of keys and boxes are put in order by one connection, which syncs each
/// commit: a key once revoked stays so after a power cut. The audit has a connection of its own, which does not sync
/// (a power cut may cost its last seconds; a killed process costs what is in the queue).
#[derive(Debug)]
pub struct Store {
    writer: Mutex<SqliteConnection>,
    directory: Arc<Directory>,
    audit: AuditTrail,
    is_new: bool,
}

impl Store {
    /// The name of the database in the data directory.
    pub const FILE_NAME: &'static str = "devbox.db";

    /// Opens the store of a data directory, which exists; makes the database if there is none, readable by its owner only.
    ///
    /// Starts the task that writes the audit; it ends when the store is dropped and the queue is empty. Call
    /// [`AuditTrail::flush`] before the runtime goes away.
    ///
    /// # Errors
    /// `Io`, `Open`, `Migrate` (a newer version wrote it), `Corrupt`.
    pub async fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(Self::FILE_NAME);
        let is_new = make_private(&path)?;
        let mut writer = connect(&path, SqliteSynchronous::Full).await?;
        sqlx::migrate!()
            .run(&mut writer)
            .await
            .map_err(|source| StoreError::Migrate { path: path.clone(), source })?;
        let loaded = load(&mut writer).await?;
        let journal = connect(&path, SqliteSynchronous::Normal).await?;
        let reader = connect(&path, SqliteSynchronous::Normal).await?;
        Ok(Self {
            writer: Mutex::new(writer),
            directory: Arc::new(loaded),
            audit: AuditTrail::start(journal, reader),
            is_new,
        })
    }

    /// Whether the database was made by this `open`.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The audit.
    #[must_use]
    pub fn audit(&self) -> &AuditTrail {
        &self.audit
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(crate) async fn writer(&self) -> MutexGuard<'_, SqliteConnection> {
        self.writer.lock().await
    }

    pub(crate) fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

/// Makes the file with mode 0600 before SQLite can make it with another (its journal files copy the mode).
/// Says whether there was none.
fn make_private(path: &Path) -> Result<bool, StoreError> {
    let failed = |step| move |source| StoreError::Io { step, path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed("protect"))?;
            Ok(false)
        }
        Err(error) => Err(failed("create")(error)),
    }
}

async fn connect(path: &Path, synchronous: SqliteSynchronous) -> Result<SqliteConnection, StoreError> {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(|source| StoreError::Open { path: path.to_owned(), source })
}

async fn load(connection: &mut SqliteConnection) -> Result<Directory, StoreError> {
    let directory = Directory::default();
    let keys = sqlx::query("SELECT * FROM keys WHERE revoked IS NULL").fetch_all(&mut *connection).await;
    for row in &keys.map_err(statement("load the keys"))? {
        let record = KeyRecord::from_row(row).ok_or(StoreError::Corrupt { what: "key" })?;
        directory.insert_key(Arc::new(record));
    }
    let boxes = sqlx::query("SELECT * FROM boxes").fetch_all(connection).await;
    for row in &boxes.map_err(statement("load the boxes"))? {
        let record = BoxRecord::from_row(row).ok_or(StoreError::Corrupt { what: "box" })?;
        directory.insert_box(Arc::new(record));
    }
    Ok(directory)
}
