use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::Barrier;

use devbox_fs::{FsError, View};
use devbox_types::file::{Durability, WriteRequest, Written};
use devbox_types::patch::{PatchPlace, PatchRequest};
use devbox_types::problem::Stands;
use devbox_types::{Digests, ErrorCode, Grant, Problem, WriteCondition};

use crate::fixture::{BOTH, Fixture, code, path, strong_tag, write_to};

fn at(name: &str, offset: u64) -> PatchRequest {
    PatchRequest::at(path(name), PatchPlace::Offset(offset))
}

fn end(name: &str) -> PatchRequest {
    PatchRequest::at(path(name), PatchPlace::End)
}

fn atomic(patch: PatchRequest) -> PatchRequest {
    PatchRequest { atomic: true, ..patch }
}

/// Two ways that must come to the same: content in memory, and content that comes in pieces.
fn in_pieces(view: &View, patch: &PatchRequest, content: &[u8]) -> Result<Written, FsError> {
    let mut writer = view.begin_patch(patch)?;
    for piece in content.chunks(2) {
        writer.write(piece)?;
    }
    writer.finish()
}

fn stands(error: FsError) -> Option<Stands> {
    Problem::from(error).stands
}

#[test]
fn bytes_go_where_they_are_sent() {
    for confinement in BOTH {
        for is_atomic in [false, true] {
            for write in [View::patch_file as fn(&View, &PatchRequest, &[u8]) -> _, in_pieces] {
                let fixture = Fixture::confined(confinement);
                let view = fixture.view();
                let patch = |patch: PatchRequest, content: &str| {
                    write(&view, &PatchRequest { atomic: is_atomic, ..patch }, content.as_bytes())
                };
                fixture.put("a", "0123456789");
                patch(at("/a", 3), "abc").expect("patched");
                assert_eq!(fixture.get("a"), "012abc6789");
                patch(at("/a", 8), "XYZ").expect("patched beyond the end");
                assert_eq!(fixture.get("a"), "012abc67XYZ");
                patch(at("/a", 13), "!").expect("a hole is left");
                assert_eq!(fixture.get("a"), "012abc67XYZ\0\0!");
                let written = patch(end("/a"), "end").expect("appended");
                assert_eq!((written.entry.size_bytes, written.created), (17, false));
                patch(PatchRequest { truncate: Some(3), ..end("/a") }, "+").expect("cut, then appended");
                assert_eq!(fixture.get("a"), "012+");
                patch(PatchRequest { truncate: Some(0), ..at("/a", 1) }, "x").expect("cut, then written");
                assert_eq!(fixture.get("a"), "\0x");
                patch(PatchRequest::truncation(path("/a"), 4), "").expect("extended");
                assert_eq!(fixture.get("a"), "\0x\0\0");
                assert_eq!(code(patch(end("/new"), "x")), ErrorCode::NotFound);
                let made = PatchRequest { create: true, ..end("/new") };
                assert!(patch(made.clone(), "one").expect("made").created);
                assert!(!patch(made, "two").expect("appended").created);
                assert_eq!(fixture.get("new"), "onetwo");
                assert_eq!(fixture.everything(), ["a \0x\0\0", "new onetwo"]);
            }
        }
    }
}

#[test]
fn the_inode_stays_unless_the_change_is_atomic() {
    let fixture = Fixture::new();
    let view = fixture.view();
    fixture.put("a", "old");
    std::fs::hard_link(fixture.host("a"), fixture.host("other")).expect("a link");
    std::fs::set_permissions(fixture.host("a"), std::fs::Permissions::from_mode(0o640)).expect("mode");
    let mut open = std::fs::File::open(fixture.host("a")).expect("open");
    let inode = || fixture.host("a").metadata().expect("metadata").ino();
    let before = inode();
    view.patch_file(&end("/a"), b"+new").expect("appended");
    assert_eq!((inode(), fixture.get("other").as_str()), (before, "old+new"));
    let whole = WriteRequest { in_place: true, mode: Some(0o600), ..WriteRequest::to(path("/a")) };
    let written = view.write_file(whole.clone(), b"whole").expect("written");
    assert_eq!((inode(), fixture.get("other").as_str(), written.created), (before, "whole", false));
    assert_eq!((written.entry.mode, written.entry.links), (0o600, 2));
    let mut seen = String::new();
    open.read_to_string(&mut seen).expect("read");
    assert_eq!(seen, "whole", "who has it open sees the new bytes");
    view.patch_file(&atomic(at("/a", 0)), b"W").expect("changed");
    assert_ne!(inode(), before);
    assert_eq!((fixture.get("a").as_str(), fixture.get("other").as_str()), ("Whole", "whole"));
    assert_eq!(fixture.host("a").metadata().expect("metadata").mode() & 0o7777, 0o600, "the mode is kept");
    let new = WriteRequest { path: path("/new"), ..whole };
    assert!(view.write_file(new, b"x").expect("there is no inode to keep").created);
}

