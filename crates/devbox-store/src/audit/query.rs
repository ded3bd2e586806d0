//! Reading records back.

use std::time::{Duration, SystemTime};

use devbox_types::audit::{AuditPage, AuditRecord, AuditedOperation};
use devbox_types::{BoxId, ErrorCode, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::AuditTrail;
use crate::error::{StoreError, statement};

/// How many records are removed at once: the writer waits for no longer than that takes.
const PRUNE_LENGTH: i64 = 5_000;

/// Which records are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this project.
    pub project: String,
    /// Of this box only.
    pub box_id: Option<BoxId>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// The most records in the page.
    pub limit: u32,
}

impl AuditTrail {
    /// One page of committed records, newest first.
    ///
    /// # Errors
    /// `BadCursor`, `Statement`, `Corrupt`.
    pub async fn page(&self, filter: &AuditFilter) -> Result<AuditPage, StoreError> {
        let before = match &filter.cursor {
            None => i64::MAX,
            Some(cursor) => cursor.parse().map_err(|_| StoreError::BadCursor)?,
        };
        let mut reader = self.reader.lock().await;
        let query = match &filter.box_id {
            Some(id) => sqlx::query(
                "SELECT * FROM audit WHERE project = ? AND seq < ? AND box_id = ? ORDER BY seq DESC LIMIT ?",
            )
            .bind(&filter.project)
            .bind(before)
            .bind(id.as_str()),
            None => {
                sqlx::query("SELECT * FROM audit WHERE project = ? AND seq < ? ORDER BY seq DESC LIMIT ?")
                    .bind(&filter.project)
                    .bind(before)
            }
        };
        // One more than asked for tells whether there is a next page.
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let rows = query.bind(i64::from(filter.limit) + 1).fetch_all(&mut *reader).await;
        let rows = rows.map_err(statement("read the audit"))?;
        let page = rows.iter().take(limit).map(read).collect::<Option<Vec<_>>>();
        let page = page.ok_or(StoreError::Corrupt { what: "audit record" })?;
        let next = if rows.len() > limit { page.last().map(|(seq, _)| seq.to_string()) } else { None };
        Ok(AuditPage { records: page.into_iter().map(|(_, record)| record).collect(), next_cursor: next })
    }

    /// Removes records older than `age`; says how many.
    ///
    /// # Cancel safety
    /// What is removed stays removed; the rest is left for the next time.
    pub async fn prune(&self, age: Duration) -> Result<u64, StoreError> {
        let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        let oldest = Timestamp::from(SystemTime::now()).nanoseconds().saturating_sub(age);
        let mut removed = 0;
        loop {
            let mut reader = self.reader.lock().await;
            let result = sqlx::query(
                "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit ORDER BY seq LIMIT ?) AND time < ?",
            )
            .bind(PRUNE_LENGTH)
            .bind(oldest)
            .execute(&mut *reader)
            .await;
            match result.map_err(statement("prune the audit"))?.rows_affected() {
                0 => return Ok(removed),
                some => removed += some,
            }
        }
    }
}

fn read(row: &SqliteRow) -> Option<(i64, AuditRecord)> {
    let count = |column: &str| u64::try_from(row.try_get::<i64, _>(column).ok()?).ok();
    let text = |column: &str| row.try_get::<Option<String>, _>(column).ok();
    let record = AuditRecord {
        time: Timestamp::from_nanoseconds(row.try_get("time").ok()?),
        request_id: text("request_id")??.parse().ok()?,
        key_id: text("key_id")??,
        project: text("project")??,
        box_id: text("box_id")?.map(|id| id.parse()).transpose().ok()?,
        operation: AuditedOperation::from_wire(&text("operation")??)?,
        path: text("path")?,
        bytes: count("bytes")?,
        entries: count("entries")?,
        sha256: text("sha256")?,
        error: match text("error")? {
            None => None,
            Some(code) => Some(ErrorCode::from_wire(&code)?),
        },
        exit_code: row.try_get("exit_code").ok()?,
        duration_us: count("duration_us")?,
    };
    Some((row.try_get("seq").ok()?, record))
}
