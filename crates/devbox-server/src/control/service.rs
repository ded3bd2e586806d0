//! What whoever runs the server asks of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::IntoResponse;
use devbox_types::ErrorCode;
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
    let states = app.census.counts(&app.store, &*app.backend).await;
    ([(CONTENT_TYPE, MEDIA_TYPE)], app.metrics.text(&states, app.store.audit().free_slots()))
}

/// The description of the API.
pub(crate) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], crate::openapi::openapi())
}