#[test]
fn a_failure_halfway_tells_what_stands() {
    let fixture = Fixture::new();
    fixture.put("a", "0123456789");
    let limited = Grant { max_bytes: Some(12), ..Grant::whole_box() };
    let view = fixture.root.enter(&limited).expect("a view");
    let mut writer = view.begin_patch(&end("/a")).expect("begun");
    assert_eq!(writer.stands(), None);
    writer.write(b"ab").expect("there is room");
    let problem = Problem::from(writer.write(b"c").expect_err("no more"));
    assert_eq!(problem.code, ErrorCode::TooLarge);
    assert_eq!(problem.stands, Some(Stands { written_bytes: 2, size_bytes: 12 }));
    assert!(problem.detail.contains("2 bytes of the content are in the file"), "{}", problem.detail);
    assert_eq!(fixture.get("a"), "0123456789ab");

    let short = PatchRequest { length: Some(3), ..at("/a", 0) };
    let mut writer = view.begin_patch(&short).expect("begun");
    writer.write(b"XY").expect("written");
    let error = writer.finish().expect_err("it is too short");
    assert_eq!(stands(error), Some(Stands { written_bytes: 2, size_bytes: 12 }));
    assert_eq!(code(view.patch_file(&short, b"XY")), ErrorCode::Interrupted);
    assert_eq!(code(view.patch_file(&short, b"XYZ!")), ErrorCode::InvalidRequest);
    assert_eq!(fixture.get("a"), "XY23456789ab");

    let wrong = PatchRequest { digests: Digests::of_sha256([7; 32]), ..at("/a", 0) };
    let known = view.patch_file(&wrong, b"never").expect_err("a wrong digest");
    assert_eq!((fixture.get("a").as_str(), stands(known)), ("XY23456789ab", None));
    let late = in_pieces(&view, &wrong, b"late").expect_err("a wrong digest");
    let late = Problem::from(late);
    assert_eq!(late.code, ErrorCode::DigestMismatch);
    assert_eq!(late.stands, Some(Stands { written_bytes: 4, size_bytes: 12 }));
    assert_eq!(fixture.get("a"), "late456789ab");
    let kept = in_pieces(&view, &atomic(wrong), b"lost").expect_err("a wrong digest");
    assert_eq!((fixture.get("a").as_str(), stands(kept)), ("late456789ab", None));
}

#[test]
fn limits_count_what_the_file_becomes() {
    let fixture = Fixture::new();
    fixture.put("a", "0123456789");
    let view = fixture.root.enter(&Grant { max_bytes: Some(8), ..Grant::whole_box() }).expect("a view");
    view.patch_file(&at("/a", 2), b"x").expect("within the limit, in a file that is beyond it");
    for (patch, content) in [
        (at("/a", 8), "x"),
        (end("/a"), "x"),
        (at("/a", u64::MAX), "x"),
        (at("/a", i64::MAX.unsigned_abs()), "x"),
        (PatchRequest::truncation(path("/a"), 9), ""),
        (PatchRequest::truncation(path("/a"), u64::MAX), ""),
        (atomic(at("/a", 0)), "x"),
        (atomic(PatchRequest::truncation(path("/a"), 9)), ""),
        (atomic(PatchRequest { create: true, ..at("/new", 8) }), "x"),
    ] {
        for result in
            [view.patch_file(&patch, content.as_bytes()), in_pieces(&view, &patch, content.as_bytes())]
        {
            let error = result.expect_err("too large");
            let nothing = Stands { written_bytes: 0, size_bytes: 10 };
            assert!(stands(error).is_none_or(|stands| stands == nothing), "{patch:?}");
        }
        assert_eq!(code(view.patch_file(&patch, content.as_bytes())), ErrorCode::TooLarge, "{patch:?}");
    }
    assert_eq!(fixture.everything(), ["a 01x3456789"]);
    let whole = fixture.view();
    for offset in [u64::MAX, i64::MAX.unsigned_abs()] {
        for patch in [at("/a", offset), atomic(at("/a", offset))] {
            assert_eq!(code(whole.patch_file(&patch, b"x")), ErrorCode::TooLarge, "{offset}");
        }
    }
    assert_eq!(fixture.everything(), ["a 01x3456789"]);
}

