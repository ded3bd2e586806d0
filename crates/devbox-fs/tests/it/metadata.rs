use std::os::unix::fs::{MetadataExt as _, symlink};

use devbox_types::entry::StatRequest;
use devbox_types::metadata::{Group, MetadataChange, Xattr, XattrChange};
use devbox_types::operation::{Operation, Operations};
use devbox_types::{Entry, ErrorCode, Etag, Timestamp};

use crate::fixture::{BOTH, Fixture, code, path, strong_tag, write_to};

fn set(name: &str, set: MetadataChange) -> Operation {
    Operation::SetMetadata { path: path(name), set }
}

fn xattr(name: &str, value: Option<&[u8]>) -> XattrChange {
    XattrChange { name: name.into(), value: value.map(<[u8]>::to_vec) }
}

fn xattrs(changes: Vec<XattrChange>) -> MetadataChange {
    MetadataChange { xattrs: changes, ..MetadataChange::default() }
}

fn look(fixture: &Fixture, name: &str) -> Entry {
    let request = StatRequest { path: path(name), follow: false, xattrs: true };
    fixture.view().look(&request).expect("an entry")
}

/// Everything that `set_metadata` can change.
fn state(fixture: &Fixture, name: &str) -> (u32, u32, u32, Timestamp, i64, Option<Vec<Xattr>>) {
    let entry = look(fixture, name);
    let accessed = fixture.host(name.trim_start_matches('/')).metadata().expect("metadata").atime_nsec();
    (entry.mode, entry.uid, entry.gid, entry.modified, accessed, entry.xattrs)
}

#[test]
fn all_that_is_asked_for_is_set() {
    for confinement in BOTH {
        let fixture = Fixture::confined(confinement);
        let view = fixture.view();
        fixture.put("file", "content");
        let time = |seconds| Some(Timestamp::from_parts(seconds, 123_456_789));
        let change = MetadataChange {
            mode: Some(0o4750),
            modified: time(1_000),
            accessed: time(2_000),
            xattrs: vec![xattr("user.a", Some(b"\0\xff")), xattr("user.b", Some(b""))],
            ..MetadataChange::default()
        };
        let report = view.apply(&[set("/file", change)]).expect("set");
        assert_eq!((report.entries, report.atomic), (1, false));
        let entry = look(&fixture, "/file");
        assert_eq!(report.entry.as_deref(), Some(&entry));
        assert_eq!((entry.mode, entry.modified), (0o4750, Timestamp::from_parts(1_000, 123_456_789)));
        assert_eq!(fixture.host("file").metadata().expect("metadata").atime(), 2_000);
        let told = [("user.a", &b"\0\xff"[..]), ("user.b", b"")];
        let told = told.map(|(name, value)| Xattr { name: name.into(), value: value.to_vec() });
        assert_eq!(entry.xattrs.as_deref(), Some(&told[..]));
        let removal = xattrs(vec![xattr("user.b", None), xattr("user.none", None)]);
        let report = view.apply(&[set("/file", removal)]).expect("removed");
        let told = report.entry.expect("the entry").xattrs.expect("attributes");
        assert_eq!(told.len(), 1);
        let one = MetadataChange { mode: Some(0o600), ..MetadataChange::default() };
        assert!(view.apply(&[set("/file", one)]).expect("set").atomic, "one step is one step");
        assert_eq!(view.stat(&path("/file"), false).expect("an entry").xattrs, None);
    }
}

#[test]
fn a_failure_takes_all_of_it_back() {
    let fixture = Fixture::new();
    let view = fixture.view();
    fixture.put("file", "content");
    let first = MetadataChange {
        mode: Some(0o640),
        modified: Some(Timestamp::from_nanoseconds(5)),
        xattrs: vec![xattr("user.kept", Some(b"old"))],
        ..MetadataChange::default()
    };
    view.apply(&[set("/file", first)]).expect("set");
    let before = state(&fixture, "/file");
    let second = MetadataChange {
        mode: Some(0o777),
        accessed: Some(Timestamp::from_nanoseconds(9)),
        modified: Some(Timestamp::from_nanoseconds(9)),
        xattrs: vec![xattr("user.kept", Some(&[7; 64 << 10])), xattr("user.new", Some(b"new"))],
        ..MetadataChange::default()
    };
    let missing = Operation::Delete { path: path("/missing"), recursive: false, missing_ok: false };
    // The longest value that there may be does not fit beside the old one on most file systems: either way all comes back.
    let failed = view.apply(&[set("/file", second), missing]);
    assert!(failed.is_err());
    assert_eq!(state(&fixture, "/file"), before);
    assert_eq!(fixture.everything(), ["file content"]);
}

