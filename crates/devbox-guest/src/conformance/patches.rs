//! Changes of parts of files, and of metadata.

use bytes::Bytes;
use devbox_types::entry::StatRequest;
use devbox_types::file::{WriteRequest, Written};
use devbox_types::metadata::{MetadataChange, Xattr, XattrChange};
use devbox_types::operation::Operation;
use devbox_types::patch::{PatchPlace, PatchRequest};
use devbox_types::problem::Stands;
use devbox_types::{Digests, ErrorCode, Grant, Problem, Timestamp, WriteCondition};

use super::ground::{Ground, broken, chunked, fails_with};
use crate::body::Body;

fn at(ground: &Ground, name: &str, offset: u64) -> PatchRequest {
    PatchRequest::at(ground.path(name), PatchPlace::Offset(offset))
}

fn end(ground: &Ground, name: &str) -> PatchRequest {
    PatchRequest::at(ground.path(name), PatchPlace::End)
}

async fn patch(ground: &Ground, request: PatchRequest, body: Body) -> Result<Written, Problem> {
    ground.guest.patch(&ground.grant, request, body).await
}

pub(super) async fn bytes_are_written_where_they_belong(ground: Ground) {
    for atomic in [false, true] {
        ground.write("file", "0123456789").await;
        let sent = |request: PatchRequest, bytes: &'static str| {
            patch(&ground, PatchRequest { atomic, ..request }, Body::from_bytes(bytes))
        };
        sent(at(&ground, "file", 3), "abc").await.expect("patched");
        sent(at(&ground, "file", 12), "!").await.expect("patched beyond the end");
        let appended = sent(end(&ground, "file"), "end").await.expect("appended");
        assert_eq!(appended.entry.size_bytes, 16);
        assert_eq!(ground.read("file").await, "012abc6789\0\0!end");
        let cut = PatchRequest::truncation(ground.path("file"), 2);
        sent(cut, "").await.expect("cut");
        assert_eq!(ground.read("file").await, "01");
        let request = PatchRequest { atomic, length: None, ..end(&ground, "file") };
        patch(&ground, request, chunked(b"in pieces", 2, false)).await.expect("a stream is appended");
        assert_eq!(ground.read("file").await, "01in pieces");
        let sized = PatchRequest { size_after: Some(11), length: Some(2), ..at(&ground, "file", 2) };
        sent(sized.clone(), "IN").await.expect("the size agrees");
        let wrong = PatchRequest { size_after: Some(10), ..sized };
        fails_with(sent(wrong, "??").await, ErrorCode::PreconditionFailed);
        assert_eq!(ground.read("file").await, "01IN pieces");
        fails_with(sent(end(&ground, "none"), "x").await, ErrorCode::NotFound);
        fails_with(sent(at(&ground, "file", u64::MAX), "x").await, ErrorCode::TooLarge);
    }
    let created = PatchRequest { create: true, ..end(&ground, "new") };
    assert!(patch(&ground, created, Body::from_bytes("x")).await.expect("made").created);
    ground.holds(&["file", "new"]).await;
}

pub(super) async fn a_patch_that_breaks_off_tells_what_stands(ground: Ground) {
    ground.write("file", "0123456789").await;
    let request = || PatchRequest { length: Some(100), ..at(&ground, "file", 0) };
    let cut_off = |request| patch(&ground, request, broken(b"some bytes", Some(100)));
    let atomic = PatchRequest { atomic: true, ..request() };
    let problem = fails_with(cut_off(atomic).await, ErrorCode::Interrupted);
    assert_eq!(problem.stands, None);
    assert_eq!(ground.read("file").await, "0123456789");
    // What came in the piece that broke off may be written or not; what is said of it is true.
    let problem = fails_with(cut_off(request()).await, ErrorCode::Interrupted);
    let size = ground.stat("file").await.expect("an entry").size_bytes;
    if let Some(stands) = problem.stands {
        assert_eq!(stands.size_bytes, size);
    }
    ground.write("file", "0123456789").await;
    let wrong = PatchRequest { digests: Digests::of_sha256([7; 32]), ..end(&ground, "file") };
    // Longer than what may come at once.
    let long = vec![b'x'; 1 << 20];
    let problem = patch(&ground, wrong.clone(), chunked(&long, 1000, false)).await;
    let problem = fails_with(problem, ErrorCode::DigestMismatch);
    let stands = Stands { written_bytes: 1 << 20, size_bytes: (1 << 20) + 10 };
    assert_eq!(problem.stands, Some(stands), "{problem:?}");
    let atomic = PatchRequest { atomic: true, ..wrong };
    let problem =
        fails_with(patch(&ground, atomic, chunked(&long, 1000, false)).await, ErrorCode::DigestMismatch);
    assert_eq!(problem.stands, None);
    assert_eq!(ground.stat("file").await.expect("an entry").size_bytes, (1 << 20) + 10);
    ground.holds(&["file"]).await;
}

