//! What whoever runs the server asks of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::IntoResponse;
use devbox_types::ErrorCode;
use devbox_types::devbox::BoxState;
use http::header::CONTENT_TYPE;

use crate::app::App;
use crate::metrics::MEDIA_TYPE;
use crate::refusal::Refusal;

/// The process lives.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// The server takes requests: it is not stopping, and its audit has room.
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Refusal> {
    if app.stopping.load(Ordering::Relaxed) {
        return Err(Refusal::new(ErrorCode::Unavailable, "the server is stopping"));
    }
    if app.store.audit().free_slots() == 0 {
        return Err(Refusal::new(ErrorCode::Unavailable, "the audit has no room"));
    }
    Ok("ok\n")
}

/// Counts, without any names of projects, boxes or paths; so it needs no key.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let mut states =
        [(BoxState::Starting, 0), (BoxState::Running, 0), (BoxState::Stopped, 0), (BoxState::Failed, 0)];
    for record in app.store.list_boxes(None, usize::MAX, |_| true) {
        let state = match app.backend.status(&record.id).await {
            Ok(status) => status.state,
            Err(_) if !record.ready => BoxState::Starting,
            Err(_) => BoxState::Failed,
        };
        if let Some((_, count)) = states.iter_mut().find(|(known, _)| *known == state) {
            *count += 1;
        }
    }
    ([(CONTENT_TYPE, MEDIA_TYPE)], app.metrics.text(&states, app.store.audit().free_slots()))
}

/// The description of the API.
pub(crate) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], crate::openapi::openapi())
}
