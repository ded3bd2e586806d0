//! API keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use devbox_store::{ApiSecret, KeyRecord, NewKey};
use devbox_types::audit::AuditedOperation;
use devbox_types::devbox::{ApiKey, ApiKeyList, CreateKeyRequest};
use http::header::CACHE_CONTROL;
use http::{StatusCode, Uri};
use serde::Deserialize;

use crate::app::{App, Subject};
use crate::auth::Admin;
use crate::extract::{JsonBody, Parameters, invalid};
use crate::name::check_name;
use crate::refusal::Refusal;

/// The longest name of a key: it is for people.
const MAX_KEY_NAME: usize = 128;

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Admin(actor): Admin,
    JsonBody(request): JsonBody<CreateKeyRequest>,
) -> Result<impl IntoResponse, Refusal> {
    let project = request.project.unwrap_or_else(|| actor.key.project.clone());
    check_name("project", &project)?;
    let fits = |name: &String| name.len() <= MAX_KEY_NAME && !name.contains(char::is_control);
    if !request.name.as_ref().is_none_or(fits) {
        return Err(invalid(format!("`name` has at most {MAX_KEY_NAME} bytes and no control characters")));
    }
    let new = NewKey { project, role: request.role, name: request.name };
    let inner = Arc::clone(&app);
    let work = async move {
        let subject = |made: Option<&(Arc<KeyRecord>, ApiSecret)>| {
            made.map_or_else(Subject::default, |(record, _)| Subject::named(record.id.clone()))
        };
        let making = async { Ok(inner.store.create_key(new).await?) };
        actor.audited(&inner.store, AuditedOperation::KeyCreate, subject, making).await
    };
    let (record, secret) = app.finish(work).await?;
    tracing::info!(key_id = record.id, project = record.project, "key_created");
    let key = ApiKey { secret: Some(secret.expose().to_owned()), ..record.to_api() };
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(key)))
}

/// Which keys are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Selection {
    project: Option<String>,
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _: Admin,
    Parameters(selection): Parameters<Selection>,
) -> Json<ApiKeyList> {
    let keys = app.store.keys(selection.project.as_deref());
    Json(ApiKeyList { keys: keys.iter().map(|key| key.to_api()).collect() })
}

pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    Admin(actor): Admin,
    uri: Uri,
) -> Result<StatusCode, Refusal> {
    let id = uri.path().strip_prefix("/v1/keys/").unwrap_or_default().to_owned();
    let inner = Arc::clone(&app);
    let work = async move {
        let revocation = async {
            inner.store.revoke_key(&id, None).await?;
            inner.allotments.forget(&id);
            tracing::info!(key_id = id, "key_revoked");
            Ok(StatusCode::NO_CONTENT)
        };
        let subject = |_: Option<&_>| Subject::named(id.clone());
        actor.audited(&inner.store, AuditedOperation::KeyRevoke, subject, revocation).await
    };
    app.finish(work).await
}
