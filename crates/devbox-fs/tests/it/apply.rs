use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use devbox_fs::View;
use devbox_types::operation::{Operation, Report};
use devbox_types::{ErrorCode, Timestamp};

use crate::fixture::{BOTH, Fixture, code, path};

fn one(view: &View, operation: Operation) -> Result<Report, devbox_fs::FsError> {
    view.apply(&[operation])
}

fn mkdir(name: &str) -> Operation {
    Operation::Mkdir { path: path(name), mode: None, parents: false }
}

fn rename(from: &str, to: &str, overwrite: bool) -> Operation {
    Operation::Move { from: path(from), to: path(to), overwrite }
}

fn copy(from: &str, to: &str, overwrite: bool) -> Operation {
    Operation::Copy { from: path(from), to: path(to), recursive: true, overwrite }
}

fn delete(name: &str, recursive: bool) -> Operation {
    Operation::Delete { path: path(name), recursive, missing_ok: false }
}

fn symlink(name: &str, target: &str) -> Operation {
    Operation::Symlink { path: path(name), target: target.into() }
}

fn sample() -> Fixture {
    sample_in(Fixture::new())
}

fn sample_in(fixture: Fixture) -> Fixture {
    fixture.put("file", "content");
    fixture.put("tree/a", "a");
    fixture.put("tree/b/c", "c");
    std::os::unix::fs::symlink("../file", fixture.host("tree/link")).expect("a link");
    std::fs::create_dir(fixture.host("empty")).expect("a directory");
    fixture
}

#[test]
fn each_operation_does_what_it_says() {
    for confinement in BOTH {
        let fixture = sample_in(Fixture::confined(confinement));
        let view = fixture.view();
        one(&view, mkdir("/new")).expect("made");
        let parents = Operation::Mkdir { path: path("/p/q/r"), mode: Some(0o1750), parents: true };
        one(&view, parents.clone()).expect("made");
        one(&view, parents).expect("is there already");
        assert_eq!(fixture.host("p/q/r").metadata().expect("metadata").permissions().mode() & 0o7777, 0o1750);
        one(&view, symlink("/l", "anywhere/at all")).expect("made");
        let report = one(&view, copy("/tree", "/copied", false)).expect("copied");
        assert_eq!((report.entries, report.bytes, report.atomic), (5, 2, true));
        one(&view, rename("/file", "/new/renamed", false)).expect("moved");
        one(&view, rename("/copied/a", "/tree/b/c", true)).expect("moved over");
        let report = one(&view, delete("/tree", true)).expect("deleted");
        assert_eq!((report.entries, report.atomic), (5, true));
        one(&view, delete("/empty", false)).expect("deleted");
        assert_eq!(
            fixture.everything(),
            [
                "copied/",
                "copied/b/",
                "copied/b/c c",
                "copied/link -> ../file",
                "l -> anywhere/at all",
                "new/",
                "new/renamed content",
                "p/",
                "p/q/",
                "p/q/r/"
            ]
        );
    }
}

#[test]
fn a_copy_has_mode_time_attributes_and_holes() {
    let fixture = sample();
    let host = fixture.host("file");
    let file = std::fs::OpenOptions::new().write(true).open(&host).expect("open");
    file.set_len(64 << 20).expect("sparse");
    rustix::fs::setxattr(&host, "user.note", b"kept", rustix::fs::XattrFlags::empty()).expect("an attribute");
    std::fs::set_permissions(&host, std::fs::Permissions::from_mode(0o751)).expect("mode");
    let view = fixture.view();
    let modified = Timestamp::from_parts(1_234_567_890, 123_456_789);
    one(&view, Operation::Utime { path: path("/file"), modified: Some(modified), nofollow: false })
        .expect("time");
    one(&view, copy("/file", "/copied", false)).expect("copied");
    let entry = view.stat(&path("/copied"), false).expect("an entry");
    assert_eq!((entry.mode, entry.modified, entry.size_bytes), (0o751, modified, 64 << 20));
    let copied = fixture.host("copied");
    assert_eq!(rustix::fs::getxattr(&copied, "user.note", &mut [0; 9][..]), Ok(4));
    assert!(copied.metadata().expect("metadata").blocks() < 100);
    assert!(std::fs::read(&copied).expect("read").starts_with(b"content\0"));
}

