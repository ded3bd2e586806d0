//! Values of headers.

use devbox_guest::wire::{digest, tus};
use devbox_types::digest::DigestAlgorithm;
use devbox_types::etag::parse_list;
use devbox_types::file::ByteRange;
use devbox_types::patch::ContentRange;
use devbox_types::upload::{UploadRequest, UploadRole};
use devbox_types::{Etag, Timestamp, WriteCondition};

/// Reads a text as every header that there is.
///
/// # Panics
/// If what was read is out of bounds, or is not read again as it is written.
pub fn headers(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    ranges(first);
    digests(first, second);
    conditions(first, second);
    time(first);
    uploads(first);
}

fn ranges(text: &str) {
    let range = ByteRange::from_header(text);
    for size in [0, 1, 2, 10, 4096, u64::MAX - 1, u64::MAX] {
        if let Some((offset, length)) = range.within(size) {
            assert!(length > 0 || size == 0, "{text}: nothing of {size}");
            assert!(offset.checked_add(length).is_some_and(|end| end <= size), "{text}: beyond {size}");
        }
    }
    let again = match range {
        ByteRange::Whole => None,
        ByteRange::FromTo { first, last: Some(last) } => Some(format!("bytes={first}-{last}")),
        ByteRange::FromTo { first, last: None } => Some(format!("bytes={first}-")),
        ByteRange::Suffix { length } => Some(format!("bytes=-{length}")),
    };
    if let Some(again) = again {
        assert_eq!(ByteRange::from_header(&again), range);
    }
    if let Ok(range) = ContentRange::parse(text) {
        let last = range.first.checked_add(range.length - 1).expect("a last byte");
        assert!(range.length > 0 && range.total.is_none_or(|total| last < total), "{text}: {range:?}");
        let total = range.total.map_or("*".to_owned(), |total| total.to_string());
        assert_eq!(ContentRange::parse(&format!("bytes {}-{last}/{total}", range.first)), Ok(range));
    }
}

fn digests(first: &str, second: &str) {
    let _ = digest::from_content_md5(first);
    let values = [first, second].into_iter().filter(|value| !value.is_empty());
    if let Some(found) = digest::from_headers(values).ok().filter(|found| !found.is_empty()) {
        assert_eq!(digest::from_headers([&*digest::to_header(&found)].into_iter()), Ok(found));
        assert!(found.are_met_by(&found));
    }
    if let Ok(Some(wish)) = digest::preferred([first].into_iter()) {
        assert!(DigestAlgorithm::ALL.contains(&wish));
        assert_eq!(digest::preferred([&*digest::wish_to_header(wish)].into_iter()), Ok(Some(wish)));
    }
}

fn conditions(first: &str, second: &str) {
    if let Ok(tag) = first.parse::<Etag>() {
        assert_eq!(tag.to_string().parse(), Ok(tag.clone()));
        assert!(tag.matches_weakly(&tag) && tag.matches_strongly(&tag) != tag.is_weak());
        assert!(tag.to_string().bytes().all(|byte| byte.is_ascii_graphic()), "{tag}");
    }
    if let Ok(tags) = parse_list(first) {
        assert!(!tags.is_empty() && tags.len() <= WriteCondition::MAX_TAGS);
        let again: Vec<String> = tags.iter().map(ToString::to_string).collect();
        assert_eq!(parse_list(&again.join(", ")), Ok(tags));
    }
    let given = |text: &'_ str| !text.is_empty();
    let _ = WriteCondition::from_headers(Some(first), Some(second).filter(|text| given(text)));
}

fn time(text: &str) {
    if let Ok(time) = text.parse::<Timestamp>() {
        assert_eq!(time.to_string().parse(), Ok(time), "{text}");
        let (seconds, nanoseconds) = time.parts();
        assert_eq!(Timestamp::from_parts(seconds, nanoseconds), time);
    }
}

fn uploads(text: &str) {
    if let Ok(path) = tus::target_in(text) {
        assert!(text.len() <= UploadRequest::MAX_METADATA);
        let again = tus::target_in(&tus::metadata_for(&path)).expect("our own metadata");
        assert_eq!(again.as_bytes(), path.as_bytes());
    }
    if let Ok(sum) = tus::checksum(text) {
        assert_eq!(tus::checksum(&tus::checksum_header(&sum)), Ok(sum));
    }
    if let Ok(role) = tus::role(text) {
        if let UploadRole::Joined(parts) = &role {
            assert!(!parts.is_empty() && parts.len() <= UploadRequest::MAX_PARTS + 1, "{}", parts.len());
        }
        assert_eq!(tus::role_header(&role).map(|header| tus::role(&header)), Some(Ok(role)));
    }
}

/// One of each.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    [
        "bytes=0-99",
        "bytes=5-",
        "bytes=-18446744073709551615",
        "bytes 0-9/10",
        "bytes 5-18446744073709551614/*",
        "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:, md5=:1B2M2Y8AsgTpgAmY7PhCfg==:\nsha-512=:AAAA:",
        "1B2M2Y8AsgTpgAmY7PhCfg==",
        "sha-256=10, md5;q=0",
        "\"11-2a-3\", W/\"x\"\n*",
        "*",
        "2026-01-02T03:04:05.678901234+05:30",
        "-0001-12-31T23:59:60Z",
        "filename YQ==,path L2EvYg==, is_confidential",
        "sha256 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "partial",
        "final;uploads/abcdefghijklmnop https://host/v1/devboxes/x/uploads/abcdefghijklmnop?user=root",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
