//! Paths inside a box.
//!
//! A [`BoxPath`] is bytes, relative to the root a caller sees, without `.`, `..`, empty segments or NUL. Only
//! `devbox-fs` turns one into a descriptor. It comes from a raw request target ([`BoxPath::parse_target`]) or from
//! bytes ([`BoxPath::parse`]); on the wire it is a [`WirePath`].

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::error::{Coded, ErrorCode};

/// Why bytes are not a path inside a box.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BoxPathError {
    /// A segment is `..`.
    #[error("a path may not contain a `..` segment")]
    ParentSegment,
    /// A byte is NUL.
    #[error("a path may not contain a NUL byte")]
    Nul,
    /// A segment decodes to bytes with a `/` in them.
    #[error("a percent-encoded `/` is not allowed inside a name")]
    EncodedSlash,
    /// A `%` is not followed by two hexadecimal digits.
    #[error("`%` must be followed by two hexadecimal digits")]
    BadEscape,
    /// The path is longer than Linux's PATH_MAX.
    #[error("a path may have at most {} bytes", BoxPath::MAX_LENGTH)]
    TooLong,
    /// A segment is longer than Linux's NAME_MAX.
    #[error("a name may have at most {} bytes", BoxPath::MAX_NAME_LENGTH)]
    NameTooLong,
    /// `path_b64` is not base64.
    #[error("`path_b64` is not valid base64")]
    BadBase64,
    /// Neither `path` nor `path_b64`, or both.
    #[error("give exactly one of `path` and `path_b64`")]
    NotExactlyOne,
}

impl Coded for BoxPathError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::TooLong | Self::NameTooLong => ErrorCode::NameTooLong,
            Self::ParentSegment
            | Self::Nul
            | Self::EncodedSlash
            | Self::BadEscape
            | Self::BadBase64
            | Self::NotExactlyOne => ErrorCode::InvalidPath,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::ParentSegment => Some("send the path with `..` already resolved".to_owned()),
            Self::EncodedSlash => Some("separate names with a plain `/`".to_owned()),
            Self::BadEscape => Some("write a literal `%` as `%25`".to_owned()),
            Self::Nul | Self::TooLong | Self::NameTooLong | Self::BadBase64 | Self::NotExactlyOne => None,
        }
    }
}

/// A path inside a box, relative to the root its caller may see.
///
/// Bytes without NUL; segments joined by single `/`, none of them empty, `.` or `..`. Empty is the root itself.
/// A path written with a trailing `/` demands a directory, and remembers it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BoxPath {
    bytes: Vec<u8>,
    wants_directory: bool,
}

impl BoxPath {
    /// Linux's PATH_MAX without the final NUL; what is longer is refused before any file is touched.
    pub const MAX_LENGTH: usize = 4095;
    /// Linux's NAME_MAX.
    pub const MAX_NAME_LENGTH: usize = 255;

    /// The root that the caller sees.
    #[must_use]
    pub fn root() -> Self {
        Self { bytes: Vec::new(), wants_directory: true }
    }

    /// Parses raw bytes, as they come in JSON, archives or on a command line. A leading `/` means the root.
    ///
    /// # Errors
    /// [`BoxPathError`], one variant per reason.
    pub fn parse(raw: &[u8]) -> Result<Self, BoxPathError> {
        Self::from_segments(
            raw.len(),
            raw.split(|byte| *byte == b'/').map(|segment| Ok(Cow::Borrowed(segment))),
        )
    }

    /// Parses what follows `/files` or `/entries` in a raw request target, still percent-encoded and without query.
    ///
    /// It is split at `/` first, then each segment is decoded once; so `%2F` cannot separate and `%252e` stays `%2e`.
    ///
    /// # Errors
    /// [`BoxPathError`], one variant per reason.
    pub fn parse_target(raw: &str) -> Result<Self, BoxPathError> {
        Self::from_segments(raw.len(), raw.split('/').map(|segment| percent_decode(segment.as_bytes())))
    }

