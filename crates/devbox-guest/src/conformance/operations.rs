//! Changes to names.

use devbox_types::operation::Operation;
use devbox_types::{BoxPath, EntryKind, ErrorCode, Timestamp};

use super::ground::{Ground, fails_with, mkdir};

fn moved(from: BoxPath, to: BoxPath, overwrite: bool) -> Vec<Operation> {
    vec![Operation::Move { from, to, overwrite }]
}

fn copied(from: BoxPath, to: BoxPath, recursive: bool) -> Vec<Operation> {
    vec![Operation::Copy { from, to, recursive, overwrite: false }]
}

fn deleted(path: BoxPath) -> Operation {
    Operation::Delete { path, recursive: false, missing_ok: false }
}

pub(super) async fn directories_are_made(ground: Ground) {
    let make =
        |name: &str, parents| vec![Operation::Mkdir { path: ground.path(name), mode: Some(0o750), parents }];
    ground.apply(make("a", false)).await.expect("a directory");
    assert_eq!(ground.stat("a").await.expect("an entry").mode, 0o750);
    fails_with(ground.apply(make("a", false)).await, ErrorCode::Exists);
    ground.apply(make("a", true)).await.expect("it may exist");
    fails_with(ground.apply(make("b/c/d", false)).await, ErrorCode::NotFound);
    ground.apply(make("b/c/d", true)).await.expect("with its parents");
    assert_eq!(ground.stat("b/c/d").await.expect("an entry").kind, EntryKind::Directory);
}

pub(super) async fn entries_are_moved(ground: Ground) {
    ground.mkdir("directory").await;
    ground.write("directory/file", "content").await;
    ground.apply(moved(ground.path("directory"), ground.path("renamed"), false)).await.expect("a move");
    assert_eq!(ground.read("renamed/file").await, "content");
    ground.apply(moved(ground.path("renamed/file"), ground.path("file"), false)).await.expect("a move");
    assert_eq!(ground.read("file").await, "content");
    fails_with(ground.apply(moved(ground.path("gone"), ground.path("x"), false)).await, ErrorCode::NotFound);
    ground.holds(&["file", "renamed"]).await;
}

pub(super) async fn a_move_replaces_only_on_request(ground: Ground) {
    ground.write("from", "new").await;
    ground.write("to", "old").await;
    fails_with(ground.apply(moved(ground.path("from"), ground.path("to"), false)).await, ErrorCode::Exists);
    assert_eq!(ground.read("to").await, "old");
    ground.apply(moved(ground.path("from"), ground.path("to"), true)).await.expect("a move");
    assert_eq!(ground.read("to").await, "new");
    ground.holds(&["to"]).await;
}

pub(super) async fn files_are_copied(ground: Ground) {
    ground.write("from", "content").await;
    let chmod = Operation::Chmod { path: ground.path("from"), mode: 0o741 };
    ground.apply(vec![chmod]).await.expect("a mode");
    ground.apply(copied(ground.path("from"), ground.path("to"), false)).await.expect("a copy");
    assert_eq!(ground.read("to").await, "content");
    assert_eq!(ground.stat("to").await.expect("an entry").mode, 0o741);
    fails_with(ground.apply(copied(ground.path("from"), ground.path("to"), false)).await, ErrorCode::Exists);
    fails_with(ground.apply(copied(ground.path("gone"), ground.path("x"), false)).await, ErrorCode::NotFound);
}

pub(super) async fn trees_are_copied(ground: Ground) {
    ground.mkdir("from").await;
    ground.mkdir("from/below").await;
    ground.write("from/below/file", "content").await;
    ground.symlink("from/link", "below/file").await;
    let refused = ground.apply(copied(ground.path("from"), ground.path("to"), false)).await;
    fails_with(refused, ErrorCode::IsADirectory);
    ground.apply(copied(ground.path("from"), ground.path("to"), true)).await.expect("a copy");
    assert_eq!(ground.read("to/below/file").await, "content");
    assert_eq!(ground.stat("to/link").await.expect("an entry").target.as_deref(), Some(&b"below/file"[..]));
    assert_eq!(ground.read("from/below/file").await, "content");
}

pub(super) async fn modes_and_times_are_changed(ground: Ground) {
    ground.write("file", "x").await;
    let path = ground.path("file");
    let modified = Timestamp::from_parts(86_400, 5);
    let operations = vec![
        Operation::Chmod { path: path.clone(), mode: 0o600 },
        Operation::Utime { path, modified: Some(modified), nofollow: false },
    ];
    ground.apply(operations).await.expect("metadata is set");
    let entry = ground.stat("file").await.expect("an entry");
    assert_eq!((entry.mode, entry.modified), (0o600, modified));
}

pub(super) async fn entries_are_deleted(ground: Ground) {
    ground.mkdir("directory").await;
    ground.write("directory/file", "x").await;
    ground.symlink("link", "directory").await;
    let refused = ground.apply(vec![deleted(ground.path("directory"))]).await;
    fails_with(refused, ErrorCode::DirectoryNotEmpty);
    ground.apply(vec![deleted(ground.path("link"))]).await.expect("the link itself goes");
    assert_eq!(ground.read("directory/file").await, "x");
    let path = ground.path("directory");
    let all = Operation::Delete { path: path.clone(), recursive: true, missing_ok: false };
    ground.apply(vec![all]).await.expect("the tree goes");
    ground.holds(&[]).await;
    fails_with(ground.apply(vec![deleted(path.clone())]).await, ErrorCode::NotFound);
    let lenient = Operation::Delete { path, recursive: false, missing_ok: true };
    ground.apply(vec![lenient]).await.expect("it may be missing");
}

pub(super) async fn a_failing_operation_undoes_those_before(ground: Ground) {
    ground.write("kept", "kept").await;
    ground.write("moved", "moved").await;
    let operations = vec![
        mkdir(ground.path("made")),
        Operation::Move { from: ground.path("moved"), to: ground.path("made/moved"), overwrite: false },
        deleted(ground.path("kept")),
        Operation::Copy {
            from: ground.path("made/moved"),
            to: ground.path("copy"),
            recursive: false,
            overwrite: false,
        },
        deleted(ground.path("missing")),
    ];
    fails_with(ground.apply(operations).await, ErrorCode::NotFound);
    ground.holds(&["kept", "moved"]).await;
    assert_eq!(ground.read("kept").await, "kept");
    assert_eq!(ground.read("moved").await, "moved");
}
