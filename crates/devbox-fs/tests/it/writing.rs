use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Barrier;

use devbox_types::file::{ByteRange, Durability, ReadRequest, WriteRequest};
use devbox_types::{Digests, ErrorCode, Grant, Right, Rights, Timestamp, WriteCondition};

use crate::fixture::{
    BOTH, Fixture, code, journals, names, path, read, read_from, strong_tag, write, write_to,
};

#[test]
fn what_was_written_is_read_back_with_both_confinements() {
    for confinement in BOTH {
        let fixture = Fixture::confined(confinement);
        let view = fixture.view();
        let written = write_to(&view, "/a", "one").expect("written");
        assert!(written.created);
        assert_eq!(read_from(&view, "/a").expect("read"), "one");
        let written = write_to(&view, "/a", "two and more").expect("written");
        assert!(!written.created);
        assert_eq!((written.entry.size_bytes, written.entry.mode), (12, 0o644));
        assert_eq!(view.stat(&path("/a"), false).expect("an entry").etag, written.entry.etag);
        assert_eq!(fixture.everything(), ["a two and more"]);
    }
}

#[test]
fn any_name_that_linux_allows_works() {
    let fixture = Fixture::new();
    let view = fixture.view();
    let long = "n".repeat(255);
    let odd: [&[u8]; 9] =
        [b"[id].tsx", b"*", b"-x", b"a\nb", b"\xff\xfe", b" ", b"%2e", b"...", long.as_bytes()];
    for name in odd {
        let file = devbox_types::BoxPath::root().join(name).expect("a path");
        write(&view, WriteRequest::to(file.clone()), name).expect("written");
        assert_eq!(read(&view, &ReadRequest::whole(file)).expect("read"), name);
    }
    let page = view.list(&devbox_types::ListRequest::of(path("/"))).expect("a page");
    let mut listed: Vec<Vec<u8>> =
        page.entries.iter().map(|entry| entry.path.0.as_bytes().to_vec()).collect();
    let mut expected: Vec<Vec<u8>> = odd.iter().map(|name| name.to_vec()).collect();
    expected.sort();
    assert_eq!(listed, expected);
    listed.clear();
}

#[test]
fn a_failed_write_leaves_the_old_file_and_no_debris() {
    let fixture = Fixture::new();
    let view = fixture.view();
    fixture.put("a", "old");
    let digest = WriteRequest { digests: Digests::of_sha256([7; 32]), ..WriteRequest::to(path("/a")) };
    assert_eq!(code(write(&view, digest, b"new")), ErrorCode::DigestMismatch);
    let short = WriteRequest { length: Some(9), ..WriteRequest::to(path("/a")) };
    assert_eq!(code(write(&view, short.clone(), b"new")), ErrorCode::Interrupted);
    assert_eq!(code(write(&view, short, b"more than nine")), ErrorCode::InvalidRequest);
    let abandoned = WriteRequest { make_parents: true, ..WriteRequest::to(path("/x/y/z")) };
    let mut staged = view.stage(abandoned).expect("staged");
    staged.write(b"half").expect("written");
    assert!(fixture.host("x/y").is_dir());
    drop(staged);
    let limited = Grant { max_bytes: Some(4), ..Grant::whole_box() };
    let limited = fixture.root.enter(&limited).expect("a view");
    assert_eq!(code(write_to(&limited, "/a", "12345")), ErrorCode::TooLarge);
    assert_eq!(fixture.everything(), ["a old"]);
}

#[test]
fn a_digest_that_fits_is_accepted() {
    let fixture = Fixture::new();
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let mut digest = [0; 32];
    for (place, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&abc[2 * place..2 * place + 2], 16).expect("hex");
    }
    let request = WriteRequest {
        digests: Digests::of_sha256(digest),
        length: Some(3),
        durability: Durability::Power,
        ..WriteRequest::to(path("/a"))
    };
    write(&fixture.view(), request, b"abc").expect("written");
}

