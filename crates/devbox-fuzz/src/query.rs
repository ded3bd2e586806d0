//! Queries.

use devbox_guest::wire::query::{Query, TargetWriter};
use devbox_types::file::WriteRequest;
use devbox_types::{BoxPath, Timestamp};

/// Reads a query, takes everything out of it that calls take, and writes what was read.
///
/// # Panics
/// If a write's options do not survive the target, or something was left out in silence.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(mut query) = Query::parse(Some(text)) else { return };
    let _ = query.take_parsed::<Timestamp>("since");
    let _ = query.take_flag("recursive");
    let path = BoxPath::root();
    if let Ok(request) = query.take_write_options(path.clone()) {
        assert!(request.mode.is_none_or(|mode| mode <= 0o7777));
        check(&request);
    }
    if query.finish().is_ok() {
        // All was understood, so there is nothing but what was asked for.
        let known = [
            "since",
            "recursive",
            "mode",
            "mtime",
            "parents",
            "nofollow",
            "sync",
            "inplace",
            "verify",
            "in_place",
        ];
        for pair in text.split('&').filter(|pair| !pair.is_empty() && !pair.contains('%')) {
            let name = pair.split('=').next().unwrap_or_default();
            assert!(known.contains(&name), "{name:?} was left out in silence");
        }
    }
}

fn check(request: &WriteRequest) {
    let mut writer = TargetWriter::new("/files/".to_owned());
    writer.write_options(request);
    let target = writer.finish();
    let mut again = Query::parse(target.split_once('?').map(|(_, query)| query)).expect("our own query");
    assert_eq!(again.take_write_options(request.path.clone()).as_ref(), Ok(request));
    assert_eq!(again.finish(), Ok(()));
}

/// Queries of writes.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    [
        "mode=0755&mtime=2026-01-01T00:00:00Z&parents=true&nofollow&sync=1",
        "recursive=false&since=1970-01-01T01:00:00%2B01:00",
        "mode=%30%37%37&a=1",
        "&&parents=&a=%ff",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