#[test]
fn a_size_that_disagrees_changes_nothing() {
    let fixture = Fixture::new();
    let view = fixture.view();
    fixture.put("a", "0123456789");
    let after = |size, patch: PatchRequest| PatchRequest { size_after: Some(size), length: Some(3), ..patch };
    for is_atomic in [false, true] {
        let patch = |patch| PatchRequest { atomic: is_atomic, ..patch };
        for wrong in [after(9, at("/a", 0)), after(11, at("/a", 0)), after(10, at("/a", 8))] {
            assert_eq!(code(view.patch_file(&patch(wrong), b"new")), ErrorCode::PreconditionFailed);
        }
    }
    assert_eq!(fixture.get("a"), "0123456789");
    view.patch_file(&after(10, at("/a", 0)), b"new").expect("it agrees");
    view.patch_file(&after(11, at("/a", 8)), b"end").expect("it agrees");
    assert_eq!(fixture.get("a"), "new34567end");
    let unknown = PatchRequest { length: None, ..after(10, at("/a", 0)) };
    assert_eq!(code(view.begin_patch(&unknown).map(drop)), ErrorCode::InvalidRequest);
}

#[test]
fn a_version_is_changed_once() {
    let fixture = Fixture::new();
    let view = fixture.view();
    fixture.put("a", "old");
    let stale = WriteCondition::Matches(vec![devbox_types::Etag::of_version(1, 2, 3, false)]);
    for is_atomic in [false, true] {
        let patch = |condition| PatchRequest { condition, atomic: is_atomic, ..end("/a") };
        for condition in [stale.clone(), WriteCondition::Absent] {
            assert_eq!(code(view.patch_file(&patch(condition), b"x")), ErrorCode::PreconditionFailed);
        }
        let missing = PatchRequest { create: true, ..patch(WriteCondition::Present) };
        let missing = PatchRequest { path: path("/none"), ..missing };
        assert_eq!(code(view.patch_file(&missing, b"x")), ErrorCode::PreconditionFailed);
        let tag = strong_tag(&view, "/a");
        let one = patch(WriteCondition::Matches(vec![tag]));
        let (first, second) = (view.begin_patch(&one), view.begin_patch(&one));
        let (mut first, mut second) = (first.expect("begun"), second.expect("begun"));
        second.write(b"+2").expect("written");
        second.finish().expect("the first to write wins");
        let lost = first.write(b"+1").and_then(|()| first.finish().map(drop));
        assert_eq!(code(lost), ErrorCode::PreconditionFailed);
    }
    assert_eq!(fixture.get("a"), "old+2+2");
}

#[test]
fn an_atomic_change_loses_nobodys_bytes() {
    let fixture = Fixture::new();
    let view = fixture.view();
    fixture.put("a", "old");
    let mut writer = view.begin_patch(&atomic(end("/a"))).expect("begun");
    writer.write(b"+slow").expect("written");
    assert_eq!(fixture.get("a"), "old", "nothing shows yet");
    write_to(&view, "/a", "replaced").expect("written");
    assert_eq!(code(writer.finish()), ErrorCode::Conflict);
    let mut writer = view.begin_patch(&atomic(end("/a"))).expect("begun");
    writer.write(b"+slow").expect("written");
    // As a process in the box would.
    fixture.put("a", "changed!");
    assert_eq!(code(writer.finish()), ErrorCode::Conflict);
    let create = PatchRequest { create: true, ..atomic(end("/new")) };
    let mut writer = view.begin_patch(&create).expect("begun");
    writer.write(b"mine").expect("written");
    fixture.put("new", "theirs");
    assert_eq!(code(writer.finish()), ErrorCode::Conflict);
    assert_eq!(fixture.everything(), ["a changed!", "new theirs"]);
}

