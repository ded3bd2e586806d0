//! Bytes in, bytes out.

use devbox_types::file::{ByteRange, ReadRequest, WriteRequest};
use devbox_types::{EntryKind, ErrorCode, Timestamp};

use super::ground::{Ground, chunked, fails_with, noise};
use crate::body::Body;

pub(super) async fn any_size_comes_back(ground: Ground) {
    for size in [0, 1, 4096, (1 << 20) + 1] {
        let name = format!("{size}");
        let bytes = noise(size);
        let written = ground.write(&name, bytes.clone()).await;
        assert!(written.created);
        assert_eq!(written.entry.kind, EntryKind::File);
        assert_eq!(usize::try_from(written.entry.size_bytes).ok(), Some(size));
        assert_eq!(ground.read(&name).await, bytes, "{size} bytes");
    }
}

pub(super) async fn streams_of_chunks_come_back(ground: Ground) {
    let bytes = noise(300_001);
    for (announced, size) in [(true, 1000), (false, 1000), (true, 100_000), (false, 300_001)] {
        let request = WriteRequest::to(ground.path("stream"));
        let length = announced.then_some(300_001);
        let body = chunked(&bytes, size, announced);
        ground.try_write(WriteRequest { length, ..request }, body).await.expect("a stream is written");
        assert_eq!(ground.read("stream").await, bytes);
    }
    ground.holds(&["stream"]).await;
}

pub(super) async fn a_replace_shows_the_new_bytes_only(ground: Ground) {
    ground.write("file", "long old content").await;
    let written = ground.write("file", "new").await;
    assert!(!written.created);
    assert_eq!(ground.read("file").await, "new");
    ground.holds(&["file"]).await;
}

pub(super) async fn ranges_are_honoured(ground: Ground) {
    ground.write("file", "0123456789").await;
    let from = |first, last| ByteRange::FromTo { first, last };
    let cases = [
        (from(2, Some(4)), "234", 2),
        (from(7, None), "789", 7),
        (from(8, Some(99)), "89", 8),
        (ByteRange::Suffix { length: 3 }, "789", 7),
        (ByteRange::Suffix { length: 99 }, "0123456789", 0),
    ];
    for (range, expected, offset) in cases {
        let request = ReadRequest { range, ..ReadRequest::whole(ground.path("file")) };
        let content = ground.guest.read(&ground.grant, request).await.expect("a range is read");
        assert_eq!((content.head.offset, content.head.partial), (offset, true), "{range:?}");
        assert_eq!(content.head.entry.size_bytes, 10);
        assert_eq!(content.body.collect(100).await.expect("content"), expected, "{range:?}");
    }
}

pub(super) async fn a_range_outside_is_refused(ground: Ground) {
    ground.write("file", "0123456789").await;
    let range = ByteRange::FromTo { first: 10, last: None };
    let request = ReadRequest { range, ..ReadRequest::whole(ground.path("file")) };
    fails_with(ground.try_read(request).await, ErrorCode::RangeNotSatisfiable);
}

pub(super) async fn a_head_has_no_content(ground: Ground) {
    ground.write("file", "0123456789").await;
    let request = ReadRequest { head: true, ..ReadRequest::whole(ground.path("file")) };
    let content = ground.guest.read(&ground.grant, request).await.expect("a head");
    assert_eq!((content.head.entry.size_bytes, content.head.length), (10, 10));
    assert_eq!(content.body.collect(100).await.expect("no content"), "");
}

pub(super) async fn mode_and_time_are_set(ground: Ground) {
    let modified = Timestamp::from_parts(1_000_000_000, 123_456_789);
    let request = WriteRequest::to(ground.path("file"));
    let request = WriteRequest { mode: Some(0o640), modified: Some(modified), ..request };
    ground.try_write(request, Body::from_bytes("x")).await.expect("a file is written");
    let entry = ground.stat("file").await.expect("an entry");
    assert_eq!((entry.mode, entry.modified), (0o640, modified));
}

pub(super) async fn a_replace_keeps_the_mode(ground: Ground) {
    let request = WriteRequest { mode: Some(0o751), ..WriteRequest::to(ground.path("file")) };
    ground.try_write(request, Body::from_bytes("old")).await.expect("a file is written");
    ground.write("file", "new").await;
    assert_eq!(ground.stat("file").await.expect("an entry").mode, 0o751);
}

pub(super) async fn missing_parents_are_made_on_request(ground: Ground) {
    let request = WriteRequest::to(ground.path("a/b/file"));
    let refused = ground.try_write(request.clone(), Body::from_bytes("x")).await;
    fails_with(refused, ErrorCode::NotFound);
    ground.holds(&[]).await;
    let request = WriteRequest { make_parents: true, ..request };
    ground.try_write(request, Body::from_bytes("x")).await.expect("a file is written");
    assert_eq!(ground.read("a/b/file").await, "x");
}

pub(super) async fn a_link_is_followed_or_replaced(ground: Ground) {
    ground.write("file", "old").await;
    ground.symlink("link", "file").await;
    ground.write("link", "through the link").await;
    assert_eq!(ground.read("file").await, "through the link");
    assert_eq!(ground.stat("link").await.expect("an entry").kind, EntryKind::Symlink);
    let request = WriteRequest { nofollow: true, ..WriteRequest::to(ground.path("link")) };
    ground.try_write(request, Body::from_bytes("in its place")).await.expect("the link is replaced");
    assert_eq!(ground.stat("link").await.expect("an entry").kind, EntryKind::File);
    assert_eq!(ground.read("file").await, "through the link");
    assert_eq!(ground.read("link").await, "in its place");
}
