//! Many files as one stream, out and in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::path::{BoxPath, WirePath};

/// The formats that archives have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ArchiveFormat {
    /// PKWARE's zip, deflated, with Unix modes, times and symlinks.
    #[default]
    #[serde(rename = "zip")]
    Zip,
    /// POSIX tar (pax), with hard links and `user.*` extended attributes too.
    #[serde(rename = "tar")]
    Tar,
    /// The same, through gzip.
    #[serde(rename = "tar.gz")]
    TarGz,
    /// The same, through Zstandard.
    #[serde(rename = "tar.zst")]
    TarZst,
}

impl ArchiveFormat {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Zip, Self::Tar, Self::TarGz, Self::TarZst];

    /// The media type of such a stream.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Zip => "application/zip",
            Self::Tar => "application/x-tar",
            Self::TarGz => "application/gzip",
            Self::TarZst => "application/zstd",
        }
    }

    /// Its name on the wire, which is also how file names end.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zip => "zip",
            Self::Tar => "tar",
            Self::TarGz => "tar.gz",
            Self::TarZst => "tar.zst",
        }
    }
}

impl fmt::Display for ArchiveFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// There is no such format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an archive is zip, tar, tar.gz or tar.zst")]
pub struct NoSuchFormat;

impl FromStr for ArchiveFormat {
    type Err = NoSuchFormat;

    fn from_str(text: &str) -> Result<Self, NoSuchFormat> {
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or(NoSuchFormat)
    }
}

/// The body of `POST /archive`: what to stream out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ArchiveRequest {
    /// Files and directories; directories with all they hold. Symlinks are stored as symlinks.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<crate::schema::PathFields>))]
    pub paths: Vec<WirePath>,
    /// In which format.
    #[serde(default)]
    pub format: ArchiveFormat,
    /// If there are any: only what one of these patterns matches, with all that is below it. Patterns are those of
    /// gitignore(5), seen from each chosen directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// What these patterns match is left out, with all that is below it. The last one that matches decides; `!` takes back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Leaves out what the `.gitignore` files in the chosen directories and below say, and `.git` itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gitignore: bool,
}

impl ArchiveRequest {
    /// The most paths that one request chooses: as many as a batch has files. Whoever wants more names their directory.
    pub const MAX_PATHS: usize = 10_000;

    /// All that these paths hold.
    #[must_use]
    pub fn of(paths: Vec<WirePath>, format: ArchiveFormat) -> Self {
        Self { paths, format, ..Self::default() }
    }
}

/// What is to become of an archive that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackRequest {
    /// The directory that its names start from. Nothing leads out of it.
    pub directory: BoxPath,
    /// In which format it is.
    pub format: ArchiveFormat,
    /// How many leading segments its names lose; what has no more is left out.
    pub strip: u32,
    /// Makes the directory if it is missing.
    pub make_parents: bool,
}

impl UnpackRequest {
    /// All of an archive, into a directory that is there.
    #[must_use]
    pub fn into(directory: BoxPath, format: ArchiveFormat) -> Self {
        Self { directory, format, strip: 0, make_parents: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_written_as_it_is_called() {
        for format in ArchiveFormat::ALL {
            assert_eq!(serde_json::to_string(&format).expect("json"), format!("\"{format}\""));
            assert_eq!(format.as_str().parse(), Ok(format));
        }
        assert_eq!("rar".parse::<ArchiveFormat>(), Err(NoSuchFormat));
    }
}
