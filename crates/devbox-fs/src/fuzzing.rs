//! What fuzz targets need of the inside: no part of the interface.

/// A line of a journal: `json` with its checksum.
#[must_use]
pub fn journal_line(json: &[u8]) -> Vec<u8> {
    [&crate::journal::checksum(json)[..], json, b"\n"].concat()
}