#[test]
fn bytes_for_a_file_that_was_replaced_are_not_acknowledged() {
    let fixture = Fixture::new();
    let view = fixture.view();
    fixture.put("a", "old");
    let mut writer = view.begin_patch(&end("/a")).expect("begun");
    write_to(&view, "/a", "new").expect("written");
    let error = writer.write(b"x").expect_err("it is another file by now");
    assert_eq!(stands(error), None);
    let mut writer = view.begin_patch(&end("/a")).expect("begun");
    writer.write(b"x").expect("written");
    write_to(&view, "/a", "newest").expect("written");
    let problem = Problem::from(writer.finish().expect_err("it is another file by now"));
    assert_eq!((problem.code, problem.conflicts.len()), (ErrorCode::Conflict, 1));
    assert_eq!(fixture.get("a"), "newest");
}

#[test]
fn appenders_never_overwrite_each_other() {
    const WRITERS: usize = 4;
    const LINES: usize = 50;
    for is_atomic in [false, true] {
        let fixture = Fixture::new();
        fixture.put("log", "");
        let barrier = Barrier::new(WRITERS);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (view, barrier) = (fixture.view(), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let patch = PatchRequest { atomic: is_atomic, ..end("/log") };
                    for line in 0..LINES {
                        let text = format!("{writer} {line}\n");
                        // An atomic change that loses every race it may repeat says so, and changed nothing.
                        while let Err(error) = view.patch_file(&patch, text.as_bytes()) {
                            assert!(is_atomic && code::<()>(Err(error)) == ErrorCode::Conflict);
                        }
                    }
                });
            }
        });
        let log = fixture.get("log");
        for writer in 0..WRITERS {
            let lines = log.lines().filter(|line| line.starts_with(&format!("{writer} ")));
            let expected: Vec<_> = (0..LINES).map(|line| format!("{writer} {line}")).collect();
            assert_eq!(lines.collect::<Vec<_>>(), expected, "atomic: {is_atomic}");
        }
        assert_eq!(log.lines().count(), WRITERS * LINES);
    }
}

#[test]
fn what_cannot_be_had_together_is_refused() {
    let fixture = Fixture::new();
    let view = fixture.view();
    fixture.put("a", "old");
    let verified = PatchRequest { verify: true, ..end("/a") };
    assert_eq!(code(view.patch_file(&verified, b"x")), ErrorCode::InvalidRequest);
    let in_place = WriteRequest { in_place: true, ..WriteRequest::to(path("/a")) };
    for request in [
        WriteRequest { verify: true, ..in_place.clone() },
        WriteRequest { condition: WriteCondition::Absent, ..in_place.clone() },
    ] {
        assert_eq!(code(view.write_file(request, b"x")), ErrorCode::InvalidRequest);
    }
    assert_eq!(code(view.batch().expect("begun").begin(in_place)), ErrorCode::InvalidRequest);
    assert_eq!(fixture.get("a"), "old");
}

#[test]
fn what_is_verified_is_read_back_and_published() {
    let fixture = Fixture::new();
    let view = fixture.view();
    fixture.put("a", "old");
    let content = vec![7; 300_000];
    let verified =
        WriteRequest { verify: true, durability: Durability::Power, ..WriteRequest::to(path("/b")) };
    view.write_file(verified, &content).expect("written");
    assert!(std::fs::read(fixture.host("b")).expect("read") == content);
    view.patch_file(&PatchRequest { verify: true, ..atomic(at("/a", 1)) }, b"verified").expect("patched");
    assert_eq!(fixture.get("a"), "overified");
    let mut batch = view.batch().expect("begun");
    batch.add(WriteRequest { verify: true, ..WriteRequest::to(path("/c")) }, b"c").expect("added");
    batch.publish().expect("published");
    assert_eq!(fixture.get("c"), "c");
}

