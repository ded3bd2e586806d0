//! What a grant does not allow.

use devbox_types::entry::StatRequest;
use devbox_types::file::{ReadRequest, WriteRequest};
use devbox_types::{BoxPath, ErrorCode, Grant, ListRequest, Right, Rights};
use futures_util::stream::{self, StreamExt as _};

use super::ground::{Ground, fails_with, mkdir, shell};
use crate::body::Body;

fn path(text: &str) -> BoxPath {
    BoxPath::parse(text.as_bytes()).expect("a path")
}

pub(super) async fn without_a_right_nothing_happens(ground: Ground) {
    if !ground.facts.takes_narrow_grants {
        return;
    }
    ground.write("file", "content").await;
    let file = ground.path("file");
    let only = |right| Grant { rights: Rights::of(&[right]), ..Grant::whole_box() };
    let (reader, writer) = (only(Right::Read), only(Right::Write));
    let written = ground.guest.write(&reader, WriteRequest::to(file.clone()), Body::from_bytes("x")).await;
    fails_with(written, ErrorCode::Forbidden);
    fails_with(ground.guest.apply(&reader, vec![mkdir(ground.path("new"))]).await, ErrorCode::Forbidden);
    fails_with(ground.guest.write_many(&reader, stream::empty().boxed()).await, ErrorCode::Forbidden);
    let started = ground.guest.run(&reader, shell("true"), stream::empty().boxed()).await.map(|_| ());
    fails_with(started, ErrorCode::Forbidden);
    fails_with(
        ground.guest.read(&writer, ReadRequest::whole(file.clone())).await.map(|_| ()),
        ErrorCode::Forbidden,
    );
    fails_with(ground.guest.stat(&writer, StatRequest::of(file)).await, ErrorCode::Forbidden);
    fails_with(
        ground.guest.list(&writer, ListRequest::of(ground.folder.clone())).await,
        ErrorCode::Forbidden,
    );
    assert_eq!(ground.read("file").await, "content");
}

pub(super) async fn a_root_confines(ground: Ground) {
    if !ground.facts.takes_narrow_grants {
        return;
    }
    let scoped = Grant { root: ground.folder.clone(), ..Grant::whole_box() };
    let request = WriteRequest::to(path("/file"));
    let written = ground.guest.write(&scoped, request, Body::from_bytes("content")).await.expect("a file");
    assert_eq!(written.entry.path.0, path("/file"), "paths are relative to the root of the grant");
    assert_eq!(ground.read("file").await, "content");
    let page = ground.guest.list(&scoped, ListRequest::of(BoxPath::root())).await.expect("a page");
    assert_eq!(page.entries.len(), 1);
}

pub(super) async fn a_link_out_of_the_root_escapes(ground: Ground) {
    if !ground.facts.takes_narrow_grants {
        return;
    }
    ground.mkdir("inside").await;
    ground.write("secret", "secret").await;
    ground.symlink("inside/link", "../secret").await;
    ground.symlink("inside/up", "..").await;
    let scoped = Grant { root: ground.path("inside"), ..Grant::whole_box() };
    for escape in ["/link", "/up/secret"] {
        let read = ground.guest.read(&scoped, ReadRequest::whole(path(escape))).await.map(|_| ());
        fails_with(read, ErrorCode::PathEscapes);
        let written =
            ground.guest.write(&scoped, WriteRequest::to(path(escape)), Body::from_bytes("x")).await;
        fails_with(written, ErrorCode::PathEscapes);
    }
    assert_eq!(ground.read("secret").await, "secret");
}

pub(super) async fn a_byte_limit_is_kept(ground: Ground) {
    if !ground.facts.takes_narrow_grants {
        return;
    }
    ground.write("file", "old").await;
    let limited = Grant { max_bytes: Some(10), ..Grant::whole_box() };
    let write = async |body: Body| {
        let request = WriteRequest { length: body.length(), ..WriteRequest::to(ground.path("file")) };
        ground.guest.write(&limited, request, body).await
    };
    fails_with(write(Body::from_bytes("more than ten bytes")).await, ErrorCode::TooLarge);
    fails_with(write(super::ground::chunked(b"more than ten bytes", 4, false)).await, ErrorCode::TooLarge);
    assert_eq!(ground.read("file").await, "old");
    write(Body::from_bytes("ten bytes!")).await.expect("it fits");
    ground.holds(&["file"]).await;
}