#[test]
fn mode_time_and_attributes_are_set_or_kept() {
    let fixture = Fixture::new();
    let view = fixture.view();
    let request = WriteRequest {
        mode: Some(0o4751),
        modified: Some(Timestamp::from_parts(1_000_000_000, 5)),
        ..WriteRequest::to(path("/a"))
    };
    let written = write(&view, request, b"one").expect("written");
    assert_eq!(written.entry.mode, 0o4751);
    assert_eq!(written.entry.modified, Timestamp::from_parts(1_000_000_000, 5));
    let host = fixture.host("a");
    rustix::fs::setxattr(&host, "user.note", b"kept", rustix::fs::XattrFlags::empty()).expect("an attribute");
    let inode = host.metadata().expect("metadata").ino();
    std::fs::hard_link(&host, fixture.host("other-name")).expect("a link");
    let written = write_to(&view, "/a", "two").expect("written");
    assert_eq!(written.entry.mode, 0o4751);
    let mut value = [0; 10];
    assert_eq!(rustix::fs::getxattr(&host, "user.note", &mut value[..]), Ok(4));
    assert_ne!(host.metadata().expect("metadata").ino(), inode);
    assert_eq!(fixture.get("other-name"), "one");
}

#[test]
fn the_mode_does_not_depend_on_the_umask_of_the_process() {
    let fixture = Fixture::new();
    let view = fixture.view();
    let request = WriteRequest { make_parents: true, ..WriteRequest::to(path("/d/e/a")) };
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let written = write(&view, request, b"x").expect("written");
    rustix::process::umask(before);
    assert_eq!(written.entry.mode, 0o644);
    assert_eq!(fixture.host("d/e").metadata().expect("metadata").permissions().mode() & 0o7777, 0o755);
}

#[test]
fn a_final_link_is_followed_unless_nofollow() {
    for confinement in BOTH {
        let fixture = Fixture::confined(confinement);
        let view = fixture.view();
        std::fs::create_dir_all(fixture.host("d/e")).expect("directories");
        let links =
            [("d/link", "e/target"), ("d/up", "../top"), ("d/absolute", "/d/e/inside"), ("chain", "d/link")];
        for (name, target) in links {
            std::os::unix::fs::symlink(target, fixture.host(name)).expect("a link");
        }
        write_to(&view, "/chain", "1").expect("through two links");
        write_to(&view, "/d/up", "2").expect("through ..");
        write_to(&view, "/d/absolute", "3").expect("through /");
        assert_eq!(
            (fixture.get("d/e/target"), fixture.get("top"), fixture.get("d/e/inside")),
            ("1".to_owned(), "2".to_owned(), "3".to_owned())
        );
        let request = WriteRequest { nofollow: true, ..WriteRequest::to(path("/chain")) };
        write(&view, request, b"4").expect("over the link");
        assert!(fixture.host("chain").symlink_metadata().expect("metadata").is_file());
        assert_eq!(fixture.get("d/e/target"), "1");
    }
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let fixture = Fixture::new();
    let view = fixture.view();
    fixture.put("file", "x");
    std::fs::create_dir(fixture.host("d")).expect("a directory");
    rustix::fs::mkfifoat(rustix::fs::CWD, fixture.host("fifo"), rustix::fs::Mode::RWXU).expect("a FIFO");
    let _socket = std::os::unix::net::UnixListener::bind(fixture.host("socket")).expect("a socket");
    for (name, target) in [("loop", "loop"), ("dangling", "missing/x"), ("to-dir", "d"), ("dots", "d/..")] {
        std::os::unix::fs::symlink(target, fixture.host(name)).expect("a link");
    }
    let cases = [
        ("/d", ErrorCode::IsADirectory, ErrorCode::IsADirectory),
        ("/to-dir", ErrorCode::IsADirectory, ErrorCode::IsADirectory),
        ("/dots", ErrorCode::IsADirectory, ErrorCode::IsADirectory),
        ("/", ErrorCode::IsADirectory, ErrorCode::IsADirectory),
        ("/fifo", ErrorCode::NotARegularFile, ErrorCode::NotARegularFile),
        ("/socket", ErrorCode::NotARegularFile, ErrorCode::NotARegularFile),
        ("/loop", ErrorCode::SymlinkLoop, ErrorCode::SymlinkLoop),
        ("/dangling", ErrorCode::NotFound, ErrorCode::NotFound),
        ("/missing/a", ErrorCode::NotFound, ErrorCode::NotFound),
        ("/file/a", ErrorCode::NotADirectory, ErrorCode::NotADirectory),
        ("/file/", ErrorCode::NotADirectory, ErrorCode::NotADirectory),
        ("/missing/", ErrorCode::NotFound, ErrorCode::IsADirectory),
        ("/.~devbox-state", ErrorCode::InvalidPath, ErrorCode::InvalidPath),
        ("/d/.~devbox-x/y", ErrorCode::InvalidPath, ErrorCode::InvalidPath),
    ];
    let before = fixture.everything();
    for (name, on_read, on_write) in cases {
        assert_eq!(code(read_from(&view, name)), on_read, "read {name}");
        assert_eq!(code(write_to(&view, name, "y")), on_write, "write {name}");
    }
    let root = WriteRequest::to(devbox_types::BoxPath::root());
    assert_eq!(code(write(&view, root, b"y")), ErrorCode::IsADirectory);
    assert_eq!(fixture.everything(), before);
}