#[test]
fn attack_patch_through_links() {
    for confinement in BOTH {
        let fixture = Fixture::confined(confinement);
        fixture.put("in/file", "inside");
        fixture.put("secret", "secret");
        for (name, target) in
            [("in/up", "../secret"), ("in/abs", "/secret"), ("in/ok", "file"), ("in/none", "new")]
        {
            symlink(target, fixture.host(name)).expect("a link");
        }
        let view = fixture.scoped("/in");
        for is_atomic in [false, true] {
            for name in ["/up", "/abs", "/up/x"] {
                let patch = PatchRequest { atomic: is_atomic, create: true, ..end(name) };
                let refused = code(view.patch_file(&patch, b"x"));
                assert!(
                    [ErrorCode::PathEscapes, ErrorCode::NotADirectory].contains(&refused),
                    "{name} {refused}"
                );
            }
            let patch = PatchRequest { atomic: is_atomic, nofollow: true, ..end("/ok") };
            assert_eq!(code(view.patch_file(&patch, b"x")), ErrorCode::NotARegularFile);
            let patch = PatchRequest { atomic: is_atomic, ..end("/ok") };
            view.patch_file(&patch, b"+").expect("a link inside is followed");
        }
        let in_place = |name| WriteRequest { in_place: true, ..WriteRequest::to(path(name)) };
        assert_eq!(code(view.write_file(in_place("/up"), b"x")), ErrorCode::PathEscapes);
        let made = PatchRequest { create: true, ..end("/none") };
        view.patch_file(&made, b"made").expect("what a dangling link names is made");
        assert_eq!((fixture.get("secret").as_str(), fixture.get("in/file").as_str()), ("secret", "inside++"));
        assert_eq!(fixture.get("in/new"), "made");
        // A hard link is a name of the file: who could make it could write to the file, and its content is the box's.
        std::fs::hard_link(fixture.host("secret"), fixture.host("in/hard")).expect("a link");
        view.patch_file(&atomic(end("/hard")), b"+").expect("parted");
        assert_eq!((fixture.get("secret").as_str(), fixture.get("in/hard").as_str()), ("secret", "secret+"));
    }
}

#[test]
fn attack_patch_of_what_is_no_file() {
    let fixture = Fixture::new();
    let view = fixture.view();
    let fifo = fixture.host("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o666),
        0,
    )
    .expect("a FIFO");
    std::fs::create_dir(fixture.host("directory")).expect("a directory");
    for is_atomic in [false, true] {
        for (name, expected) in [
            ("/fifo", ErrorCode::NotARegularFile),
            ("/directory", ErrorCode::IsADirectory),
            ("/directory/", ErrorCode::IsADirectory),
            ("/", ErrorCode::IsADirectory),
        ] {
            let patch = PatchRequest { atomic: is_atomic, create: true, ..end(name) };
            assert_eq!(code(view.patch_file(&patch, b"x")), expected, "{name}");
        }
    }
    let whole = WriteRequest { in_place: true, ..WriteRequest::to(path("/fifo")) };
    assert_eq!(code(view.write_file(whole, b"x")), ErrorCode::NotARegularFile);
}

#[test]
fn attack_patch_of_the_kernels_files() {
    let root = devbox_fs::BoxRoot::open(std::path::Path::new("/"), devbox_fs::RootOptions::default());
    let view = root.expect("a root").enter(&Grant::whole_box()).expect("a view");
    // Its own memory: written to, it would be this process no more.
    for name in ["/proc/self/mem", "/proc/self/comm", "/proc/thread-self/comm"] {
        for patch in [at(name, 0), atomic(at(name, 0))] {
            let refused = view.patch_file(&patch, b"x");
            assert!(refused.is_err(), "{name}");
        }
        assert_eq!(code(view.patch_file(&at(name, 0), b"x")), ErrorCode::NotARegularFile, "{name}");
        let whole = WriteRequest { in_place: true, ..WriteRequest::to(path(name)) };
        assert_eq!(code(view.write_file(whole, b"x")), ErrorCode::NotARegularFile, "{name}");
    }
}
