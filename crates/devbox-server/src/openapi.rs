//! The description of the whole API.

use utoipa::OpenApi as _;

/// The OpenAPI 3.1 document, as pretty JSON with a final line break. The same every time.
#[must_use]
pub fn openapi() -> String {
    let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

#[derive(utoipa::OpenApi)]
#[openapi(info(title = "Devbox"))]
struct Document;