#[test]
fn metadata_follows_links_unless_told_not_to() {
    let fixture = sample();
    let view = fixture.view();
    std::os::unix::fs::symlink("tree/b", fixture.host("to-dir")).expect("a link");
    one(&view, Operation::Chmod { path: path("/tree/link"), mode: 0o600 }).expect("mode");
    one(&view, Operation::Chmod { path: path("/to-dir"), mode: 0o700 }).expect("mode");
    assert_eq!(view.stat(&path("/file"), false).expect("an entry").mode, 0o600);
    assert_eq!(view.stat(&path("/tree/b"), false).expect("an entry").mode, 0o700);
    let time = Timestamp::from_parts(5, 6);
    one(&view, Operation::Utime { path: path("/to-dir"), modified: Some(time), nofollow: true })
        .expect("time");
    assert_eq!(view.stat(&path("/to-dir"), false).expect("an entry").modified, time);
    assert_ne!(view.stat(&path("/tree/b"), false).expect("an entry").modified, time);
    one(&view, Operation::Utime { path: path("/file"), modified: None, nofollow: false }).expect("now");
    one(&view, Operation::Chmod { path: path("/"), mode: 0o711 }).expect("the root's mode");
    assert_eq!(fixture.directory.path().metadata().expect("metadata").permissions().mode() & 0o777, 0o711);
}

#[test]
fn each_bad_operation_says_why_and_changes_nothing() {
    let fixture = sample();
    let view = fixture.view();
    std::os::unix::fs::symlink("nowhere", fixture.host("dangling")).expect("a link");
    let before = fixture.everything();
    let parents = |name| Operation::Mkdir { path: path(name), mode: None, parents: true };
    let cases = [
        (mkdir("/file"), ErrorCode::Exists),
        (mkdir("/"), ErrorCode::Exists),
        (mkdir("/x/y"), ErrorCode::NotFound),
        (mkdir("/file/x"), ErrorCode::NotADirectory),
        (parents("/file"), ErrorCode::NotADirectory),
        (parents("/file/x"), ErrorCode::NotADirectory),
        (parents("/dangling/x"), ErrorCode::NotADirectory),
        (parents("/dangling"), ErrorCode::NotADirectory),
        (
            Operation::Mkdir { path: path("/m"), mode: Some(0o10000), parents: false },
            ErrorCode::InvalidRequest,
        ),
        (symlink("/file", "x"), ErrorCode::Exists),
        (symlink("/s", ""), ErrorCode::InvalidRequest),
        (symlink("/s", "a\0b"), ErrorCode::InvalidRequest),
        (symlink("/s/", "a"), ErrorCode::InvalidRequest),
        (rename("/missing", "/m", false), ErrorCode::NotFound),
        (rename("/file", "/tree/a", false), ErrorCode::Exists),
        (rename("/file", "/tree", true), ErrorCode::IsADirectory),
        (rename("/tree", "/file", true), ErrorCode::NotADirectory),
        (rename("/empty", "/tree", true), ErrorCode::DirectoryNotEmpty),
        (rename("/tree", "/tree/b/x", false), ErrorCode::InvalidRequest),
        (rename("/file", "/nowhere/x", false), ErrorCode::NotFound),
        (rename("/file", "/x/", false), ErrorCode::NotADirectory),
        (rename("/file", "/empty/x/", false), ErrorCode::NotADirectory),
        (rename("/", "/x", false), ErrorCode::InvalidPath),
        (copy("/missing", "/m", false), ErrorCode::NotFound),
        (copy("/file", "/tree/a", false), ErrorCode::Exists),
        (copy("/file", "/file", true), ErrorCode::InvalidRequest),
        (copy("/tree", "/tree/b/x", false), ErrorCode::InvalidRequest),
        (copy("/tree", "/empty", true), ErrorCode::IsADirectory),
        (copy("/tree", "/file", true), ErrorCode::NotADirectory),
        (
            Operation::Copy { from: path("/tree"), to: path("/m"), recursive: false, overwrite: false },
            ErrorCode::IsADirectory,
        ),
        (delete("/tree", false), ErrorCode::DirectoryNotEmpty),
        (delete("/missing", true), ErrorCode::NotFound),
        (delete("/file/", true), ErrorCode::NotADirectory),
        (delete("/", true), ErrorCode::InvalidPath),
        (delete("/.~devbox-state", true), ErrorCode::InvalidPath),
        (Operation::Chmod { path: path("/missing"), mode: 0 }, ErrorCode::NotFound),
        (Operation::Chmod { path: path("/dangling"), mode: 0 }, ErrorCode::NotFound),
        (Operation::Chmod { path: path("/file"), mode: 0o17777 }, ErrorCode::InvalidRequest),
        (
            Operation::Chown { path: path("/file"), owner: None, gid: None, nofollow: false },
            ErrorCode::InvalidRequest,
        ),
    ];
    for (operation, expected) in cases {
        let name = format!("{operation:?}");
        assert_eq!(code(one(&view, operation.clone())), expected, "alone: {name}");
        assert_eq!(fixture.everything(), before, "alone: {name}");
        let list = [mkdir("/before"), operation];
        assert_eq!(code(view.apply(&list)), expected, "in a list: {name}");
        assert_eq!(fixture.everything(), before, "in a list: {name}");
    }
    let missing_ok = Operation::Delete { path: path("/no/where"), recursive: true, missing_ok: true };
    one(&view, missing_ok).expect("nothing to do");
}