#[test]
fn conditions_hold_or_nothing_happens() {
    let fixture = Fixture::new();
    let view = fixture.view();
    let request = |condition| WriteRequest { condition, ..WriteRequest::to(path("/a")) };
    assert_eq!(code(write(&view, request(WriteCondition::Present), b"0")), ErrorCode::PreconditionFailed);
    let written = write(&view, request(WriteCondition::Absent), b"1").expect("created");
    assert_eq!(code(write(&view, request(WriteCondition::Absent), b"2")), ErrorCode::PreconditionFailed);
    write(&view, request(WriteCondition::Present), b"3").expect("replaced");
    let stale = WriteCondition::Matches(vec![written.entry.etag.expect("a tag")]);
    assert_eq!(code(write(&view, request(stale), b"4")), ErrorCode::PreconditionFailed);
    let tag = strong_tag(&view, "/a");
    write(&view, request(WriteCondition::Matches(vec![tag])), b"5").expect("replaced");
    assert_eq!(fixture.everything(), ["a 5"]);
}

#[test]
fn of_two_writers_with_the_same_tag_exactly_one_wins() {
    const ROUNDS: usize = 200;
    let fixture = Fixture::new();
    let mut wins = 0;
    for round in 0..ROUNDS {
        let name = format!("/f{round}");
        write_to(&fixture.view(), &name, "old").expect("written");
        let mut tag = None;
        while tag.as_ref().is_none_or(devbox_types::Etag::is_weak) {
            tag = fixture.view().stat(&path(&name), false).expect("an entry").etag;
        }
        let condition = WriteCondition::Matches(vec![tag.expect("a tag")]);
        let barrier = Barrier::new(2);
        let attempt = |content: &'static [u8]| {
            let request = WriteRequest { condition: condition.clone(), ..WriteRequest::to(path(&name)) };
            let mut staged = fixture.view().stage(request).expect("staged");
            staged.write(content).expect("written");
            barrier.wait();
            staged.publish()
        };
        let (one, two) = std::thread::scope(|scope| {
            let one = scope.spawn(|| attempt(b"one"));
            let two = scope.spawn(|| attempt(b"two"));
            (one.join().expect("no panic"), two.join().expect("no panic"))
        });
        assert!(one.is_ok() != two.is_ok(), "round {round}: {one:?} {two:?}");
        let winner = if one.is_ok() { "one" } else { "two" };
        assert_eq!(fixture.get(&name[1..]), winner);
        wins += 1;
    }
    assert_eq!((wins, names(&fixture.view(), "/").len()), (ROUNDS, ROUNDS));
}

