//! Stand-ins for types whose wire form serde builds by hand, so that OpenAPI shows what is on the wire.

/// A path: exactly one of the two fields.
#[derive(Debug, utoipa::ToSchema)]
pub struct PathFields {
    /// The path, if it is UTF-8.
    pub path: Option<String>,
    /// The path as base64, if it is not.
    pub path_b64: Option<String>,
}
