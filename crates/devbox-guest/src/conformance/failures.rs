//! Writes that fail, and targets that are none.

use bytes::Bytes;
use devbox_types::file::{ReadRequest, WriteRequest};
use devbox_types::{BoxPath, Digests, ErrorCode};
use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};

use super::ground::{Ground, broken, chunked, fails_with};
use crate::body::Body;

/// The SHA-256 of "abc" (FIPS 180-4, appendix B).
const ABC: [u8; 32] = [
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0,
    0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
];

fn with_digest(path: BoxPath) -> WriteRequest {
    WriteRequest { digests: Digests::of_sha256(ABC), ..WriteRequest::to(path) }
}

pub(super) async fn a_right_digest_is_accepted(ground: Ground) {
    ground
        .try_write(with_digest(ground.path("one")), Body::from_bytes("abc"))
        .await
        .expect("a file is written");
    let body = chunked(b"abc", 1, false);
    ground.try_write(with_digest(ground.path("two")), body).await.expect("a file is written");
    assert_eq!(ground.read("two").await, "abc");
}

pub(super) async fn a_wrong_digest_leaves_the_old_file(ground: Ground) {
    ground.write("file", "old").await;
    for name in ["file", "new"] {
        let refused = ground.try_write(with_digest(ground.path(name)), Body::from_bytes("abd")).await;
        fails_with(refused, ErrorCode::DigestMismatch);
    }
    assert_eq!(ground.read("file").await, "old");
    ground.holds(&["file"]).await;
}

pub(super) async fn a_broken_body_leaves_the_old_file(ground: Ground) {
    ground.write("file", "old").await;
    for (name, length) in [("file", None), ("file", Some(100)), ("new", None), ("new", Some(100))] {
        let request = WriteRequest { length, ..WriteRequest::to(ground.path(name)) };
        let refused = ground.try_write(request, broken(b"some bytes", length)).await;
        fails_with(refused, ErrorCode::Interrupted);
    }
    assert_eq!(ground.read("file").await, "old");
    ground.holds(&["file"]).await;
}

pub(super) async fn a_short_body_is_interrupted(ground: Ground) {
    ground.write("file", "old").await;
    let request = WriteRequest { length: Some(10), ..WriteRequest::to(ground.path("file")) };
    let short = Body::from_stream(stream::iter([Ok(Bytes::from_static(b"short"))]), Some(10));
    fails_with(ground.try_write(request, short).await, ErrorCode::Interrupted);
    assert_eq!(ground.read("file").await, "old");
    ground.holds(&["file"]).await;
}

pub(super) async fn a_dropped_write_leaves_no_debris(ground: Ground) {
    ground.write("file", "old").await;
    let chunks = stream::iter([Ok(Bytes::from(vec![7; 100_000]))]).chain(stream::pending());
    let endless = Body::from_stream(chunks, None);
    let request = WriteRequest::to(ground.path("file"));
    let mut write = Box::pin(ground.try_write(request, endless));
    for _ in 0..100 {
        assert!(write.as_mut().now_or_never().is_none(), "the body has not ended");
        tokio::task::yield_now().await;
    }
    drop(write);
    assert_eq!(ground.read("file").await, "old");
    ground.holds(&["file"]).await;
    ground.write("file", "new").await;
    assert_eq!(ground.read("file").await, "new");
}

pub(super) async fn a_directory_is_no_file(ground: Ground) {
    ground.mkdir("directory").await;
    for path in [ground.path("directory"), ground.path("directory/")] {
        fails_with(ground.try_read(ReadRequest::whole(path.clone())).await, ErrorCode::IsADirectory);
        let written = ground.try_write(WriteRequest::to(path), Body::from_bytes("x")).await;
        fails_with(written, ErrorCode::IsADirectory);
    }
    fails_with(ground.try_read(ReadRequest::whole(BoxPath::root())).await, ErrorCode::IsADirectory);
    let written = ground.try_write(WriteRequest::to(BoxPath::root()), Body::from_bytes("x")).await;
    fails_with(written, ErrorCode::IsADirectory);
}

pub(super) async fn a_file_is_no_directory(ground: Ground) {
    ground.write("file", "old").await;
    for path in [ground.path("file/below"), ground.path("file/")] {
        fails_with(ground.try_read(ReadRequest::whole(path.clone())).await, ErrorCode::NotADirectory);
        let request = WriteRequest { make_parents: true, ..WriteRequest::to(path) };
        fails_with(ground.try_write(request, Body::from_bytes("x")).await, ErrorCode::NotADirectory);
    }
    assert_eq!(ground.read("file").await, "old");
}

pub(super) async fn what_is_missing_is_not_found(ground: Ground) {
    for name in ["missing", "missing/below"] {
        let problem =
            fails_with(ground.try_read(ReadRequest::whole(ground.path(name))).await, ErrorCode::NotFound);
        assert!(problem.path.is_some(), "the problem names the path");
        fails_with(ground.stat(name).await, ErrorCode::NotFound);
    }
}

pub(super) async fn a_dangling_link_is_not_found(ground: Ground) {
    ground.symlink("link", "nowhere/at/all").await;
    fails_with(ground.try_read(ReadRequest::whole(ground.path("link"))).await, ErrorCode::NotFound);
    ground.stat("link").await.expect("the link itself is there");
}

pub(super) async fn a_link_loop_is_told(ground: Ground) {
    ground.symlink("one", "two").await;
    ground.symlink("two", "one").await;
    fails_with(ground.try_read(ReadRequest::whole(ground.path("one"))).await, ErrorCode::SymlinkLoop);
    let written = ground.try_write(WriteRequest::to(ground.path("one")), Body::from_bytes("x")).await;
    fails_with(written, ErrorCode::SymlinkLoop);
}