#[test]
fn a_version_is_asked_for() {
    let fixture = Fixture::new();
    let view = fixture.view();
    let change =
        |tag: Etag| MetadataChange { mode: Some(0o600), if_match: vec![tag], ..MetadataChange::default() };
    let old = write_to(&view, "/file", "one").expect("written").entry.etag.expect("a tag");
    let new = strong_tag(&view, "/file");
    let stale = Etag::of_version(1, 2, 3, false);
    assert_eq!(code(view.apply(&[set("/file", change(stale))])), ErrorCode::PreconditionFailed);
    let entry = view.apply(&[set("/file", change(new.clone()))]).expect("set").entry.expect("the entry");
    assert_ne!(entry.etag, Some(old), "the change is a version of its own");
    assert_eq!(code(view.apply(&[set("/file", change(new.clone()))])), ErrorCode::PreconditionFailed);
    std::fs::create_dir(fixture.host("directory")).expect("a directory");
    assert_eq!(code(view.apply(&[set("/directory", change(new))])), ErrorCode::PreconditionFailed);
}

#[test]
fn nonsense_is_refused_before_anything_is_set() {
    let fixture = Fixture::new();
    let view = fixture.view();
    fixture.put("file", "content");
    let before = state(&fixture, "/file");
    let mode = |xattrs| MetadataChange { mode: Some(0o600), xattrs, ..MetadataChange::default() };
    let long = format!("user.{}", "n".repeat(251));
    for (change, expected) in [
        (MetadataChange::default(), ErrorCode::InvalidRequest),
        (MetadataChange { mode: Some(0o10000), ..MetadataChange::default() }, ErrorCode::InvalidRequest),
        (mode(vec![xattr("security.capability", Some(b"x"))]), ErrorCode::InvalidRequest),
        (mode(vec![xattr("trusted.overlay.opaque", Some(b"y"))]), ErrorCode::InvalidRequest),
        (mode(vec![xattr("system.posix_acl_access", Some(b"y"))]), ErrorCode::InvalidRequest),
        (mode(vec![xattr("user.", Some(b"x"))]), ErrorCode::InvalidRequest),
        (mode(vec![xattr("user.a\0b", Some(b"x"))]), ErrorCode::InvalidRequest),
        (mode(vec![xattr(&long, Some(b"x"))]), ErrorCode::InvalidRequest),
        (mode(vec![xattr("user.a", None), xattr("user.a", Some(b"x"))]), ErrorCode::InvalidRequest),
        (mode(vec![xattr("user.a", Some(&vec![0; (64 << 10) + 1]))]), ErrorCode::TooLarge),
        (
            MetadataChange {
                group: Some(Group::Named("nobody-has-it".to_owned())),
                ..MetadataChange::default()
            },
            ErrorCode::InvalidRequest,
        ),
        (
            MetadataChange {
                owner: Some("nobody-has-it".parse().expect("a user")),
                ..MetadataChange::default()
            },
            ErrorCode::InvalidRequest,
        ),
    ] {
        assert_eq!(code(view.apply(&[set("/file", change.clone())])), expected, "{change:?}");
        assert_eq!(state(&fixture, "/file"), before, "{change:?}");
    }
    assert_eq!(code(view.apply(&[set("/missing", mode(vec![]))])), ErrorCode::NotFound);
}

#[test]
fn links_are_followed_inside_or_acted_upon() {
    for confinement in BOTH {
        let fixture = Fixture::confined(confinement);
        fixture.put("in/file", "x");
        fixture.put("secret", "secret");
        symlink("file", fixture.host("in/link")).expect("a link");
        symlink("../secret", fixture.host("in/out")).expect("a link");
        let view = fixture.scoped("/in");
        let times = |nofollow| MetadataChange {
            modified: Some(Timestamp::from_parts(100, 0)),
            nofollow,
            ..MetadataChange::default()
        };
        view.apply(&[set("/link", times(false))]).expect("followed");
        assert_eq!(fixture.host("in/file").metadata().expect("metadata").mtime(), 100);
        assert_ne!(fixture.host("in/link").symlink_metadata().expect("metadata").mtime(), 100);
        let entry =
            view.apply(&[set("/link", times(true))]).expect("the link itself").entry.expect("the entry");
        assert_eq!(entry.target.as_deref(), Some(&b"file"[..]));
        assert_eq!(fixture.host("in/link").symlink_metadata().expect("metadata").mtime(), 100);
        let tagged = xattrs(vec![xattr("user.a", Some(b"x"))]);
        view.apply(&[set("/link", tagged.clone())]).expect("followed");
        assert_eq!(look(&fixture, "/in/file").xattrs.expect("attributes").len(), 1);
        let link_itself = MetadataChange { nofollow: true, ..tagged.clone() };
        assert!(view.apply(&[set("/link", link_itself)]).is_err(), "links have none");
        for change in [times(false), tagged] {
            assert_eq!(code(view.apply(&[set("/out", change)])), ErrorCode::PathEscapes);
        }
        assert_ne!(fixture.host("secret").metadata().expect("metadata").mtime(), 100);
    }
}

fn link(from: &str, to: &str) -> Operation {
    Operation::Link { from: path(from), to: path(to) }
}

