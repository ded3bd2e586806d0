//! Making boxes and looking at them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use devbox_backend::BackendError;
use devbox_store::boxes::Reservation;
use devbox_store::{BoxRecord, Creation};
use devbox_types::audit::AuditedOperation;
use devbox_types::devbox::{
    BoxSpec, BoxState, BoxStatus, CreateRequest, Devbox, DevboxPage, Resources, TemplateList,
};
use devbox_types::{BoxId, Timestamp};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;

use crate::app::{Actor, App, Subject};
use crate::auth::find_box;
use crate::extract::{JsonBody, Parameters, invalid};
use crate::name::check_request;
use crate::refusal::Refusal;
use crate::runtime::resolve;

/// How many boxes are looked at at once for a list.
const LOOKS_AT_ONCE: usize = 16;

/// The longest `Idempotency-Key`.
const MAX_IDEMPOTENCY_KEY: usize = 255;

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    actor: Actor,
    headers: HeaderMap,
    JsonBody(request): JsonBody<CreateRequest>,
) -> Result<impl IntoResponse, Refusal> {
    check_request(&request)?;
    let creation = idempotency_key(&headers)?.map(|key| Creation::of(key, &request));
    let record = propose(&app, &actor, request)?;
    let work = make(Arc::clone(&app), actor, record, creation);
    let devbox = app.finish(work).await?;
    Ok((StatusCode::CREATED, Json(devbox)))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(header) = headers.get("idempotency-key") else { return Ok(None) };
    match header.to_str() {
        Ok(key) if (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => {
            Err(invalid(format!("`Idempotency-Key` has 1 to {MAX_IDEMPOTENCY_KEY} visible ASCII characters")))
        }
    }
}

/// The record of the box that is asked for, with every default filled in.
fn propose(app: &App, actor: &Actor, request: CreateRequest) -> Result<BoxRecord, Refusal> {
    let templates = app.backend.templates();
    let resolved = resolve(&request, &templates)?;
    let mut bits = [0; 10];
    getrandom::fill(&mut bits)
        .map_err(|error| Refusal::internal(format!("cannot read random bytes: {error}")))?;
    let (template, workdir) = (resolved.template.name.clone(), resolved.template.workdir.clone());
    let runtime = resolved.runtime;
    let defaults = app.config.default_resources;
    let resources = Resources {
        cpu_millis: request.resources.cpu_millis.or(defaults.cpu_millis),
        memory_bytes: request.resources.memory_bytes.or(defaults.memory_bytes),
        pids: request.resources.pids.or(defaults.pids),
    };
    Ok(BoxRecord {
        id: BoxId::from_random(bits),
        project: actor.key.project.clone(),
        name: request.name,
        spec: BoxSpec { template, env: request.env, resources },
        runtime,
        workdir,
        labels: request.labels,
        created: Timestamp::from(std::time::SystemTime::now()),
        ready: false,
    })
}

/// Makes a box: the record first, which takes name and idempotency key, then the box, then the record is shown.
///
/// A step that fails takes the ones before it back. A kill in between leaves a record that is not ready: the next start
/// removes it, and the box if there is one.
async fn make(
    app: Arc<App>,
    actor: Actor,
    record: BoxRecord,
    creation: Option<Creation>,
) -> Result<Devbox, Refusal> {
    let proposed = record.id.clone();
    // A repeated request is about the box that was made before.
    let subject = move |made: Option<&Devbox>| Subject::of_box(made.map_or(&proposed, |devbox| &devbox.id));
    let work = async {
        let reserved = match app.store.reserve_box(record, creation.as_ref()).await? {
            Reservation::Replayed(record) => return Ok(look(&app, &record).await),
            Reservation::Made(record) => record,
        };
        let id = &reserved.id;
        if let Err(refusal) = create_box(&app, &reserved).await {
            app.store.abandon_box(id).await?;
            return Err(refusal);
        }
        match app.store.confirm_box(&reserved).await {
            Ok(record) => {
                tracing::info!(box_id = %id, project = record.project, template = record.spec.template, "box_created");
                Ok(look(&app, &record).await)
            }
            Err(error) => {
                if let Err(error) = app.backend.delete(id).await {
                    tracing::error!(box_id = %id, error = %error, "unrecorded_box_not_deleted");
                }
                app.store.abandon_box(id).await?;
                Err(error.into())
            }
        }
    };
    actor.audited(&app.store, AuditedOperation::BoxCreate, subject, work).await
}

/// Lets the backend make the box. One that panics meanwhile has made none, or it is deleted: the name must not stay taken.
async fn create_box(app: &App, record: &BoxRecord) -> Result<(), Refusal> {
    let creation = AssertUnwindSafe(app.backend.create(&record.id, &record.spec)).catch_unwind();
    let panic = match creation.await {
        Ok(created) => return created.map_err(Refusal::from),
        Err(panic) => panic,
    };
    if let Err(error) = app.backend.delete(&record.id).await {
        tracing::error!(box_id = %record.id, error = %error, "half_made_box_not_deleted");
    }
    Err(Refusal::of_panic(&*panic))
}

/// Which boxes are wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Selection {
    cursor: Option<String>,
    limit: Option<usize>,
    name: Option<String>,
}