pub(super) async fn appenders_keep_out_of_each_others_way(ground: Ground) {
    const EACH: usize = 20;
    ground.write("log", "").await;
    let append = |word: &'static str| {
        let ground = ground.clone();
        async move {
            for _ in 0..EACH {
                patch(&ground, end(&ground, "log"), Body::from_bytes(word)).await.expect("appended");
            }
        }
    };
    futures_util::future::join3(append("one\n"), append("two\n"), append("three\n")).await;
    let log = ground.read("log").await;
    let lines: Vec<_> = log.split(|byte| *byte == b'\n').collect();
    for word in ["one", "two", "three"] {
        assert_eq!(lines.iter().filter(|line| **line == word.as_bytes()).count(), EACH, "{word}");
    }
    assert_eq!(lines.len(), 3 * EACH + 1);
}

pub(super) async fn a_patch_keeps_its_condition(ground: Ground) {
    ground.write("file", "old").await;
    let tag = ground.strong_tag("file").await;
    let condition = WriteCondition::Matches(vec![tag]);
    for atomic in [true, false] {
        let request = PatchRequest { condition: condition.clone(), atomic, ..end(&ground, "file") };
        let result = patch(&ground, request, Body::from_bytes("+")).await;
        match atomic {
            true => drop(result.expect("it is that version")),
            false => drop(fails_with(result, ErrorCode::PreconditionFailed)),
        }
    }
    assert_eq!(ground.read("file").await, "old+");
}

pub(super) async fn a_file_is_written_in_its_place(ground: Ground) {
    ground.write("file", "the old content").await;
    let link = Operation::Link { from: ground.path("file"), to: ground.path("other") };
    ground.apply(vec![link]).await.expect("a hard link");
    let in_place = || WriteRequest { in_place: true, ..WriteRequest::to(ground.path("file")) };
    let written = ground.try_write(in_place(), Body::from_bytes("new")).await.expect("written");
    assert_eq!((written.created, written.entry.links), (false, 2));
    assert_eq!(ground.read("other").await, "new", "the other name sees it");
    ground.try_write(in_place(), chunked(b"in pieces", 3, false)).await.expect("written");
    assert_eq!(ground.read("other").await, "in pieces");
    ground.write("file", "replaced").await;
    assert_eq!(ground.read("other").await, "in pieces", "a replace parts them");
    let absent = WriteRequest { condition: WriteCondition::Absent, ..in_place() };
    fails_with(ground.try_write(absent, Body::from_bytes("x")).await, ErrorCode::InvalidRequest);
}

pub(super) async fn what_is_verified_is_stored(ground: Ground) {
    let request = WriteRequest { verify: true, ..WriteRequest::to(ground.path("file")) };
    ground.try_write(request, Body::from_bytes("content")).await.expect("read back");
    let request = PatchRequest { verify: true, atomic: true, ..end(&ground, "file") };
    patch(&ground, request, chunked(b" and more", 4, false)).await.expect("read back");
    assert_eq!(ground.read("file").await, "content and more");
    let request = PatchRequest { verify: true, ..end(&ground, "file") };
    fails_with(patch(&ground, request, Body::from_bytes("x")).await, ErrorCode::InvalidRequest);
}

pub(super) async fn a_limit_counts_what_the_file_becomes(ground: Ground) {
    if !ground.facts.takes_narrow_grants {
        return;
    }
    ground.write("file", "0123456789").await;
    let narrow = Grant { max_bytes: Some(12), ..ground.grant.clone() };
    let grown = ground.guest.patch(&narrow, end(&ground, "file"), Body::from_bytes("ab")).await;
    grown.expect("just what it may");
    for request in [end(&ground, "file"), at(&ground, "file", 12)] {
        let refused = ground.guest.patch(&narrow, request, Body::from_bytes("c")).await;
        fails_with(refused, ErrorCode::TooLarge);
    }
    assert_eq!(ground.read("file").await, "0123456789ab");
}

