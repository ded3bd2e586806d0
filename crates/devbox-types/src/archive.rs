//! Many files as one stream.

use serde::{Deserialize, Serialize};

use crate::path::WirePath;

/// The formats that archives have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ArchiveFormat {
    /// PKWARE's zip, deflated, with Unix modes, times and symlinks.
    #[default]
    Zip,
}

impl ArchiveFormat {
    /// The media type of such a stream.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Zip => "application/zip",
        }
    }
}

/// The body of `POST /archive`: what to stream out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ArchiveRequest {
    /// Files and directories; directories with all they hold. Symlinks are stored as symlinks.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<crate::schema::PathFields>))]
    pub paths: Vec<WirePath>,
    /// In which format.
    #[serde(default)]
    pub format: ArchiveFormat,
}
