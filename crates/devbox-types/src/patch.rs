//! Changing a part of a file.

use crate::digest::Digests;
use crate::etag::WriteCondition;
use crate::file::Durability;
use crate::path::BoxPath;

/// Where the bytes of a patch go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchPlace {
    /// From this offset on. Beyond the end of the file, a hole is left between.
    Offset(u64),
    /// After the last byte, wherever that is when they are written.
    End,
}

/// Which bytes of a file to change, and how.
///
/// Unless `atomic`, the file itself is written to, piece by piece: readers see it happen, and what was written before a
/// failure stays. The answer to a failure then says what stands ([`crate::problem::Stands`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchRequest {
    /// The file. A final symlink is followed unless `nofollow`.
    pub path: BoxPath,
    /// Where the bytes go.
    pub place: PatchPlace,
    /// Cut or extend the file to this size first.
    pub truncate: Option<u64>,
    /// The size that the file must have once the bytes are there, else `precondition_failed` and nothing is written.
    pub size_after: Option<u64>,
    /// What must hold of the file, else `precondition_failed`.
    pub condition: WriteCondition,
    /// Make the file, empty, if it is missing; else that is `not_found`.
    pub create: bool,
    /// Change a copy and publish that, as a replace: readers see the old bytes or the new.
    pub atomic: bool,
    /// Read the written bytes back and compare them before they are published; only with `atomic`.
    pub verify: bool,
    /// Refuse a final symlink instead of following it.
    pub nofollow: bool,
    /// How safe the change is when it is acknowledged.
    pub durability: Durability,
    /// How many bytes will come, if known.
    pub length: Option<u64>,
    /// What the bytes that come must hash to. Content that comes at once, and that of an `atomic` patch, is compared before
    /// the file changes; a longer one after it has been written.
    pub digests: Digests,
}

impl PatchRequest {
    /// Writes at a place of the file at `path`, without conditions.
    #[must_use]
    pub fn at(path: BoxPath, place: PatchPlace) -> Self {
        Self {
            path,
            place,
            truncate: None,
            size_after: None,
            condition: WriteCondition::None,
            create: false,
            atomic: false,
            verify: false,
            nofollow: false,
            durability: Durability::Process,
            length: None,
            digests: Digests::default(),
        }
    }

    /// Cuts or extends the file at `path` to a size, and writes nothing.
    #[must_use]
    pub fn truncation(path: BoxPath, size: u64) -> Self {
        Self { truncate: Some(size), length: Some(0), ..Self::at(path, PatchPlace::End) }
    }
}

/// What a `Content-Range` header says of the content of a request (RFC 9110 section 14.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte.
    pub first: u64,
    /// How many bytes.
    pub length: u64,
    /// The size of the whole, if given.
    pub total: Option<u64>,
}

/// A text is not a `Content-Range` that content can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a Content-Range is written `bytes FIRST-LAST/*` or `bytes FIRST-LAST/TOTAL`, FIRST not beyond LAST, LAST below TOTAL"
)]
pub struct ContentRangeError;

impl ContentRange {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ContentRangeError`], also for a range that contradicts itself or that no 64-bit length describes.
    pub fn parse(header: &str) -> Result<Self, ContentRangeError> {
        let parsed = || {
            let (range, total) = header.trim().strip_prefix("bytes ")?.trim().split_once('/')?;
            let (first, last) = range.split_once('-')?;
            let (first, last) = (number(first)?, number(last)?);
            let total = match total {
                "*" => None,
                total => Some(number(total)?),
            };
            let length = last.checked_sub(first)?.checked_add(1)?;
            let fits = total.is_none_or(|total| last < total);
            fits.then_some(Self { first, length, total })
        };
        parsed().ok_or(ContentRangeError)
    }
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let range = |first, length, total| Ok(ContentRange { first, length, total });
        assert_eq!(ContentRange::parse("bytes 0-0/*"), range(0, 1, None));
        assert_eq!(ContentRange::parse("bytes 5-9/10"), range(5, 5, Some(10)));
        assert_eq!(
            ContentRange::parse("bytes 18446744073709551615-18446744073709551615/*"),
            range(u64::MAX, 1, None)
        );
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for header in [
            "",
            "bytes",
            "bytes */10",
            "bytes 5-4/*",
            "bytes 0-9/9",
            "bytes 0-18446744073709551615/*",
            "bytes 0-18446744073709551616/*",
            "bytes +1-2/*",
            "bytes -1/*",
            "bytes 0-/*",
            "lines 0-1/*",
            "bytes=0-1/*",
            "bytes 0-1",
            "bytes 0-1/**",
        ] {
            assert_eq!(ContentRange::parse(header), Err(ContentRangeError), "{header:?}");
        }
    }
}