    /// Puts a path together that has at most `length` bytes.
    fn from_segments<'a>(
        length: usize,
        segments: impl Iterator<Item = Result<Cow<'a, [u8]>, BoxPathError>>,
    ) -> Result<Self, BoxPathError> {
        let mut bytes = Vec::with_capacity(length.min(Self::MAX_LENGTH));
        let mut wants_directory = false;
        for segment in segments {
            let segment = segment?;
            wants_directory = matches!(&segment[..], b"" | b".");
            if wants_directory {
                continue;
            }
            check_segment(&segment)?;
            if !bytes.is_empty() {
                bytes.push(b'/');
            }
            bytes.extend_from_slice(&segment);
        }
        if bytes.len() > Self::MAX_LENGTH {
            return Err(BoxPathError::TooLong);
        }
        let wants_directory = wants_directory || bytes.is_empty();
        Ok(Self { bytes, wants_directory })
    }

    /// The bytes, without a leading or trailing `/`; empty for the root.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether this is the root itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the path was written so that only a directory will do (`logs/`, or the root).
    #[must_use]
    pub fn wants_directory(&self) -> bool {
        self.wants_directory
    }

    /// The names on the way, outermost first.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty())
    }

    /// The last name; `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        self.split_last().map(|(_, name)| name)
    }

    /// The directory that holds the last name; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.split_last().map(|(parent, _)| Self { bytes: parent.to_vec(), wants_directory: true })
    }

    fn split_last(&self) -> Option<(&[u8], &[u8])> {
        if self.is_root() {
            return None;
        }
        match self.bytes.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => Some((&self.bytes[..slash], &self.bytes[slash + 1..])),
            None => Some((&[], &self.bytes)),
        }
    }

    /// The path of `name` inside this directory.
    ///
    /// # Errors
    /// [`BoxPathError`] if `name` is not one name, or the whole grows too long.
    pub fn join(&self, name: &[u8]) -> Result<Self, BoxPathError> {
        if name.contains(&b'/') {
            return Err(BoxPathError::EncodedSlash);
        }
        let mut bytes = self.bytes.clone();
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Self::parse(&bytes)
    }

    /// Whether this path is `other` or lies below it, name by name: `/a/bc` is not below `/a/b`.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        match self.bytes.strip_prefix(&other.bytes[..]) {
            Some(rest) => rest.is_empty() || other.is_root() || rest[0] == b'/',
            None => false,
        }
    }

    /// The path as a request target writes it: absolute, every byte outside RFC 3986's unreserved set escaped.
    #[must_use]
    pub fn to_target(&self) -> String {
        let mut target = String::with_capacity(self.bytes.len() + 2);
        for segment in self.segments() {
            target.push('/');
            for byte in segment {
                percent_encode(*byte, &mut target);
            }
        }
        if self.wants_directory {
            target.push('/');
        }
        target
    }
}

impl Default for BoxPath {
    fn default() -> Self {
        Self::root()
    }
}

/// As a person reads it: absolute, with bytes that are not UTF-8 shown as replacement characters.
impl fmt::Display for BoxPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "/{}", String::from_utf8_lossy(&self.bytes))
    }
}

impl fmt::Debug for BoxPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"/{}\"", self.bytes.escape_ascii())
    }
}

fn check_segment(segment: &[u8]) -> Result<(), BoxPathError> {
    match segment {
        b".." => Err(BoxPathError::ParentSegment),
        _ if segment.contains(&0) => Err(BoxPathError::Nul),
        _ if segment.contains(&b'/') => Err(BoxPathError::EncodedSlash),
        _ if segment.len() > BoxPath::MAX_NAME_LENGTH => Err(BoxPathError::NameTooLong),
        _ => Ok(()),
    }
}

fn percent_decode(segment: &[u8]) -> Result<Cow<'_, [u8]>, BoxPathError> {
    if !segment.contains(&b'%') {
        return Ok(Cow::Borrowed(segment));
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digit = |digit: Option<&u8>| digit.and_then(|digit| char::from(*digit).to_digit(16));
        let pair = (digit(rest.next()), digit(rest.next()));
        let (Some(high), Some(low)) = pair else { return Err(BoxPathError::BadEscape) };
        bytes.push(u8::try_from(high << 4 | low).map_err(|_| BoxPathError::BadEscape)?);
    }
    Ok(Cow::Owned(bytes))
}

fn percent_encode(byte: u8, target: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        target.push(char::from(byte));
    } else {
        target.push('%');
        target.push(char::from(DIGITS[usize::from(byte >> 4)]));
        target.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// A path in JSON: `{"path": "/workspace/a"}`, or `{"path_b64": "..."}` where the bytes are not UTF-8.
///
/// It is flattened into the object that has it. Reading accepts either field, writing prefers `path`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "PathFields", into = "PathFields")]
pub struct WirePath(pub BoxPath);

#[derive(Serialize, Deserialize)]
struct PathFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_b64: Option<String>,
}

impl WirePath {
    pub(crate) fn from_fields(path: Option<&str>, path_b64: Option<&str>) -> Result<Self, BoxPathError> {
        match (path, path_b64) {
            (Some(path), None) => BoxPath::parse(path.as_bytes()).map(Self),
            (None, Some(encoded)) => {
                let bytes = BASE64.decode(encoded).map_err(|_| BoxPathError::BadBase64)?;
                BoxPath::parse(&bytes).map(Self)
            }
            _ => Err(BoxPathError::NotExactlyOne),
        }
    }
}

impl TryFrom<PathFields> for WirePath {
    type Error = BoxPathError;

    fn try_from(fields: PathFields) -> Result<Self, BoxPathError> {
        Self::from_fields(fields.path.as_deref(), fields.path_b64.as_deref())
    }
}

