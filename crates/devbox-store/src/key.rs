//! API keys as the store has them.

use std::sync::Arc;

use devbox_types::Timestamp;
use devbox_types::devbox::{ApiKey, KeyRole};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use subtle::ConstantTimeEq as _;

use crate::error::{StoreError, statement};
use crate::secret::{self, ApiSecret};
use crate::store::Store;

/// What a key is to be good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// The project whose boxes it reaches.
    pub project: String,
    /// What it may do there.
    pub role: KeyRole,
    /// A name for people.
    pub name: Option<String>,
}

/// A key without its secret: of that, only the hash is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id.
    pub id: String,
    /// The project whose boxes it reaches.
    pub project: String,
    /// What it may do there.
    pub role: KeyRole,
    /// A name for people.
    pub name: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    pub(crate) sha256: [u8; 32],
}

impl KeyRecord {
    /// The key as the API shows it.
    #[must_use]
    pub fn to_api(&self) -> ApiKey {
        ApiKey {
            id: self.id.clone(),
            project: self.project.clone(),
            role: self.role,
            name: self.name.clone(),
            created: self.created,
            secret: None,
        }
    }

    pub(crate) fn from_row(row: &SqliteRow) -> Option<Self> {
        Some(Self {
            id: row.try_get("id").ok()?,
            project: row.try_get("project").ok()?,
            role: role_from_text(row.try_get("role").ok()?)?,
            name: row.try_get("name").ok()?,
            created: Timestamp::from_nanoseconds(row.try_get("created").ok()?),
            sha256: row.try_get::<Vec<u8>, _>("sha256").ok()?.try_into().ok()?,
        })
    }
}

impl Store {
    /// The key that this text is, if it is one and not revoked. Never waits for the database.
    ///
    /// The id finds the record; the hashes are compared in constant time.
    #[must_use]
    pub fn authenticate(&self, text: &str) -> Option<Arc<KeyRecord>> {
        let record = self.directory().key(secret::id_of(text)?)?;
        bool::from(record.sha256.ct_eq(&secret::hash(text))).then_some(record)
    }

    /// The keys that are not revoked, oldest first; of one project, or of all.
    #[must_use]
    pub fn keys(&self, project: Option<&str>) -> Vec<Arc<KeyRecord>> {
        let mut keys = self.directory().keys();
        keys.retain(|key| project.is_none_or(|project| key.project == project));
        keys.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
        keys
    }

    /// Makes a key. The secret is in the answer and nowhere else.
    ///
    /// # Cancel safety
    /// None: run it in a task of its own.
    pub async fn create_key(&self, new: NewKey) -> Result<(Arc<KeyRecord>, ApiSecret), StoreError> {
        let secret = ApiSecret::generate()?;
        let record = self.insert_key(new, &secret).await?;
        Ok((record, secret))
    }

    pub(crate) async fn insert_key(
        &self,
        new: NewKey,
        secret: &ApiSecret,
    ) -> Result<Arc<KeyRecord>, StoreError> {
        let record = KeyRecord {
            id: secret.id().to_owned(),
            project: new.project,
            role: new.role,
            name: new.name,
            created: self.now(),
            sha256: secret.sha256(),
        };
        let mut writer = self.writer().await;
        sqlx::query("INSERT INTO keys (id, project, role, name, sha256, created) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(&record.id)
            .bind(&record.project)
            .bind(role_to_text(record.role))
            .bind(&record.name)
            .bind(&record.sha256[..])
            .bind(record.created.nanoseconds())
            .execute(&mut *writer)
            .await
            .map_err(statement("record a key"))?;
        let record = Arc::new(record);
        self.directory().insert_key(Arc::clone(&record));
        Ok(record)
    }

    /// Revokes a key; of this project only, if one is given. From then on it opens nothing.
    ///
    /// # Errors
    /// `NoSuchKey`; `LastAdminKey`, because no other first key is ever made; `Statement`.
    ///
    /// # Cancel safety
    /// None: run it in a task of its own.
    pub async fn revoke_key(&self, id: &str, project: Option<&str>) -> Result<(), StoreError> {
        let mut writer = self.writer().await;
        let known = self.directory().key(id);
        let known = known.filter(|key| project.is_none_or(|project| key.project == project));
        let known = known.ok_or_else(|| StoreError::NoSuchKey { id: id.to_owned() })?;
        let admins = |key: &Arc<KeyRecord>| key.role == KeyRole::Admin && key.id != known.id;
        if known.role == KeyRole::Admin && !self.directory().keys().iter().any(admins) {
            return Err(StoreError::LastAdminKey { id: id.to_owned() });
        }
        // First the memory: a revocation that fails half-way must not leave an open door.
        self.directory().remove_key(id);
        sqlx::query("UPDATE keys SET revoked = ? WHERE id = ?")
            .bind(self.now().nanoseconds())
            .bind(id)
            .execute(&mut *writer)
            .await
            .map_err(statement("revoke a key"))?;
        Ok(())
    }
}

fn role_to_text(role: KeyRole) -> &'static str {
    match role {
        KeyRole::Admin => "admin",
        KeyRole::Member => "member",
    }
}

fn role_from_text(text: &str) -> Option<KeyRole> {
    [KeyRole::Admin, KeyRole::Member].into_iter().find(|role| role_to_text(*role) == text)
}
