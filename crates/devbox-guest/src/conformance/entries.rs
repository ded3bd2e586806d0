//! Looking at names.

use std::collections::BTreeSet;

use base64::Engine as _;
use devbox_types::entry::StatRequest;
use devbox_types::{EntryKind, ErrorCode, ListRequest};
use futures_util::stream::StreamExt as _;

use super::ground::{Ground, fails_with};

pub(super) async fn stat_tells_what_is_there(ground: Ground) {
    ground.write("file", "1234").await;
    ground.mkdir("directory").await;
    ground.symlink("link", "file").await;
    let file = ground.stat("file").await.expect("an entry");
    assert_eq!((file.kind, file.size_bytes, file.links), (EntryKind::File, 4, 1));
    assert!(file.etag.is_some());
    assert_eq!(ground.stat("directory").await.expect("an entry").kind, EntryKind::Directory);
    let link = ground.stat("link").await.expect("an entry");
    assert_eq!((link.kind, link.target.as_deref()), (EntryKind::Symlink, Some(&b"file"[..])));
}

pub(super) async fn a_link_is_looked_at_or_through(ground: Ground) {
    ground.write("file", "1234").await;
    ground.symlink("link", "file").await;
    ground.symlink("dangling", "nowhere").await;
    let through = ground
        .guest
        .stat(&ground.grant, StatRequest::target_of(ground.path("link")))
        .await
        .expect("an entry");
    assert_eq!((through.kind, through.size_bytes), (EntryKind::File, 4));
    fails_with(
        ground.guest.stat(&ground.grant, StatRequest::target_of(ground.path("dangling"))).await,
        ErrorCode::NotFound,
    );
}

pub(super) async fn pages_are_complete_and_in_order(ground: Ground) {
    let expected: Vec<String> = (0..25).map(|number| format!("file-{number:02}")).collect();
    for name in expected.iter().rev() {
        ground.write(name, name.clone()).await;
    }
    let mut found = Vec::new();
    let mut cursor = None;
    let mut pages = 0;
    loop {
        let request = ListRequest { cursor, limit: 10, ..ListRequest::of(ground.folder.clone()) };
        let page = ground.guest.list(&ground.grant, request).await.expect("a page");
        assert!(page.entries.len() <= 10);
        found.extend(page.entries.iter().map(|entry| entry.path.0.clone()));
        pages += 1;
        let Some(next) = page.next_cursor else { break };
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        cursor = Some(engine.decode(next).expect("a cursor is base64url"));
        assert!(pages < 10, "pages come to an end");
    }
    let expected: Vec<_> = expected.iter().map(|name| ground.path(name)).collect();
    assert_eq!(found, expected);
    assert!((3..=4).contains(&pages));
}

async fn make_tree(ground: &Ground) {
    for name in ["a", "a/b", "a/b/c", "a/empty"] {
        ground.mkdir(name).await;
    }
    for name in ["a/1", "a/b/2", "a/b/c/3", "a-before"] {
        ground.write(name, name).await;
    }
    ground.symlink("a/up", "..").await;
}

fn paths(ground: &Ground, names: &[&str]) -> Vec<devbox_types::BoxPath> {
    names.iter().map(|name| ground.path(name)).collect()
}

pub(super) async fn a_deep_listing_holds_what_is_below(ground: Ground) {
    make_tree(&ground).await;
    let request = ListRequest { depth: 3, ..ListRequest::of(ground.folder.clone()) };
    let page = ground.guest.list(&ground.grant, request).await.expect("a page");
    let found: Vec<_> = page.entries.iter().map(|entry| entry.path.0.as_bytes().to_vec()).collect();
    let expected = paths(&ground, &["a", "a-before", "a/1", "a/b", "a/b/2", "a/b/c", "a/empty", "a/up"]);
    let found_set: BTreeSet<_> = found.iter().cloned().collect();
    let expected_set: BTreeSet<_> = expected.iter().map(|path| path.as_bytes().to_vec()).collect();
    assert_eq!(found_set, expected_set, "links are listed and not followed");
    assert!(found.is_sorted(), "paths are in byte order");
}

pub(super) async fn a_walk_finds_everything(ground: Ground) {
    make_tree(&ground).await;
    let request = ListRequest { depth: 64, ..ListRequest::of(ground.folder.clone()) };
    let walk = ground.guest.walk(&ground.grant, request).await.expect("a walk");
    let found: BTreeSet<_> =
        walk.map(|entry| entry.expect("an entry").path.0.as_bytes().to_vec()).collect().await;
    let names = ["a", "a-before", "a/1", "a/b", "a/b/2", "a/b/c", "a/b/c/3", "a/empty", "a/up"];
    let expected = paths(&ground, &names).iter().map(|path| path.as_bytes().to_vec()).collect();
    assert_eq!(found, expected);
}

pub(super) async fn a_listing_of_no_directory_fails(ground: Ground) {
    ground.write("file", "x").await;
    let list = async |name| ground.guest.list(&ground.grant, ListRequest::of(ground.path(name))).await;
    fails_with(list("file").await, ErrorCode::NotADirectory);
    fails_with(list("missing").await, ErrorCode::NotFound);
    let walk = ground.guest.walk(&ground.grant, ListRequest::of(ground.path("missing"))).await;
    let code = match walk {
        Err(problem) => problem.code,
        Ok(mut entries) => entries.next().await.expect("an item").expect_err("a problem").code,
    };
    assert_eq!(code, ErrorCode::NotFound);
}
