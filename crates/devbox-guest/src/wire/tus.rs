//! What the headers of the tus protocol (version 1.0.0) say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use devbox_types::upload::{ChunkChecksum, UploadRequest, UploadRole, UploadStatus};
use devbox_types::{BoxPath, BoxPathError, Coded, ErrorCode, UploadId};

/// The name in the metadata under which the target's path stands.
const PATH: &str = "path";

/// How an upload says that it is a part.
const PARTIAL: &str = "partial";
/// How an upload begins to say which parts it is joined from.
const FINAL: &str = "final;";

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
    /// What the upload is to become is not said in the form that there is for it.
    #[error(
        "`Upload-Concat` is written `partial`, or `final;` and the addresses of uploads to this box, spaces between them"
    )]
    Concat,
    /// The checksum is not of its form.
    #[error("`Upload-Checksum` is written `sha256 BASE64` or `sha1 BASE64`")]
    Checksum,
}

impl Coded for TusError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Metadata | Self::NoPath | Self::Concat | Self::Checksum => ErrorCode::InvalidRequest,
            Self::MetadataTooLong => ErrorCode::TooLarge,
            Self::Path(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoPath => Some("add the absolute path in the box to the metadata, as `path`".to_owned()),
            Self::Path(error) => error.hint(),
            Self::Metadata | Self::MetadataTooLong | Self::Concat | Self::Checksum => None,
        }
    }
}

/// Reads the target's path from the metadata of an upload, and that the rest is of its form.
///
/// # Errors
/// [`TusError`].
pub fn target_in(metadata: &str) -> Result<BoxPath, TusError> {
    path_in(metadata)?.ok_or(TusError::NoPath)
}

/// The same for metadata that need not say a path.
///
/// # Errors
/// [`TusError`].
pub fn path_in(metadata: &str) -> Result<Option<BoxPath>, TusError> {
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
    Ok(path)
}

/// Reads what an upload is to become.
///
/// A part is named by its address, as `Location` gave it or resolved against whatever the client knows this box under: what is
/// before `uploads/` is not looked at, for an id says nothing but which of *this* box's uploads it is.
///
/// # Errors
/// [`TusError::Concat`].
pub fn role(header: &str) -> Result<UploadRole, TusError> {
    let header = header.trim();
    if header == PARTIAL {
        return Ok(UploadRole::Part);
    }
    let addresses = header.strip_prefix(FINAL).ok_or(TusError::Concat)?;
    // One more than there may be is enough to refuse them.
    let addresses = addresses.split_ascii_whitespace().take(UploadRequest::MAX_PARTS + 1);
    let parts: Vec<UploadId> = addresses.map(part_at).collect::<Result<_, _>>()?;
    if parts.is_empty() { Err(TusError::Concat) } else { Ok(UploadRole::Joined(parts)) }
}

fn part_at(address: &str) -> Result<UploadId, TusError> {
    let path = address.split_once('?').map_or(address, |(path, _)| path);
    let (before, id) = path.rsplit_once('/').unwrap_or(("uploads", path));
    let is_upload = before == "uploads" || before.ends_with("/uploads") || before.is_empty() || before == ".";
    let id = id.parse().ok().filter(|_| is_upload && !address.contains('#'));
    id.ok_or(TusError::Concat)
}

/// Writes what an upload is to become, with addresses relative to its own; nothing for a file of its own.
#[must_use]
pub fn role_header(role: &UploadRole) -> Option<String> {
    match role {
        UploadRole::File => None,
        UploadRole::Part => Some(PARTIAL.to_owned()),
        UploadRole::Joined(parts) => {
            let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
            Some(format!("{FINAL}{}", parts.join(" ")))
        }
    }
}

/// The role of an upload, as its status tells it.
#[must_use]
pub fn role_of(status: &UploadStatus) -> UploadRole {
    match (status.part, &status.parts[..]) {
        (true, _) => UploadRole::Part,
        (false, []) => UploadRole::File,
        (false, parts) => UploadRole::Joined(parts.to_vec()),
    }
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
    fn parts_are_named_by_their_addresses() {
        let (one, other) = (UploadId::from_random([1; 10]), UploadId::from_random([2; 10]));
        let joined = UploadRole::Joined(vec![one.clone(), other.clone()]);
        for header in [
            format!(
                "final;https://host:1/v1/devboxes/name/uploads/{one} /v1/devboxes/ID/uploads/{other}?user=root"
            ),
            format!("final; uploads/{one}  {other}"),
            format!("final;./{one} /{other}"),
        ] {
            assert_eq!(role(&header), Ok(joined.clone()), "{header}");
        }
        assert_eq!(role(" partial"), Ok(UploadRole::Part));
        for given in [UploadRole::Part, joined] {
            assert_eq!(role(&role_header(&given).expect("a header")), Ok(given));
        }
        assert_eq!(role_header(&UploadRole::File), None);
    }

    #[test]
    fn attack_parts_that_are_none() {
        let id = UploadId::from_random([1; 10]);
        for wrong in [
            "".to_owned(),
            "final".to_owned(),
            "final;".to_owned(),
            "final; ".to_owned(),
            "Partial".to_owned(),
            "partial;x".to_owned(),
            format!("final,{id}"),
            format!("final;uploads/{id}/"),
            format!("final;files/{id}"),
            format!("final;../{id}"),
            format!("final;uploads/{id}#x"),
            format!("final;uploads/..%2f{id}"),
            format!("final;uploads/{id} uploads/{id}x"),
            format!("final;uploads/{id}\0"),
        ] {
            assert_eq!(role(&wrong), Err(TusError::Concat), "{wrong}");
        }
        // A list without an end is not read to its end.
        let many = format!("final;{}", format!("{id} ").repeat(100_000));
        let Ok(UploadRole::Joined(parts)) = role(&many) else { panic!("a list") };
        assert_eq!(parts.len(), UploadRequest::MAX_PARTS + 1);
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
