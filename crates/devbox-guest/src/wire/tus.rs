//! What the headers of the tus protocol (version 1.0.0) say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use devbox_types::upload::{ChunkChecksum, UploadRequest};
use devbox_types::{BoxPath, BoxPathError, Coded, ErrorCode};

/// The name in the metadata under which the target's path stands.
const PATH: &str = "path";

/// Why a header of the protocol cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TusError {
    /// The metadata is not of its form.
    #[error("`Upload-Metadata` is a list of names, each with a value in base64, without a name twice")]
    Metadata,
    /// It is longer than is kept.
    #[error("`Upload-Metadata` has more than {} bytes", UploadRequest::MAX_METADATA)]
    MetadataTooLong,
    /// It does not say where the file goes.
    #[error("`Upload-Metadata` has no `path`")]
    NoPath,
    /// The path is none.
    #[error("the `path` in `Upload-Metadata`: {0}")]
    Path(BoxPathError),
    /// The checksum is not of its form.
    #[error("`Upload-Checksum` is written `sha256 BASE64` or `sha1 BASE64`")]
    Checksum,
}

impl Coded for TusError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Metadata | Self::NoPath | Self::Checksum => ErrorCode::InvalidRequest,
            Self::MetadataTooLong => ErrorCode::TooLarge,
            Self::Path(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoPath => Some("add the absolute path in the box to the metadata, as `path`".to_owned()),
            Self::Path(error) => error.hint(),
            Self::Metadata | Self::MetadataTooLong | Self::Checksum => None,
        }
    }
}

/// Reads the target's path from the metadata of an upload, and that the rest is of its form.
///
/// # Errors
/// [`TusError`].
pub fn target_in(metadata: &str) -> Result<BoxPath, TusError> {
    if metadata.len() > UploadRequest::MAX_METADATA {
        return Err(TusError::MetadataTooLong);
    }
    let mut path = None;
    let mut names = Vec::new();
    for pair in metadata.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once(' ').unwrap_or((pair, ""));
        let value = BASE64.decode(value.trim()).map_err(|_| TusError::Metadata)?;
        let plain = name.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain || names.contains(&name) {
            return Err(TusError::Metadata);
        }
        names.push(name);
        if name == PATH {
            path = Some(BoxPath::parse(&value).map_err(TusError::Path)?);
        }
    }
    path.ok_or(TusError::NoPath)
}

/// Writes the metadata of an upload to `path`.
#[must_use]
pub fn metadata_for(path: &BoxPath) -> String {
    let mut absolute = vec![b'/'];
    absolute.extend_from_slice(path.as_bytes());
    format!("{PATH} {}", BASE64.encode(absolute))
}

/// Reads the checksum of a piece.
///
/// # Errors
/// [`TusError::Checksum`]: what cannot be checked is refused, not ignored.
pub fn checksum(header: &str) -> Result<ChunkChecksum, TusError> {
    let (algorithm, value) = header.trim().split_once(' ').ok_or(TusError::Checksum)?;
    let bytes = BASE64.decode(value.trim()).map_err(|_| TusError::Checksum)?;
    match algorithm {
        "sha1" => bytes.try_into().map(ChunkChecksum::Sha1).map_err(|_| TusError::Checksum),
        "sha256" => bytes.try_into().map(ChunkChecksum::Sha256).map_err(|_| TusError::Checksum),
        _ => Err(TusError::Checksum),
    }
}

/// Writes the checksum of a piece.
#[must_use]
pub fn checksum_header(checksum: &ChunkChecksum) -> String {
    match checksum {
        ChunkChecksum::Sha1(digest) => format!("sha1 {}", BASE64.encode(digest)),
        ChunkChecksum::Sha256(digest) => format!("sha256 {}", BASE64.encode(digest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_found_among_other_metadata() {
        let path = BoxPath::parse(b"/workspace/\xff a").expect("a path");
        let metadata = format!("filename YQ==,{} , is_confidential", metadata_for(&path));
        assert_eq!(target_in(&metadata), Ok(path));
    }

    #[test]
    fn metadata_that_is_not_of_its_form_is_refused() {
        assert_eq!(target_in("filename YQ=="), Err(TusError::NoPath));
        assert_eq!(target_in("path L2E=,path L2I="), Err(TusError::Metadata));
        assert_eq!(target_in("path ?"), Err(TusError::Metadata));
        assert!(matches!(target_in("path Li4vYQ=="), Err(TusError::Path(_))));
        assert_eq!(target_in(&"a".repeat(9000)), Err(TusError::MetadataTooLong));
    }

    #[test]
    fn a_checksum_survives_the_header() {
        for sum in [ChunkChecksum::Sha1([1; 20]), ChunkChecksum::Sha256([2; 32])] {
            assert_eq!(checksum(&checksum_header(&sum)), Ok(sum));
        }
        for wrong in ["", "md5 AAAA", "sha1 AAAA", "sha256", "sha256 !"] {
            assert_eq!(checksum(wrong), Err(TusError::Checksum), "{wrong}");
        }
    }
}
