//! Which handler answers what.

use std::sync::Arc;

use axum::middleware::from_fn;
use axum::routing::{get, post, put};
use axum::{Extension, Router};
use devbox_guest::Guest;
use devbox_types::{ErrorCode, Problem};

use crate::call::{GrantSource, GuestHandle};
use crate::failure::Failure;
use crate::request_id::RequestIdLayer;
use crate::{agent, archive, batch, entries, files, patch, processes, uploads};

/// The calls of the guest contract, relative to their base: nest it where the guest is.
///
/// Each request needs a [`GuestHandle`] in its extensions, and with [`GrantSource::Extension`] a
/// [`Grant`](devbox_types::Grant). Paths are taken from the raw target behind the prefix under which this is nested.
pub fn guest_routes(grants: GrantSource) -> Router {
    let file = || get(files::read).put(files::write).patch(patch::patch).delete(files::delete);
    let router = Router::new()
        .route("/files", post(batch::write_many))
        .route("/files/", file())
        .route("/files/{*path}", file())
        .route("/entries", get(entries::look).post(entries::apply))
        .route("/entries/", get(entries::look).patch(entries::set))
        .route("/entries/{*path}", get(entries::look).patch(entries::set))
        .route("/archive", post(archive::pack))
        .route("/archive/", put(archive::unpack))
        .route("/archive/{*path}", put(archive::unpack))
        .route("/processes", get(processes::list).post(processes::run))
        .route("/processes/{id}/signal", post(processes::signal))
        .merge(upload_routes());
    with_fallbacks(router).with_state(grants)
}

/// The routes of the tus protocol, which has words of its own on every answer.
fn upload_routes() -> Router<GrantSource> {
    let all = || post(uploads::create).options(uploads::options);
    let one = get(uploads::look)
        .patch(uploads::append)
        .delete(uploads::delete)
        .post(uploads::overridden)
        .options(uploads::options);
    Router::new()
        .route("/uploads", all())
        .route("/uploads/", all())
        .route("/uploads/{id}", one)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn(uploads::speak))
}

/// What an agent says of itself, relative to the base.
pub fn agent_routes() -> Router {
    with_fallbacks(Router::new().route("/agent", get(agent::greet))).with_state(GrantSource::Header)
}

/// Everything that an agent serves, at `/v1`: guest, greeting, request ids.
pub fn agent_router(guest: Arc<dyn Guest>) -> Router {
    let greeting = Router::new().route("/agent", get(agent::greet)).with_state(GrantSource::Header);
    let router = Router::new().nest("/v1", guest_routes(GrantSource::Header).merge(greeting));
    with_fallbacks(router).layer(Extension(GuestHandle(guest))).layer(RequestIdLayer)
}

fn with_fallbacks<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.fallback(no_such_resource).method_not_allowed_fallback(no_such_method)
}

async fn no_such_resource() -> Failure {
    Failure(Problem::new(ErrorCode::NotFound, "there is no such resource in this API"))
}

async fn no_such_method() -> Failure {
    Failure(Problem::new(ErrorCode::MethodNotAllowed, "this resource does not take this method"))
}
