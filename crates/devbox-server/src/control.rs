//! The control routes: everything but the inside of boxes.

mod audit;
mod devboxes;
mod keys;
mod life;
mod service;

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post};

use crate::app::App;
use crate::edge::{no_such_method, no_such_route};

/// The routes, over what every request can reach.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/devboxes", post(devboxes::create).get(devboxes::list))
        .route("/v1/devboxes/{id}", get(devboxes::inspect).delete(life::delete))
        .route("/v1/devboxes/{id}/start", post(life::start))
        .route("/v1/devboxes/{id}/stop", post(life::stop))
        .route("/v1/templates", get(devboxes::templates))
        .route("/v1/keys", post(keys::create).get(keys::list))
        .route("/v1/keys/{id}", delete(keys::revoke))
        .route("/v1/audit", get(audit::list))
        .route("/healthz", get(service::healthz))
        .route("/readyz", get(service::readyz))
        .route("/metrics", get(service::metrics))
        .route("/openapi.json", get(service::openapi))
        .method_not_allowed_fallback(no_such_method)
        .fallback(no_such_route)
        .with_state(app)
}