#[test]
fn a_process_that_replaces_the_file_under_a_conditional_writer_is_never_overwritten() {
    const ROUNDS: usize = 300;
    let fixture = Fixture::new();
    let view = fixture.view();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A process in the box that counts up by renames, and notices if a count of its own was lost.
        let counter = scope.spawn(|| {
            let mut count = 0_u64;
            let mut lost = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                count += 1;
                std::fs::write(fixture.host("new"), format!("process {count:020}")).expect("written");
                std::fs::rename(fixture.host("new"), fixture.host("a")).expect("renamed");
                std::thread::yield_now();
                // What an API writer put there is built on what it read, so it must name our count. One that lost the race
                // shows for the moment until it is exchanged back.
                let ours = format!("{count:020}");
                let patience = std::time::Instant::now() + std::time::Duration::from_secs(2);
                while !fixture.get("a").ends_with(&ours) {
                    if std::time::Instant::now() > patience {
                        lost += 1;
                        break;
                    }
                    std::thread::yield_now();
                }
            }
            lost
        });
        let mut won = 0;
        for _ in 0..ROUNDS {
            let Ok((head, mut reader)) = view.open_file(&ReadRequest::whole(path("/a"))) else { continue };
            let mut content = vec![0; 64];
            let Ok(length) = reader.read(&mut content) else { continue };
            let built_on = String::from_utf8_lossy(&content[..length]).replace("process", "request");
            let condition = WriteCondition::Matches(vec![head.entry.etag.expect("a tag")]);
            let request = WriteRequest { condition, ..WriteRequest::to(path("/a")) };
            won += u32::from(write(&view, request, built_on.as_bytes()).is_ok());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(counter.join().expect("no panic"), 0, "{won} conditional writes won");
    });
    assert!(fixture.everything().iter().all(|entry| !entry.starts_with(".~")), "{:?}", fixture.everything());
}

#[test]
fn a_reader_sees_the_old_bytes_or_the_new() {
    const SIZE: usize = 300_000;
    let fixture = Fixture::new();
    let view = fixture.view();
    write_to(&view, "/a", &"0".repeat(SIZE)).expect("written");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let content = std::fs::read(fixture.host("a")).expect("always there");
                assert_eq!(content.len(), SIZE);
                assert!(content.iter().all(|byte| *byte == content[0]));
                reads += 1;
            }
            reads
        });
        for round in 0..200 {
            write_to(&view, "/a", &(round % 10).to_string().repeat(SIZE)).expect("written");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(reader.join().expect("no panic") > 0);
    });
}

#[test]
fn a_grant_gives_no_more_than_it_says() {
    let fixture = Fixture::new();
    fixture.put("in/a", "inside");
    fixture.put("out", "outside");
    std::os::unix::fs::symlink("../out", fixture.host("in/up")).expect("a link");
    std::os::unix::fs::symlink("/out", fixture.host("in/absolute")).expect("a link");
    for confinement in BOTH {
        let options = devbox_fs::RootOptions::default().with_confinement(confinement);
        let root = devbox_fs::BoxRoot::open(fixture.directory.path(), options).expect("a root");
        let view = root.enter(&Grant { root: path("/in"), ..Grant::whole_box() }).expect("a view");
        assert_eq!(read_from(&view, "/a").expect("read"), "inside");
        for name in ["/up", "/absolute"] {
            assert_eq!(code(read_from(&view, name)), ErrorCode::PathEscapes);
            assert_eq!(code(write_to(&view, name, "x")), ErrorCode::PathEscapes);
            assert_eq!(code(view.stat(&path(name), true)), ErrorCode::PathEscapes);
        }
        assert!(view.stat(&path("/up"), false).is_ok());
    }
    let read_only = Grant { rights: Rights::of(&[Right::Read]), ..Grant::whole_box() };
    let view = fixture.root.enter(&read_only).expect("a view");
    assert_eq!(code(write_to(&view, "/a", "x")), ErrorCode::Forbidden);
    assert_eq!(code(view.apply(&[])), ErrorCode::Forbidden);
    let write_only = Grant { rights: Rights::of(&[Right::Write]), ..Grant::whole_box() };
    let view = fixture.root.enter(&write_only).expect("a view");
    assert_eq!(code(read_from(&view, "/out")), ErrorCode::Forbidden);
    assert_eq!(fixture.scoped("/in").stat(&path("/"), false).expect("an entry").path.0, path("/"));
    let missing = Grant { root: path("/missing"), ..Grant::whole_box() };
    assert_eq!(code(fixture.root.enter(&missing)), ErrorCode::NotFound);
    assert_eq!(fixture.get("out"), "outside");
}

