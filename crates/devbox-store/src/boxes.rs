//! Records of boxes, and what made them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use devbox_types::devbox::{BoxSpec, CreateRequest};
use devbox_types::{BoxId, Timestamp};
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection as _, Row as _, SqliteConnection};

use crate::directory::Place;
use crate::error::{StoreError, statement};
use crate::store::Store;

/// How long an `Idempotency-Key` is remembered: the manual promises 24 hours.
pub const CREATION_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of a box beside what the backend knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxRecord {
    /// Its id.
    pub id: BoxId,
    /// Whose it is.
    pub project: String,
    /// Its name, unique in the project.
    pub name: Option<String>,
    /// What it was made from.
    pub spec: BoxSpec,
    /// What the runtime asked for was resolved to.
    pub runtime: Option<String>,
    /// The folder that relative paths start from.
    pub workdir: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
    /// Whether the backend has made it; until then it holds its name and is not shown.
    pub ready: bool,
}

/// The idempotency of a create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creation {
    /// The `Idempotency-Key`.
    pub key: String,
    /// The SHA-256 of the request that it stands for.
    pub request: [u8; 32],
}

/// What a reservation found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reservation {
    /// The record is in place, not ready: the box may be made.
    Made(Arc<BoxRecord>),
    /// The same request made this box before.
    Replayed(Arc<BoxRecord>),
}

impl Creation {
    /// The creation under `key` of what `request` asks for.
    #[must_use]
    pub fn of(key: String, request: &CreateRequest) -> Self {
        // Maps are ordered, so equal requests are equal texts, whatever the order in which they were sent.
        let text = serde_json::to_vec(request).unwrap_or_default();
        Self { key, request: Sha256::digest(&text).into() }
    }
}

impl BoxRecord {
    pub(crate) fn from_row(row: &SqliteRow) -> Option<Self> {
        Some(Self {
            id: row.try_get::<&str, _>("id").ok()?.parse().ok()?,
            project: row.try_get("project").ok()?,
            name: row.try_get("name").ok()?,
            spec: serde_json::from_str(row.try_get("spec").ok()?).ok()?,
            runtime: row.try_get("runtime").ok()?,
            workdir: row.try_get("workdir").ok()?,
            labels: serde_json::from_str(row.try_get("labels").ok()?).ok()?,
            created: Timestamp::from_nanoseconds(row.try_get("created").ok()?),
            ready: row.try_get("ready").ok()?,
        })
    }
}

impl Store {
    /// The box of this id, ready or not. Never waits for the database.
    #[must_use]
    pub fn find_box(&self, id: &BoxId) -> Option<Arc<BoxRecord>> {
        self.directory().find_box(id)
    }

    /// The box of this name, ready or not. Never waits for the database.
    #[must_use]
    pub fn find_box_named(&self, project: &str, name: &str) -> Option<Arc<BoxRecord>> {
        self.directory().find_box_named(project, name)
    }

    /// Up to `limit` boxes that pass `wanted`, oldest first, from behind the box at `after`.
    pub fn list_boxes(
        &self,
        after: Option<(Timestamp, BoxId)>,
        limit: usize,
        wanted: impl Fn(&BoxRecord) -> bool,
    ) -> Vec<Arc<BoxRecord>> {
        let after: Option<Place> = after;
        self.directory().list_boxes(after.as_ref(), limit, wanted)
    }

    /// Records a box that is about to be made, which takes its name and its idempotency key.
    ///
    /// # Errors
    /// `NameTaken`; `IdempotencyMismatch`, `CreationUnderWay`, `CreationDeleted` where the idempotency key is known.
    ///
    /// # Cancel safety
    /// None: run it in a task of its own.
    pub async fn reserve_box(
        &self,
        record: BoxRecord,
        creation: Option<&Creation>,
    ) -> Result<Reservation, StoreError> {
        let mut writer = self.writer().await;
        if let Some(creation) = creation
            && let Some((request, id)) = self.find_creation(&mut writer, &record.project, creation).await?
        {
            return self.replay(creation, request, id);
        }
        if let Some(name) = &record.name
            && self.find_box_named(&record.project, name).is_some()
        {
            return Err(StoreError::NameTaken { name: name.clone() });
        }
        let record = Arc::new(BoxRecord { ready: false, ..record });
        insert(&mut writer, &record, creation, self.now()).await.map_err(statement("record a box"))?;
        self.directory().insert_box(Arc::clone(&record));
        Ok(Reservation::Made(record))
    }

