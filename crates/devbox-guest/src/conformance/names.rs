//! Any name that Linux allows works, everywhere.

use devbox_types::Problem;
use devbox_types::file::WriteRequest;
use devbox_types::operation::Operation;
use futures_util::stream::{self, StreamExt as _};

use super::ground::Ground;
use crate::body::Body;
use crate::contract::UploadPart;

/// Names that shells, patterns, URLs, headers, forms and JSON each trip over.
fn hard_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        "[id].tsx",
        "*",
        "-x",
        "--",
        "a b",
        " ",
        "line\nbreak",
        "tab\t",
        "%2e%2e",
        "%",
        "%zz",
        "a?b",
        "a#b",
        "a&b=c",
        "a;b",
        "\"quoted\"",
        "'",
        "back\\slash",
        "~",
        "$HOME",
        "...",
        ".hidden",
        "ümläut",
        "🦀",
        "a\u{301}",
        "\u{7f}",
        "+",
        ":",
        "@",
        "{}",
        "con",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .collect();
    names.extend([b"\xff\xfe".to_vec(), b"caf\xe9".to_vec(), b"\x01\x1b[31m".to_vec(), vec![b'n'; 255]]);
    names
}

async fn holds_all(ground: &Ground) {
    let mut expected = hard_names();
    expected.sort();
    assert_eq!(ground.names().await, expected);
    for name in &expected {
        assert_eq!(ground.read(name).await, *name, "{}", name.escape_ascii());
    }
}

pub(super) async fn every_name_works(ground: Ground) {
    for name in hard_names() {
        let written = ground.write(&name, name.clone()).await;
        assert_eq!(written.entry.path.0, ground.path(&name), "{}", name.escape_ascii());
        let entry = ground.stat(&name).await.expect("an entry");
        assert_eq!(entry.path.0, ground.path(&name));
    }
    holds_all(&ground).await;
}

pub(super) async fn every_name_works_in_a_batch(ground: Ground) {
    let parts: Vec<_> = hard_names()
        .into_iter()
        .map(|name| {
            let request = WriteRequest::to(ground.path(&name));
            Ok::<_, Problem>(UploadPart { request, body: Body::from_bytes(name) })
        })
        .collect();
    ground.guest.write_many(&ground.grant, stream::iter(parts).boxed()).await.expect("a batch");
    holds_all(&ground).await;
}

pub(super) async fn every_name_works_in_operations(ground: Ground) {
    for name in hard_names() {
        ground.write("plain", name.clone()).await;
        let (from, to) = (ground.path("plain"), ground.path(&name));
        ground.apply(vec![Operation::Move { from, to, overwrite: false }]).await.expect("a move");
    }
    holds_all(&ground).await;
    for name in hard_names() {
        let delete = Operation::Delete { path: ground.path(&name), recursive: false, missing_ok: false };
        ground.apply(vec![delete]).await.expect("a delete");
    }
    ground.holds(&[]).await;
}
