//! Names in archives.

use crate::error::ArchiveError;

/// Refuses names that would lead a careless reader elsewhere.
pub(crate) fn check_name(name: &[u8]) -> Result<&[u8], ArchiveError> {
    let reason = if name.is_empty() || name.starts_with(b"/") || name.ends_with(b"/") {
        "it is relative, and names something"
    } else if name.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"" | b"." | b"..")) {
        "its segments are names"
    } else if name.contains(&0) {
        "it has no NUL byte"
    } else if name.len() >= usize::from(u16::MAX) {
        "it has fewer than 65535 bytes"
    } else {
        return Ok(name);
    };
    Err(ArchiveError::BadName { name: text(name), reason })
}

/// A name, as a person reads it.
pub(crate) fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