#[test]
fn ranges_and_versions_are_honoured() {
    let fixture = Fixture::new();
    let view = fixture.view();
    fixture.put("a", "0123456789");
    let tag = strong_tag(&view, "/a");
    let request = |range| ReadRequest { range, ..ReadRequest::whole(path("/a")) };
    let part = ByteRange::FromTo { first: 2, last: Some(4) };
    assert_eq!(read(&view, &request(part)).expect("read"), b"234");
    assert_eq!(read(&view, &request(ByteRange::Suffix { length: 3 })).expect("read"), b"789");
    let beyond = ByteRange::FromTo { first: 10, last: None };
    assert_eq!(code(read(&view, &request(beyond))), ErrorCode::RangeNotSatisfiable);
    let (head, _) = view.open_file(&request(part)).expect("open");
    assert_eq!((head.partial, head.offset, head.length, head.entry.size_bytes), (true, 2, 3, 10));
    let known = ReadRequest { if_none_match: vec![tag.clone()], ..request(ByteRange::Whole) };
    assert!(view.open_file(&known).expect("open").0.not_modified);
    let same = ReadRequest { if_range: Some(tag), ..request(part) };
    assert!(view.open_file(&same).expect("open").0.partial);
    fixture.put("a", "changed");
    assert!(!view.open_file(&same).expect("open").0.partial);
    let (head, mut reader) =
        view.open_file(&ReadRequest { head: true, ..request(ByteRange::Whole) }).expect("open");
    assert_eq!((head.length, reader.read(&mut [0; 8]).expect("nothing")), (7, 0));
}

#[test]
fn directories_of_abandoned_writes_that_overlap_are_all_taken_back() {
    for first_ends_first in [true, false] {
        let fixture = Fixture::new();
        let begin = |name: &str| {
            let request = WriteRequest { make_parents: true, ..WriteRequest::to(path(name)) };
            fixture.view().stage(request).expect("staged")
        };
        let (first, second, third) = (begin("x/a"), begin("x/y/b"), begin("x/y/z/c"));
        match first_ends_first {
            true => (drop(first), drop(second), drop(third)),
            false => (drop(second), drop(third), drop(first)),
        };
        assert_eq!(fixture.everything(), Vec::<String>::new());
        assert_eq!(journals(fixture.directory.path()), 0);
    }
}

#[test]
fn a_directory_that_another_write_uses_stays_for_it() {
    let fixture = Fixture::new();
    let begin = |name: &str| {
        let request = WriteRequest { make_parents: true, ..WriteRequest::to(path(name)) };
        fixture.view().stage(request).expect("staged")
    };
    let (first, mut second) = (begin("x/a"), begin("x/y/b"));
    drop(first);
    second.write(b"kept").expect("written");
    second.publish().expect("published");
    assert_eq!(fixture.get("x/y/b"), "kept");
    // What is removed from it later does not take it along.
    std::fs::remove_dir_all(fixture.host("x/y")).expect("removed");
    drop(begin("other/file"));
    assert!(fixture.host("x").is_dir());
    assert_eq!(journals(fixture.directory.path()), 0);
}
