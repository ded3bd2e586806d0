//! Many files as one stream.

use std::collections::BTreeMap;

use devbox_types::archive::{ArchiveFormat, ArchiveRequest, UnpackRequest};
use devbox_types::{ErrorCode, ListRequest};

use crate::body::Body;

use super::ground::{Ground, fails_with, noise};

fn zip_of(ground: &Ground, names: &[&str]) -> ArchiveRequest {
    let paths = names.iter().map(|name| ground.path(name).into()).collect();
    ArchiveRequest::of(paths, ArchiveFormat::Zip)
}

pub(super) async fn a_tree_is_packed(ground: Ground) {
    ground.mkdir("tree").await;
    ground.mkdir("tree/below").await;
    ground.write("tree/below/file", noise(100_000)).await;
    ground.write("tree/empty", "").await;
    ground.symlink("tree/link", "below/file").await;
    ground.write("single", "content").await;
    let body =
        ground.guest.pack(&ground.grant, zip_of(&ground, &["tree", "single"])).await.expect("an archive");
    let archive = body.collect(1 << 20).await.expect("the whole archive");
    let found = central_directory(&archive);
    for (name, size) in [("tree/below/file", 100_000), ("tree/empty", 0), ("single", 7)] {
        let entry = found.iter().find(|(path, _)| path.ends_with(name));
        assert_eq!(entry.map(|(_, size)| *size), Some(size), "{name} in {found:?}");
    }
    assert!(found.keys().any(|path| path.ends_with("tree/link")), "links are in it: {found:?}");
}

pub(super) async fn a_missing_path_is_not_found(ground: Ground) {
    ground.write("single", "content").await;
    let packed = ground.guest.pack(&ground.grant, zip_of(&ground, &["single", "missing"])).await;
    fails_with(packed, ErrorCode::NotFound);
}

pub(super) async fn what_was_packed_is_unpacked(ground: Ground) {
    ground.mkdir("tree").await;
    ground.write("tree/file", noise(100_000)).await;
    ground.write("tree/empty", "").await;
    let strip = u32::try_from(ground.path("tree").segments().count()).expect("a depth");
    for (place, format) in ArchiveFormat::ALL.into_iter().enumerate() {
        let request = ArchiveRequest::of(vec![ground.path("tree").into()], format);
        let archive = ground.guest.pack(&ground.grant, request).await.expect("an archive");
        let name = format!("new{place}/deep");
        let into =
            UnpackRequest { strip, make_parents: true, ..UnpackRequest::into(ground.path(&name), format) };
        let report = ground.guest.unpack(&ground.grant, into, archive).await.expect("a report");
        assert_eq!(report.bytes, 100_000);
        assert_eq!(ground.read(format!("{name}/file")).await, noise(100_000));
    }
}

pub(super) async fn half_an_archive_changes_nothing(ground: Ground) {
    ground.mkdir("tree").await;
    ground.write("tree/file", noise(100_000)).await;
    let request = ArchiveRequest::of(vec![ground.path("tree").into()], ArchiveFormat::Tar);
    let archive = ground.guest.pack(&ground.grant, request).await.expect("an archive");
    let archive = archive.collect(1 << 20).await.expect("the whole archive");
    ground.mkdir("new").await;
    let into = UnpackRequest::into(ground.path("new"), ArchiveFormat::Tar);
    let half = Body::from_bytes(archive.slice(..archive.len() / 2));
    fails_with(ground.guest.unpack(&ground.grant, into, half).await, ErrorCode::InvalidRequest);
    let page = ground.guest.list(&ground.grant, ListRequest::of(ground.path("new"))).await.expect("a page");
    assert!(page.entries.is_empty(), "{page:?}");
}

pub(super) async fn an_archive_with_its_key_is_unpacked_once(ground: Ground) {
    ground.mkdir("tree").await;
    ground.write("tree/file", "content").await;
    ground.mkdir("new").await;
    let strip = u32::try_from(ground.path("").segments().count()).expect("a depth");
    for format in [ArchiveFormat::Tar, ArchiveFormat::Zip] {
        let key = format!("{}.{format}", ground.path("new").to_string().replace('/', "."));
        let grant = ground.grant.clone().with_key(key.parse().expect("a key"));
        let request = ArchiveRequest::of(vec![ground.path("tree").into()], format);
        let archive = ground.guest.pack(&ground.grant, request).await.expect("an archive");
        let archive = archive.collect(1 << 20).await.expect("the whole archive");
        let into = UnpackRequest { strip, ..UnpackRequest::into(ground.path("new"), format) };
        let unpack = |archive| ground.guest.unpack(&grant, into.clone(), Body::from_bytes(archive));
        let first = unpack(archive.clone()).await.expect("a report");
        ground.write("new/tree/file", "changed").await;
        assert_eq!(unpack(archive.clone()).await.expect("the same report"), first);
        fails_with(unpack(archive.slice(1..)).await, ErrorCode::IdempotencyMismatch);
        assert_eq!(ground.read("new/tree/file").await, "changed");
    }
}

/// The names and sizes that a zip archive lists at its end (APPNOTE 6.3, sections 4.3.12 and 4.3.16).
fn central_directory(archive: &[u8]) -> BTreeMap<String, u64> {
    let short = |at: usize| usize::from(u16::from_le_bytes([archive[at], archive[at + 1]]));
    let long = |at: usize| u32::from_le_bytes(archive[at..at + 4].try_into().expect("four bytes"));
    let end =
        archive.windows(4).rposition(|window| window == b"PK\x05\x06").expect("the end of the directory");
    let mut found = BTreeMap::new();
    let mut at = usize::try_from(long(end + 16)).expect("an offset");
    for _ in 0..short(end + 10) {
        assert_eq!(&archive[at..at + 4], b"PK\x01\x02", "a directory entry");
        let (name, extra, comment) = (short(at + 28), short(at + 30), short(at + 32));
        let path = String::from_utf8_lossy(&archive[at + 46..at + 46 + name]).into_owned();
        found.insert(path, u64::from(long(at + 24)));
        at += 46 + name + extra + comment;
    }
    found
}
