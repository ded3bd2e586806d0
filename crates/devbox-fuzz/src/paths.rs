//! Paths of boxes.

use devbox_types::{BoxPath, WirePath};

/// Reads bytes as a path, and as a request target.
///
/// # Panics
/// If a path holds what no path may hold, or does not survive being written.
pub fn paths(data: &[u8]) {
    if let Ok(path) = BoxPath::parse(data) {
        check(&path);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (target, other) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(path) = BoxPath::parse_target(target) else { return };
    check(&path);
    if let Ok(other) = BoxPath::parse_target(other) {
        let ours: Vec<_> = path.segments().collect();
        let theirs: Vec<_> = other.segments().collect();
        assert_eq!(path.is_within(&other), ours.starts_with(&theirs), "{path:?} within {other:?}");
    }
}

fn check(path: &BoxPath) {
    assert!(path.as_bytes().len() <= BoxPath::MAX_LENGTH);
    for name in path.segments() {
        assert!((1..=BoxPath::MAX_NAME_LENGTH).contains(&name.len()));
        assert!(!matches!(name, b"." | b"..") && !name.iter().any(|byte| matches!(byte, 0 | b'/')));
    }
    let target = path.to_target();
    assert!(target.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#')), "{target}");
    assert_eq!(BoxPath::parse_target(&target).as_ref(), Ok(path));
    let json = serde_json::to_vec(&WirePath(path.clone())).expect("json");
    assert_eq!(serde_json::from_slice::<WirePath>(&json).expect("a path").0, *path);
    assert!(path.is_within(&BoxPath::root()) && path.is_within(path));
    if let (Some(parent), Some(name)) = (path.parent(), path.name()) {
        let joined = parent.join(name).expect("a path");
        assert_eq!(joined.as_bytes(), path.as_bytes());
        assert!(path.is_within(&parent) && !parent.is_within(path));
    }
}

/// Paths that are none, and some that are.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [
        &b"/workspace/main.py"[..],
        b"/a%20b/%2e%2e/..%2f",
        b"//a/./b//\n/a",
        b"/%252e%252e/%ff",
        b"../../etc",
        b"/workspace-evil\n/workspace",
        b"a\0b",
        b"%",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    seeds.push([b"/", &[b'n'; 255][..]].concat());
    seeds.push(b"ab/".repeat(1400));
    seeds
}