#[test]
fn files_get_more_names() {
    for confinement in BOTH {
        let fixture = Fixture::confined(confinement);
        let view = fixture.view();
        fixture.put("file", "content");
        std::fs::create_dir(fixture.host("directory")).expect("a directory");
        symlink("file", fixture.host("link")).expect("a link");
        assert!(view.apply(&[link("/file", "/directory/other")]).expect("linked").atomic);
        view.apply(&[link("/link", "/link2")]).expect("the link itself");
        assert_eq!(look(&fixture, "/file").links, 2);
        assert_eq!(look(&fixture, "/link2").target.as_deref(), Some(&b"file"[..]));
        for (from, to, expected) in [
            ("/file", "/link", ErrorCode::Exists),
            ("/file", "/file", ErrorCode::Exists),
            ("/missing", "/x", ErrorCode::NotFound),
            ("/file", "/missing/x", ErrorCode::NotFound),
            ("/directory", "/x", ErrorCode::IsADirectory),
            ("/file", "/x/", ErrorCode::InvalidRequest),
            ("/file/", "/x", ErrorCode::NotADirectory),
        ] {
            assert_eq!(code(view.apply(&[link(from, to)])), expected, "{from} {to}");
        }
        let failing = Operation::Delete { path: path("/missing"), recursive: false, missing_ok: false };
        assert_eq!(code(view.apply(&[link("/file", "/undone"), failing])), ErrorCode::NotFound);
        assert_eq!(look(&fixture, "/file").links, 2);
        assert!(!fixture.host("undone").exists());
    }
}

#[test]
fn attack_link_to_what_lies_outside() {
    for confinement in BOTH {
        let fixture = Fixture::confined(confinement);
        fixture.put("secret", "secret");
        fixture.put("in/file", "x");
        symlink("../secret", fixture.host("in/out")).expect("a link");
        symlink("..", fixture.host("in/up")).expect("a link");
        let view = fixture.scoped("/in");
        view.apply(&[link("/out", "/copy-of-the-link")]).expect("only the link gets a name");
        assert!(fixture.host("in/copy-of-the-link").symlink_metadata().expect("metadata").is_symlink());
        assert_eq!(code(view.apply(&[link("/up/secret", "/stolen")])), ErrorCode::PathEscapes);
        assert_eq!(code(view.apply(&[link("/file", "/up/planted")])), ErrorCode::PathEscapes);
        assert_eq!(fixture.host("secret").metadata().expect("metadata").nlink(), 1);
    }
}

fn write(name: &str, content: &[u8], overwrite: bool) -> Operation {
    let (mode, parents, nofollow) = (None, false, false);
    Operation::Write { path: path(name), content: content.to_vec(), mode, parents, overwrite, nofollow }
}

fn with_parents(operation: Operation) -> Operation {
    match operation {
        Operation::Write { path, content, mode, overwrite, nofollow, .. } => {
            Operation::Write { path, content, mode, parents: true, overwrite, nofollow }
        }
        other => other,
    }
}

#[test]
fn small_files_are_written_among_other_operations() {
    for confinement in BOTH {
        let fixture = Fixture::confined(confinement);
        let view = fixture.view();
        let report = view.apply(&[write("/a", b"a", false)]).expect("written");
        assert_eq!((report.entries, report.bytes, report.atomic), (1, 1, true));
        assert_eq!(code(view.apply(&[write("/a", b"b", false)])), ErrorCode::Exists);
        view.apply(&[write("/a", b"b", true)]).expect("replaced");
        let report = view.apply(&[with_parents(write("/x/y/z", b"deep", false))]).expect("written");
        assert_eq!((report.entries, report.atomic), (3, false));
        let list = [
            write("/c", b"c", false),
            write("/a", b"new", true),
            with_parents(write("/new/d", b"d", false)),
            Operation::Move { from: path("/c"), to: path("/moved"), overwrite: false },
        ];
        let report = view.apply(&list).expect("all of them");
        assert_eq!((report.entries, report.bytes), (5, 5));
        let after = ["a new", "moved c", "new/", "new/d d", "x/", "x/y/", "x/y/z deep"];
        assert_eq!(fixture.everything(), after);
        for failing in
            [write("/a", b"again", false), write("/missing/e", b"e", false), write("/new", b"e", true)]
        {
            let list = [write("/a", b"lost", true), with_parents(write("/p/q", b"q", false)), failing];
            assert!(view.apply(&list).is_err());
            assert_eq!(fixture.everything(), after, "all of it was taken back");
        }
    }
}

#[test]
fn inline_contents_are_bounded_together() {
    let fixture = Fixture::new();
    let view = fixture.view();
    let half = vec![0; Operations::MAX_INLINE_BYTES / 2];
    let list = [write("/a", &half, false), write("/b", &half, false), write("/c", b"x", false)];
    assert_eq!(code(view.apply(&list)), ErrorCode::TooLarge);
    view.apply(&list[..2]).expect("just what fits");
    let limited = devbox_types::Grant { max_bytes: Some(3), ..devbox_types::Grant::whole_box() };
    let view = fixture.root.enter(&limited).expect("a view");
    let list = [write("/d", b"12", false), write("/e", b"34", false)];
    assert_eq!(code(view.apply(&list)), ErrorCode::TooLarge);
    assert!(!fixture.host("d").exists());
}