/// Boxes on a page, unless the caller asks for fewer or more.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    actor: Actor,
    uri: Uri,
) -> Result<Json<DevboxPage>, Refusal> {
    let (selection, labels) = select(uri.query().unwrap_or_default())?;
    let limit = selection.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(invalid(format!("`limit` is 1 to {MAX_LIMIT}")));
    }
    let after = selection.cursor.as_deref().map(read_cursor).transpose()?;
    let wanted = |record: &BoxRecord| {
        record.ready
            && record.project == actor.key.project
            && selection.name.as_ref().is_none_or(|name| record.name.as_ref() == Some(name))
            && labels.iter().all(|(key, value)| record.labels.get(key) == Some(value))
    };
    let mut records = app.store.list_boxes(after, limit + 1, wanted);
    let more = records.len() > limit;
    records.truncate(limit);
    let next_cursor = records.last().filter(|_| more).map(|record| write_cursor(record));
    let app = &*app;
    let looks = stream::iter(records).map(|record| async move { look(app, &record).await });
    let devboxes = looks.buffered(LOOKS_AT_ONCE).collect().await;
    Ok(Json(DevboxPage { devboxes, next_cursor }))
}

/// Reads the query: `label=key=value` may come more than once, so it is taken out first.
fn select(query: &str) -> Result<(Selection, Vec<(String, String)>), Refusal> {
    let (mut selection, mut labels) = (Selection::default(), Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = value.into_owned();
        match &*name {
            "label" => {
                let (key, value) = value.split_once('=').ok_or_else(|| invalid("`label` is key=value"))?;
                labels.push((key.to_owned(), value.to_owned()));
            }
            "cursor" => selection.cursor = Some(value),
            "name" => selection.name = Some(value),
            "limit" => {
                selection.limit = Some(value.parse().map_err(|_| invalid("`limit` is a whole number"))?);
            }
            other => return Err(invalid(format!("there is no parameter {other:?}"))),
        }
    }
    Ok((selection, labels))
}

fn write_cursor(record: &BoxRecord) -> String {
    BASE64.encode(format!("{}.{}", record.created.nanoseconds(), record.id))
}

fn read_cursor(cursor: &str) -> Result<(Timestamp, BoxId), Refusal> {
    let read = || {
        let text = String::from_utf8(BASE64.decode(cursor).ok()?).ok()?;
        let (created, id) = text.split_once('.')?;
        Some((Timestamp::from_nanoseconds(created.parse().ok()?), id.parse().ok()?))
    };
    read().ok_or_else(|| invalid("the cursor is not valid").with_hint("pass `next_cursor` as it is"))
}

pub(crate) async fn inspect(
    State(app): State<Arc<App>>,
    actor: Actor,
    uri: Uri,
) -> Result<Json<Devbox>, Refusal> {
    let record = find_box(&app.store, &actor.key, reference(&uri))?;
    let mut devbox = look(&app, &record).await;
    if devbox.status.state == BoxState::Running {
        let patience = app.config.timeouts.agent_answer;
        let promises = async {
            let guest = app.guests.reach(&*app.backend, &record.id, patience).await.ok()?;
            let greeting = tokio::time::timeout(patience, guest.greet()).await.ok()?;
            Some(greeting.ok()?.promises)
        };
        devbox.promises = promises.await.unwrap_or_default();
    }
    Ok(Json(devbox))
}

/// The `{id}` of a path: an id or a name, neither of which has characters that a path would escape.
pub(crate) fn reference(uri: &Uri) -> &str {
    let below = uri.path().strip_prefix("/v1/devboxes/").unwrap_or_default();
    below.split('/').next().unwrap_or_default()
}

/// The box as the API shows it: its record, and what the backend sees.
pub(crate) async fn look(app: &App, record: &BoxRecord) -> Devbox {
    let status = match app.backend.status(&record.id).await {
        Ok(status) => status,
        Err(error) => {
            tracing::warn!(box_id = %record.id, error = %error, "status_unknown");
            let reason = match error {
                BackendError::NoSuchBox { .. } => "missing",
                _ => "status_unknown",
            };
            BoxStatus { state: BoxState::Failed, reason: Some(reason.to_owned()) }
        }
    };
    Devbox {
        id: record.id.clone(),
        name: record.name.clone(),
        status,
        template: record.spec.template.clone(),
        runtime: record.runtime.clone(),
        workdir: record.workdir.clone(),
        labels: record.labels.clone(),
        resources: record.spec.resources,
        created: record.created,
        promises: Vec::new(),
    }
}

pub(crate) async fn templates(
    State(app): State<Arc<App>>,
    _: Actor,
    Parameters(()): Parameters<()>,
) -> Json<TemplateList> {
    Json(TemplateList { templates: app.backend.templates() })
}