#[test]
fn a_list_that_fails_is_undone_exactly() {
    let fixture = sample();
    let view = fixture.view();
    let before = fixture.everything();
    let stat = |name: &str| {
        let entry = view.stat(&path(name), false).expect("an entry");
        // Coming and going of names is a change of a directory that nobody can hide.
        let modified = (entry.kind == devbox_types::EntryKind::File).then_some(entry.modified);
        (entry.mode, entry.uid, entry.gid, modified)
    };
    let metadata = ["/file", "/tree/a", "/tree/b"].map(stat);
    let list = [
        mkdir("/made"),
        symlink("/made/link", "x"),
        Operation::Chmod { path: path("/tree/a"), mode: 0o4700 },
        Operation::Utime {
            path: path("/file"),
            modified: Some(Timestamp::from_parts(1, 0)),
            nofollow: false,
        },
        copy("/tree", "/made/tree", false),
        copy("/tree/a", "/file", true),
        rename("/tree/b", "/made/b", false),
        rename("/made/tree/a", "/made/b/c", true),
        rename("/made/b", "/empty", true),
        delete("/tree", true),
        Operation::Mkdir { path: path("/tree/x/y"), mode: None, parents: true },
        delete("/file", false),
        delete("/missing", false),
    ];
    assert_eq!(code(view.apply(&list)), ErrorCode::NotFound);
    assert_eq!(fixture.everything(), before);
    assert_eq!(["/file", "/tree/a", "/tree/b"].map(stat), metadata);
    let report = view.apply(&list[..list.len() - 1]).expect("applied");
    assert!(!report.atomic);
    assert_eq!(
        fixture.everything(),
        [
            "empty/",
            "empty/c a",
            "made/",
            "made/link -> x",
            "made/tree/",
            "made/tree/b/",
            "made/tree/b/c c",
            "made/tree/link -> ../file",
            "tree/",
            "tree/x/",
            "tree/x/y/"
        ]
    );
}

#[test]
fn a_deep_tree_is_deleted_with_few_descriptors() {
    const DEPTH: usize = 3000;
    let fixture = Fixture::new();
    let mut here = rustix::fs::open(
        fixture.directory.path(),
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY,
        rustix::fs::Mode::empty(),
    )
    .expect("open");
    for _ in 0..DEPTH {
        rustix::fs::mkdirat(&here, "d", rustix::fs::Mode::RWXU).expect("made");
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        here = rustix::fs::openat(&here, "d", flags, rustix::fs::Mode::empty()).expect("open");
    }
    assert_eq!(code(one(&fixture.view(), copy("/d", "/e", false))), ErrorCode::TooLarge);
    assert_eq!(fixture.directory.path().read_dir().expect("read").count(), 2);
    let report = one(&fixture.view(), delete("/d", true)).expect("deleted");
    assert_eq!(report.entries, u64::try_from(DEPTH).expect("small"));
    assert_eq!(fixture.everything(), [""; 0]);
}

/// An undo that went by the inode number alone removed the very file, once its new name was taken by another name of it.
#[test]
fn a_hard_link_that_fails_in_a_list_leaves_the_file() {
    for to in ["/file", "/tree/again"] {
        let fixture = sample();
        let view = fixture.view();
        one(&view, Operation::Link { from: path("/file"), to: path("/tree/again") }).expect("linked");
        let before = fixture.everything();
        let link = Operation::Link { from: path("/file"), to: path(to) };
        assert_eq!(code(view.apply(&[mkdir("/new"), link])), ErrorCode::Exists);
        assert_eq!(fixture.everything(), before);
    }
}

/// A write that may not replace answers alike for a directory in its place, alone and among others.
#[test]
fn a_write_that_may_not_replace_finds_a_directory() {
    let fixture = sample();
    let view = fixture.view();
    let write = Operation::Write {
        path: path("/tree"),
        content: Vec::new(),
        mode: None,
        parents: false,
        overwrite: false,
        nofollow: false,
    };
    assert_eq!(code(one(&view, write.clone())), ErrorCode::Exists);
    assert_eq!(code(view.apply(&[write, mkdir("/new")])), ErrorCode::Exists);
}
