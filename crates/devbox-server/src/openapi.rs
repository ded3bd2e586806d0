//! The description of the whole API.

mod control;
mod guest;

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// The OpenAPI 3.1 document, as pretty JSON with a final line break. The same every time.
#[must_use]
pub fn openapi() -> String {
    let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Devbox",
        description = "Isolated Linux workspaces: making them, and working with their files and processes.\n\n\
            JSON is UTF-8, times are RFC 3339 with nanoseconds, sizes are bytes. Every answer has `X-Request-Id`. Every \
            error is `application/problem+json` (RFC 9457) with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "boxes", description = "Making boxes, looking at them, starting, stopping and deleting them"),
        (name = "files", description = "Files of a running box"),
        (name = "processes", description = "Programs in a running box"),
        (name = "keys", description = "API keys; for admins"),
        (name = "server", description = "The server itself")
    ),
    paths(
        control::create_devbox,
        control::list_devboxes,
        control::inspect_devbox,
        control::delete_devbox,
        control::start_devbox,
        control::stop_devbox,
        control::list_templates,
        control::create_key,
        control::list_keys,
        control::revoke_key,
        control::list_audit,
        control::healthz,
        control::readyz,
        control::metrics,
        control::openapi,
        guest::read_file,
        guest::head_file,
        guest::write_file,
        guest::patch_file,
        guest::delete_file,
        guest::write_files,
        guest::look_at_entry,
        guest::set_metadata,
        guest::apply_operations,
        guest::create_upload,
        guest::look_at_upload,
        guest::append_upload,
        guest::delete_upload,
        guest::pack_archive,
        guest::unpack_archive,
        guest::run_process,
        guest::list_processes,
        guest::signal_process,
    ),
    components(schemas(devbox_types::Entry, devbox_types::ListPage, devbox_types::process::ProcessEventLine)),
    modifiers(&BearerKey),
    security(("key" = []))
)]
struct Document;

/// Adds the one way to authenticate.
struct BearerKey;

impl Modify for BearerKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        // What the build happens to be called has no place in a description of the API.
        document.info.version = "1".to_owned();
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key: `Authorization: Bearer dvb_…`"))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_openapi_3_1_and_names_every_route() {
        let document: serde_json::Value = serde_json::from_str(&openapi()).expect("json");
        assert_eq!(document["openapi"], "3.1.0");
        let paths = document["paths"].as_object().expect("paths");
        for path in [
            "/v1/devboxes",
            "/v1/devboxes/{id}",
            "/v1/devboxes/{id}/start",
            "/v1/devboxes/{id}/stop",
            "/v1/devboxes/{id}/files",
            "/v1/devboxes/{id}/files/{path}",
            "/v1/devboxes/{id}/entries",
            "/v1/devboxes/{id}/entries/{path}",
            "/v1/devboxes/{id}/archive",
            "/v1/devboxes/{id}/uploads",
            "/v1/devboxes/{id}/uploads/{upload}",
            "/v1/devboxes/{id}/processes",
            "/v1/devboxes/{id}/processes/{process}/signal",
            "/v1/templates",
            "/v1/keys",
            "/v1/keys/{id}",
            "/v1/audit",
            "/healthz",
            "/readyz",
            "/metrics",
            "/openapi.json",
        ] {
            assert!(paths.contains_key(path), "{path} is missing");
        }
        assert_eq!(paths.len(), 22);
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        let text = openapi();
        let document: serde_json::Value = serde_json::from_str(&text).expect("json");
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().expect("a name");
            assert!(schemas.contains_key(name), "schema {name} is missing");
        }
    }
}