pub(super) async fn a_patch_of_no_file_is_refused(ground: Ground) {
    ground.mkdir("directory").await;
    ground.symlink("link", "directory").await;
    for atomic in [false, true] {
        for name in ["directory", "directory/", "link"] {
            let request = PatchRequest { atomic, ..end(&ground, name) };
            fails_with(patch(&ground, request, Body::from_bytes("x")).await, ErrorCode::IsADirectory);
        }
        let request = PatchRequest { atomic, nofollow: true, ..end(&ground, "link") };
        fails_with(patch(&ground, request, Body::from_bytes("x")).await, ErrorCode::NotARegularFile);
    }
}

pub(super) async fn metadata_is_set_whole_or_not(ground: Ground) {
    ground.write("file", "content").await;
    let modified = Timestamp::from_parts(1_000_000_000, 5);
    let change = |name: &[u8], value: &[u8]| MetadataChange {
        mode: Some(0o640),
        modified: Some(modified),
        xattrs: vec![XattrChange { name: name.to_vec(), value: Some(value.to_vec()) }],
        ..MetadataChange::default()
    };
    let set = |set| vec![Operation::SetMetadata { path: ground.path("file"), set }];
    ground.apply(set(change(b"user.mark", b"\0\xff"))).await.expect("metadata is set");
    let look = || async {
        let request = StatRequest { xattrs: true, ..StatRequest::of(ground.path("file")) };
        ground.guest.stat(&ground.grant, request).await.expect("an entry")
    };
    let entry = look().await;
    assert_eq!((entry.mode, entry.modified), (0o640, modified));
    let mark = Xattr { name: b"user.mark".to_vec(), value: b"\0\xff".to_vec() };
    assert_eq!(entry.xattrs.as_deref(), Some(&[mark][..]));
    assert_eq!(ground.stat("file").await.expect("an entry").xattrs, None, "they come when asked for");
    let refused = MetadataChange { mode: Some(0o777), ..change(b"security.mark", b"x") };
    fails_with(ground.apply(set(refused)).await, ErrorCode::InvalidRequest);
    let mut undone = set(change(b"user.mark", b"other"));
    undone.push(Operation::Delete { path: ground.path("none"), recursive: false, missing_ok: false });
    fails_with(ground.apply(undone).await, ErrorCode::NotFound);
    let after = look().await;
    assert_eq!((after.mode, after.modified, after.xattrs), (entry.mode, entry.modified, entry.xattrs));
    let removal = MetadataChange {
        xattrs: vec![XattrChange { name: b"user.mark".to_vec(), value: None }],
        ..MetadataChange::default()
    };
    ground.apply(set(removal)).await.expect("removed");
    assert_eq!(look().await.xattrs.as_deref(), Some(&[][..]));
}

pub(super) async fn small_files_and_links_are_made_in_a_list(ground: Ground) {
    ground.write("old", "old").await;
    let write = |name: &str, content: &[u8], overwrite| Operation::Write {
        path: ground.path(name),
        content: content.to_vec(),
        mode: Some(0o600),
        parents: true,
        overwrite,
        nofollow: false,
    };
    let list = |last| {
        vec![
            write("made/file", b"\xff\0", false),
            write("old", b"new", true),
            Operation::Link { from: ground.path("old"), to: ground.path("linked") },
            last,
        ]
    };
    fails_with(ground.apply(list(write("old", b"x", false))).await, ErrorCode::Exists);
    ground.holds(&["old"]).await;
    assert_eq!(ground.read("old").await, "old");
    let report = ground.apply(list(write("last", b"", false))).await.expect("all of it");
    assert_eq!(report.bytes, 5);
    assert_eq!(ground.read("made/file").await, Bytes::from_static(b"\xff\0"));
    assert_eq!(ground.read("linked").await, "new");
    assert_eq!(ground.stat("last").await.expect("an entry").mode, 0o600);
    ground.holds(&["last", "linked", "made", "old"]).await;
}
