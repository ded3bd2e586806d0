//! The control routes as OpenAPI has them. The functions carry the description only; nothing calls them.
#![expect(dead_code, reason = "utoipa describes functions, and these exist to be described")]

use devbox_types::Problem;
use devbox_types::audit::AuditPage;
use devbox_types::devbox::{
    ApiKey, ApiKeyList, CreateKeyRequest, CreateRequest, Devbox, DevboxPage, TemplateList,
};

/// Make a box
///
/// The box runs when this answers. `language`, `runtime` and `template` together choose what it is made from: the first
/// template that provides all of them.
#[utoipa::path(
    post,
    path = "/v1/devboxes",
    tag = "boxes",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "Up to 255 visible ASCII characters. For 24 hours the same key and body answer with the same box.")),
    request_body = CreateRequest,
    responses(
        (status = 201, description = "It runs", body = Devbox),
        (status = 404, description = "`runtime_not_found`: nothing provides what was asked for; the hint lists what there is",
            body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`exists`: the name is taken; `busy`: the same request is being worked on",
            body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`idempotency_mismatch`: the key was used for another request",
            body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn create_devbox() {}

/// List boxes
///
/// Boxes of the key's project, oldest first.
#[utoipa::path(
    get,
    path = "/v1/devboxes",
    tag = "boxes",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 1000 boxes a page; default 100"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("name" = Option<String>, Query, description = "Only the box of this name"),
        ("label" = Option<Vec<String>>, Query, description = "Only boxes with this label, as `key=value`; may repeat")
    ),
    responses(
        (status = 200, description = "One page", body = DevboxPage),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn list_devboxes() {}

/// Look at a box
#[utoipa::path(
    get,
    path = "/v1/devboxes/{id}",
    tag = "boxes",
    params(("id" = String, Path, description = "Id or name of the box")),
    responses(
        (status = 200, description = "The box, with the promises that its guest keeps if it runs", body = Devbox),
        (status = 404, description = "`devbox_not_found`: this project has no such box",
            body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn inspect_devbox() {}

/// Delete a box
///
/// Whatever its state, with all it holds.
#[utoipa::path(
    delete,
    path = "/v1/devboxes/{id}",
    tag = "boxes",
    params(("id" = String, Path, description = "Id or name of the box")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "`devbox_not_found`: this project has no such box, or no longer",
            body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn delete_devbox() {}

/// Start a box
///
/// A stopped or failed box, on the files it has. A box that runs stays as it is.
#[utoipa::path(
    post,
    path = "/v1/devboxes/{id}/start",
    tag = "boxes",
    params(("id" = String, Path, description = "Id or name of the box")),
    responses(
        (status = 200, description = "It runs", body = Devbox),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn start_devbox() {}

/// Stop a box
///
/// Ends every process; files are kept.
#[utoipa::path(
    post,
    path = "/v1/devboxes/{id}/stop",
    tag = "boxes",
    params(("id" = String, Path, description = "Id or name of the box")),
    responses(
        (status = 200, description = "It is stopped", body = Devbox),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn stop_devbox() {}

/// List templates
#[utoipa::path(
    get,
    path = "/v1/templates",
    tag = "boxes",
    responses(
        (status = 200, description = "What boxes can be made from, the default first", body = TemplateList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn list_templates() {}

/// Make an API key
///
/// The secret is in this answer and nowhere else.
#[utoipa::path(
    post,
    path = "/v1/keys",
    tag = "keys",
    request_body = CreateKeyRequest,
    responses(
        (status = 201, description = "The key, with its secret", body = ApiKey),
        (status = 403, description = "`forbidden`: this needs an admin's key",
            body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn create_key() {}

/// List API keys
#[utoipa::path(
    get,
    path = "/v1/keys",
    tag = "keys",
    params(("project" = Option<String>, Query, description = "Only keys of this project")),
    responses(
        (status = 200, description = "The keys that are not revoked, without secrets", body = ApiKeyList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn list_keys() {}

/// Revoke an API key
#[utoipa::path(
    delete,
    path = "/v1/keys/{id}",
    tag = "keys",
    params(("id" = String, Path, description = "The key's id")),
    responses(
        (status = 204, description = "It opens nothing any more"),
        (status = 404, description = "`key_not_found`", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn revoke_key() {}

/// Read the audit
///
/// What was done in the admin's project: every file and process call, and every change of boxes and keys.
#[utoipa::path(
    get,
    path = "/v1/audit",
    tag = "server",
    params(
        ("box" = Option<String>, Query, description = "Only records of the box of this id, which may be gone"),
        ("limit" = Option<u32>, Query, description = "1 to 1000 records a page; default 100"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")
    ),
    responses(
        (status = 200, description = "One page, newest first", body = AuditPage),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn list_audit() {}

/// Whether the process lives
#[utoipa::path(get, path = "/healthz", tag = "server", security(()),
    responses((status = 200, description = "It does", body = String, content_type = "text/plain")))]
fn healthz() {}

/// Whether the server takes requests
#[utoipa::path(get, path = "/readyz", tag = "server", security(()),
    responses(
        (status = 200, description = "It does", body = String, content_type = "text/plain"),
        (status = 503, description = "`unavailable`: it is stopping, or its audit has no room",
            body = Problem, content_type = "application/problem+json")
    ))]
fn readyz() {}

/// Counts, for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "server", security(()),
    responses((status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text")))]
fn metrics() {}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "server", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
fn openapi() {}
