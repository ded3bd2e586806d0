//! Reading and writing whole files and ranges.

use serde::{Deserialize, Serialize};

use crate::digest::{DigestAlgorithm, Digests};
use crate::entry::Entry;
use crate::etag::{Etag, WriteCondition};
use crate::path::BoxPath;
use crate::time::Timestamp;

/// Which bytes of a file are wanted (RFC 9110 section 14.1.2; one range a request).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ByteRange {
    /// All of them.
    #[default]
    Whole,
    /// From `first` to `last`, both included; without `last`, to the end.
    FromTo {
        /// The first byte.
        first: u64,
        /// The last byte, if not the file's.
        last: Option<u64>,
    },
    /// The last so many bytes.
    Suffix {
        /// How many.
        length: u64,
    },
}

impl ByteRange {
    /// Reads a `Range` header. What is not a single `bytes` range asks for the whole file, as the RFC allows.
    #[must_use]
    pub fn from_header(header: &str) -> Self {
        Self::parse(header).unwrap_or_default()
    }

    fn parse(header: &str) -> Option<Self> {
        let (first, last) = header.trim().strip_prefix("bytes=")?.split_once('-')?;
        let number =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        match (first.trim(), last.trim()) {
            ("", length) => Some(Self::Suffix { length: number(length)? }),
            (first, "") => Some(Self::FromTo { first: number(first)?, last: None }),
            (first, last) => {
                let (first, last): (u64, u64) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::FromTo { first, last: Some(last) })
            }
        }
    }

    /// The offset and length that this is in a file of `size` bytes; `None`: no byte of the file is in it.
    #[must_use]
    pub fn within(self, size: u64) -> Option<(u64, u64)> {
        match self {
            Self::Whole => Some((0, size)),
            Self::FromTo { first, .. } if first >= size => None,
            Self::FromTo { first, last } => {
                let end = last.map_or(size, |last| last.saturating_add(1).min(size));
                Some((first, end - first))
            }
            Self::Suffix { length } if length == 0 || size == 0 => None,
            Self::Suffix { length } => Some((size.saturating_sub(length), length.min(size))),
        }
    }
}

/// Which file to read, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRequest {
    /// The file. A final symlink is followed.
    pub path: BoxPath,
    /// Which bytes.
    pub range: ByteRange,
    /// Answer "not modified" if the file is one of these versions.
    pub if_none_match: Vec<Etag>,
    /// Honour `range` only if the file is still this version, else answer the whole (RFC 9110 section 13.1.5).
    pub if_range: Option<Etag>,
    /// Only metadata: the content stream is empty (HEAD).
    pub head: bool,
    /// A digest of the whole file that is wanted in the head, whatever the range: the file is read once more for it.
    pub want_digest: Option<DigestAlgorithm>,
}

impl ReadRequest {
    /// All bytes of the file at `path`.
    #[must_use]
    pub fn whole(path: BoxPath) -> Self {
        Self {
            path,
            range: ByteRange::Whole,
            if_none_match: Vec::new(),
            if_range: None,
            head: false,
            want_digest: None,
        }
    }
}

/// What a read found, before its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHead {
    /// The file as the open descriptor has it; the bytes are of this version.
    pub entry: Entry,
    /// The first byte that follows.
    pub offset: u64,
    /// How many bytes follow.
    pub length: u64,
    /// Whether a range was asked for and honoured.
    pub partial: bool,
    /// Whether `if_none_match` held, so that nothing follows.
    pub not_modified: bool,
    /// The digest of the whole file, if one was wanted. A guest that is older than the wish gives none.
    pub digests: Digests,
}

/// How safe against power loss an acknowledged write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Against the death of any process.
    #[default]
    Process,
    /// Against power loss: file and directory are synced first.
    Power,
}

/// Where and how to write a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteRequest {
    /// The file. A final symlink is followed unless `nofollow`.
    pub path: BoxPath,
    /// What must hold of the target, else `precondition_failed`.
    pub condition: WriteCondition,
    /// Permission bits of the file; `None`: those of the file it replaces, or 0o666 less the umask 022.
    pub mode: Option<u32>,
    /// Modification time; `None`: now.
    pub modified: Option<Timestamp>,
    /// Make missing directories on the way, 0o777 less the umask, owned by the acting user.
    pub make_parents: bool,
    /// Replace a final symlink itself instead of what it points to.
    pub nofollow: bool,
    /// Write into the file that is there, which keeps its inode, instead of replacing it: its other names and whoever has it
    /// open see the new bytes. Nothing is atomic then: a write that fails leaves what was written of it.
    pub in_place: bool,
    /// Read the stored bytes back and compare them before they are published, else `verify_failed`. Not with `in_place`.
    pub verify: bool,
    /// How safe the write is when it is acknowledged.
    pub durability: Durability,
    /// How many bytes will come, if known: disk space is asked for first, and fewer bytes are `interrupted`.
    pub length: Option<u64>,
    /// The digests that the stored bytes must have, all of them, else `digest_mismatch` and the old file stays.
    pub digests: Digests,
}

impl WriteRequest {
    /// Creates or replaces the file at `path`, without conditions.
    #[must_use]
    pub fn to(path: BoxPath) -> Self {
        Self {
            path,
            condition: WriteCondition::None,
            mode: None,
            modified: None,
            make_parents: false,
            nofollow: false,
            in_place: false,
            verify: false,
            durability: Durability::Process,
            length: None,
            digests: Digests::default(),
        }
    }
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Written {
    /// The file as it now is.
    pub entry: Entry,
    /// Whether there was none before.
    pub created: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_fitted_to_the_file() {
        let cases = [
            ("bytes=0-3", 10, Some((0, 4))),
            ("bytes=8-", 10, Some((8, 2))),
            ("bytes=8-99", 10, Some((8, 2))),
            ("bytes=-3", 10, Some((7, 3))),
            ("bytes=-99", 10, Some((0, 10))),
            ("bytes=10-", 10, None),
            ("bytes=-0", 10, None),
            ("bytes=0-", 0, None),
            ("bytes=0-18446744073709551615", 10, Some((0, 10))),
        ];
        for (header, size, expected) in cases {
            assert_eq!(ByteRange::from_header(header).within(size), expected, "{header}");
        }
    }

    #[test]
    fn what_is_no_single_range_asks_for_the_whole() {
        for header in ["bytes=3-1", "bytes=a-b", "bytes=0-1,3-4", "lines=1-2", "bytes=+1-2", ""] {
            assert_eq!(ByteRange::from_header(header), ByteRange::Whole, "{header}");
        }
    }
}
