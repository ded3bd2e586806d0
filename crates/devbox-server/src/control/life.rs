//! Starting, stopping and deleting boxes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use devbox_store::BoxRecord;
use devbox_types::audit::AuditedOperation;
use devbox_types::devbox::Devbox;
use http::{StatusCode, Uri};

use super::devboxes::{look, reference};
use crate::app::{Actor, App, Subject};
use crate::auth::find_box;
use crate::refusal::Refusal;

pub(crate) async fn start(
    State(app): State<Arc<App>>,
    actor: Actor,
    uri: Uri,
) -> Result<Json<Devbox>, Refusal> {
    let record = find_box(&app.store, &actor.key, reference(&uri))?;
    change(&app, actor, record, AuditedOperation::BoxStart).await
}

pub(crate) async fn stop(
    State(app): State<Arc<App>>,
    actor: Actor,
    uri: Uri,
) -> Result<Json<Devbox>, Refusal> {
    let record = find_box(&app.store, &actor.key, reference(&uri))?;
    change(&app, actor, record, AuditedOperation::BoxStop).await
}

async fn change(
    app: &Arc<App>,
    actor: Actor,
    record: Arc<BoxRecord>,
    operation: AuditedOperation,
) -> Result<Json<Devbox>, Refusal> {
    let inner = Arc::clone(app);
    let work = async move {
        let change = async {
            if operation == AuditedOperation::BoxStart {
                inner.backend.start(&record.id).await?;
            } else {
                inner.backend.stop(&record.id).await?;
            }
            // Whichever it was, the agent that its client speaks to is gone.
            inner.guests.forget(&record.id);
            tracing::info!(box_id = %record.id, operation = %operation, "box_changed");
            Ok(Json(look(&inner, &record).await))
        };
        let subject = |_: Option<&_>| Subject::of_box(&record.id);
        actor.audited(&inner.store, operation, subject, change).await
    };
    app.finish(work).await
}

/// The box first, then its record: a kill in between leaves a record without a box, which the next start removes.
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    actor: Actor,
    uri: Uri,
) -> Result<StatusCode, Refusal> {
    let record = find_box(&app.store, &actor.key, reference(&uri))?;
    let inner = Arc::clone(&app);
    let work = async move {
        let removal = async {
            inner.backend.delete(&record.id).await?;
            inner.guests.forget(&record.id);
            inner.store.forget_box(&record.id).await?;
            tracing::info!(box_id = %record.id, "box_deleted");
            Ok(StatusCode::NO_CONTENT)
        };
        let subject = |_: Option<&_>| Subject::of_box(&record.id);
        actor.audited(&inner.store, AuditedOperation::BoxDelete, subject, removal).await
    };
    app.finish(work).await
}