impl From<WirePath> for PathFields {
    fn from(WirePath(path): WirePath) -> Self {
        let mut bytes = Vec::with_capacity(path.bytes.len() + 2);
        bytes.push(b'/');
        bytes.extend_from_slice(&path.bytes);
        if path.wants_directory && !path.is_root() {
            bytes.push(b'/');
        }
        match String::from_utf8(bytes) {
            Ok(path) => Self { path: Some(path), path_b64: None },
            Err(error) => Self { path: None, path_b64: Some(BASE64.encode(error.into_bytes())) },
        }
    }
}

impl From<BoxPath> for WirePath {
    fn from(path: BoxPath) -> Self {
        Self(path)
    }
}

/// A path as one JSON string or `{"b64": "..."}`, where an object has several paths (`from`, `to`).
pub mod text {
    use serde::de::Error as _;
    use serde::{Deserializer, Serializer};

    use super::BoxPath;
    use crate::bytes_text;

    /// Writes a path.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(path: &BoxPath, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = vec![b'/'];
        bytes.extend_from_slice(path.as_bytes());
        if path.wants_directory() && !path.is_root() {
            bytes.push(b'/');
        }
        bytes_text::serialize(&bytes, serializer)
    }

    /// Reads a path.
    ///
    /// # Errors
    /// The deserializer's own, and whatever makes the bytes no [`BoxPath`].
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BoxPath, D::Error> {
        BoxPath::parse(&bytes_text::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_target_is_split_before_it_is_decoded() {
        assert_eq!(
            BoxPath::parse_target("/a/b%20c").map(|path| path.as_bytes().to_vec()),
            Ok(b"a/b c".to_vec())
        );
        assert_eq!(BoxPath::parse_target("/a%2Fb"), Err(BoxPathError::EncodedSlash));
        assert_eq!(BoxPath::parse_target("/%2e%2e/a"), Err(BoxPathError::ParentSegment));
        assert_eq!(
            BoxPath::parse_target("/%252e%252e").map(|path| path.as_bytes().to_vec()),
            Ok(b"%2e%2e".to_vec())
        );
        for bad in ["/%", "/%4", "/%zz", "/a%4"] {
            assert_eq!(BoxPath::parse_target(bad), Err(BoxPathError::BadEscape), "{bad}");
        }
    }

    #[test]
    fn empty_and_dot_segments_vanish_and_a_trailing_slash_demands_a_directory() {
        let path = BoxPath::parse(b"//a/./b//").expect("a path");
        assert_eq!((path.as_bytes(), path.wants_directory()), (&b"a/b"[..], true));
        assert!(!BoxPath::parse(b"a/b").expect("a path").wants_directory());
        assert_eq!(BoxPath::parse(b"/"), Ok(BoxPath::root()));
    }

    #[test]
    fn lengths_are_those_of_linux() {
        assert!(BoxPath::parse(&[b'a'; 255]).is_ok());
        assert_eq!(BoxPath::parse(&[b'a'; 256]), Err(BoxPathError::NameTooLong));
        assert_eq!(BoxPath::parse(&b"ab/".repeat(1400)), Err(BoxPathError::TooLong));
        assert_eq!(BoxPath::parse(b"a\0b"), Err(BoxPathError::Nul));
    }

    #[test]
    fn a_prefix_ends_at_a_name() {
        let path = |text: &str| BoxPath::parse(text.as_bytes()).expect("a path");
        assert!(path("/workspace/a").is_within(&path("/workspace")));
        assert!(!path("/workspace-evil").is_within(&path("/workspace")));
        assert!(path("/x").is_within(&BoxPath::root()));
    }

    #[test]
    fn a_name_that_is_not_utf8_travels_as_base64() {
        let path = BoxPath::parse(b"/a/\xff").expect("a path");
        let json = serde_json::to_string(&WirePath(path.clone())).expect("json");
        assert_eq!(json, r#"{"path_b64":"L2Ev/w=="}"#);
        assert_eq!(serde_json::from_str::<WirePath>(&json).expect("a path"), WirePath(path));
    }

    proptest! {
        #[test]
        fn a_path_survives_the_request_target_and_json(raw: Vec<u8>) {
            let Ok(path) = BoxPath::parse(&raw) else { return Ok(()) };
            prop_assert_eq!(BoxPath::parse_target(&path.to_target()), Ok(path.clone()));
            let json = serde_json::to_vec(&WirePath(path.clone())).expect("json");
            prop_assert_eq!(serde_json::from_slice::<WirePath>(&json).expect("a path"), WirePath(path));
        }

        #[test]
        fn no_accepted_path_holds_a_parent_segment(raw in "[a./%2e]{0,40}") {
            if let Ok(path) = BoxPath::parse_target(&raw) {
                prop_assert!(path.segments().all(|segment| segment != b".." && segment != b"." && !segment.is_empty()));
            }
        }
    }
}
