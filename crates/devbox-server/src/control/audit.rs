//! The audit, read back.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use devbox_store::AuditFilter;
use devbox_types::BoxId;
use devbox_types::audit::AuditPage;
use serde::Deserialize;

use crate::app::App;
use crate::auth::Admin;
use crate::extract::{Parameters, invalid};
use crate::refusal::Refusal;

/// Which records are wanted. A box that is deleted has records still, so it is named by its id, not looked up.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Selection {
    #[serde(rename = "box")]
    box_id: Option<BoxId>,
    cursor: Option<String>,
    limit: Option<u32>,
}

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

/// Records of the admin's own project, newest first. What was handed over before is committed first, so whoever does
/// something and then asks sees it.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Admin(actor): Admin,
    Parameters(selection): Parameters<Selection>,
) -> Result<Json<AuditPage>, Refusal> {
    let limit = selection.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(invalid(format!("`limit` is 1 to {MAX_LIMIT}")));
    }
    let filter = AuditFilter {
        project: actor.key.project.clone(),
        box_id: selection.box_id,
        cursor: selection.cursor,
        limit,
    };
    app.store.audit().flush().await?;
    Ok(Json(app.store.audit().page(&filter).await?))
}