    fn replay(&self, creation: &Creation, request: Vec<u8>, id: BoxId) -> Result<Reservation, StoreError> {
        if request != creation.request {
            return Err(StoreError::IdempotencyMismatch);
        }
        match self.find_box(&id) {
            Some(record) if record.ready => Ok(Reservation::Replayed(record)),
            Some(_) => Err(StoreError::CreationUnderWay),
            None => Err(StoreError::CreationDeleted { id }),
        }
    }

    async fn find_creation(
        &self,
        writer: &mut SqliteConnection,
        project: &str,
        creation: &Creation,
    ) -> Result<Option<(Vec<u8>, BoxId)>, StoreError> {
        let memory = i64::try_from(CREATION_MEMORY.as_nanos()).unwrap_or(i64::MAX);
        sqlx::query("DELETE FROM creations WHERE created < ?")
            .bind(self.now().nanoseconds().saturating_sub(memory))
            .execute(&mut *writer)
            .await
            .map_err(statement("forget old idempotency keys"))?;
        let row = sqlx::query("SELECT request, box_id FROM creations WHERE project = ? AND key = ?")
            .bind(project)
            .bind(&creation.key)
            .fetch_optional(&mut *writer)
            .await
            .map_err(statement("look up an idempotency key"))?;
        let Some(row) = row else { return Ok(None) };
        let read = || Some((row.try_get(0).ok()?, row.try_get::<&str, _>(1).ok()?.parse().ok()?));
        read().map(Some).ok_or(StoreError::Corrupt { what: "idempotency key" })
    }

    /// Records that a reserved box is made. From then on it is shown.
    ///
    /// # Cancel safety
    /// None: run it in a task of its own.
    pub async fn confirm_box(&self, reserved: &BoxRecord) -> Result<Arc<BoxRecord>, StoreError> {
        let mut writer = self.writer().await;
        sqlx::query("UPDATE boxes SET ready = 1 WHERE id = ?")
            .bind(reserved.id.as_str())
            .execute(&mut *writer)
            .await
            .map_err(statement("confirm a box"))?;
        let record = Arc::new(BoxRecord { ready: true, ..reserved.clone() });
        self.directory().insert_box(Arc::clone(&record));
        Ok(record)
    }

    /// Removes the record of a box that was never made, and forgets its idempotency key: the request may be repeated.
    ///
    /// # Cancel safety
    /// None: run it in a task of its own.
    pub async fn abandon_box(&self, id: &BoxId) -> Result<(), StoreError> {
        self.remove(id, true).await
    }

    /// Removes the record of a box that is gone. Its idempotency key stays taken. Succeeds if there is none.
    ///
    /// # Cancel safety
    /// None: run it in a task of its own.
    pub async fn forget_box(&self, id: &BoxId) -> Result<(), StoreError> {
        self.remove(id, false).await
    }

    async fn remove(&self, id: &BoxId, with_creation: bool) -> Result<(), StoreError> {
        let mut writer = self.writer().await;
        delete(&mut writer, id, with_creation).await.map_err(statement("remove the record of a box"))?;
        self.directory().remove_box(id);
        Ok(())
    }
}

async fn insert(
    writer: &mut SqliteConnection,
    record: &BoxRecord,
    creation: Option<&Creation>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "INSERT INTO boxes (id, project, name, spec, runtime, workdir, labels, created, ready) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(record.id.as_str())
    .bind(&record.project)
    .bind(&record.name)
    .bind(json(&record.spec)?)
    .bind(&record.runtime)
    .bind(&record.workdir)
    .bind(json(&record.labels)?)
    .bind(record.created.nanoseconds())
    .bind(record.ready)
    .execute(&mut *transaction)
    .await?;
    if let Some(creation) = creation {
        sqlx::query("INSERT INTO creations (project, key, request, box_id, created) VALUES (?, ?, ?, ?, ?)")
            .bind(&record.project)
            .bind(&creation.key)
            .bind(&creation.request[..])
            .bind(record.id.as_str())
            .bind(now.nanoseconds())
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

async fn delete(writer: &mut SqliteConnection, id: &BoxId, with_creation: bool) -> Result<(), sqlx::Error> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("DELETE FROM boxes WHERE id = ?").bind(id.as_str()).execute(&mut *transaction).await?;
    if with_creation {
        sqlx::query("DELETE FROM creations WHERE box_id = ?")
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}
