//! Races and links that try to lead the engine out of its root.

use std::sync::atomic::{AtomicBool, Ordering};

use devbox_fs::{BoxRoot, Confinement, RootOptions, View};
use devbox_types::operation::Operation;
use devbox_types::{BoxPath, Grant, ListRequest};
use rustix::fs::{CWD, RenameFlags};

use crate::fixture::{BOTH, everything, path, read_from, write_to};

/// All rounds of [`attack_symlink_swap`] together; `DEVBOX_ATTACK_ROUNDS` says otherwise.
const ROUNDS: usize = 100_000;

fn rounds() -> usize {
    std::env::var("DEVBOX_ATTACK_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS)
}

/// CVE-2018-15664: a directory on the way is swapped with a link to the outside while the engine works.
#[test]
fn attack_symlink_swap() {
    for confinement in BOTH {
        for scope in ["/", "/scope"] {
            for target in ["relative", "absolute"] {
                swap_symlinks(confinement, scope, target == "absolute", rounds() / 8);
            }
        }
    }
}

fn swap_symlinks(confinement: Confinement, scope: &str, absolute: bool, rounds: usize) {
    let whole = tempfile::tempdir().expect("a directory");
    let (root, outside) = (whole.path().join("root"), whole.path().join("outside"));
    let below = root.join(scope.trim_start_matches('/'));
    for directory in [below.join("dir/sub"), outside.join("sub")] {
        std::fs::create_dir_all(directory).expect("directories");
    }
    std::fs::write(below.join("dir/file"), "inside").expect("written");
    for name in ["file", "only-here", "sub/deep"] {
        std::fs::write(outside.join(name), "outside").expect("written");
    }
    let target = match (absolute, scope) {
        (true, _) => outside.clone(),
        (false, "/") => "../outside".into(),
        (false, _) => "../../outside".into(),
    };
    std::os::unix::fs::symlink(target, below.join("link")).expect("a link");
    let before = everything(&outside);
    let options = RootOptions::default().with_confinement(confinement);
    let root = BoxRoot::open(&root, options).expect("a root");
    let view = root.enter(&Grant { root: path(scope), ..Grant::whole_box() }).expect("a view");
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let swaps = threads.spawn(|| {
            let (directory, link) = (below.join("dir"), below.join("link"));
            let mut swaps = 0_usize;
            while !stop.load(Ordering::Relaxed) {
                let swapped = rustix::fs::renameat_with(CWD, &directory, CWD, &link, RenameFlags::EXCHANGE);
                swaps += usize::from(swapped.is_ok());
            }
            swaps
        });
        let mut worked = 0;
        for round in 0..rounds {
            worked += usize::from(one_round(&view, round));
        }
        stop.store(true, Ordering::Relaxed);
        let swaps = swaps.join().expect("no panic");
        assert!(swaps > rounds / 10 && worked > 0, "{swaps} swaps, {worked} of {rounds} calls went through");
    });
    assert_eq!(everything(&outside), before, "{confinement:?}, scope {scope}");
}

/// One call through the name that is swapped; whether it went through.
fn one_round(view: &View, round: usize) -> bool {
    let apply = |operation| view.apply(&[operation]).is_ok();
    let made = path("/dir/made");
    match round % 9 {
        0 => match read_from(view, "/dir/file") {
            Ok(content) => {
                assert!(!content.contains("outside"), "read {content:?}");
                true
            }
            Err(_) => false,
        },
        1 => read_from(view, "/dir/only-here").map(|content| panic!("read {content:?}")).is_ok(),
        2 => write_to(view, "/dir/file", "written inside").is_ok(),
        3 => apply(Operation::Mkdir { path: made, mode: None, parents: true }),
        4 => apply(Operation::Delete { path: made, recursive: true, missing_ok: false }),
        5 => {
            apply(Operation::Move { from: path("/dir/file"), to: path("/dir/sub/file"), overwrite: true })
                | apply(Operation::Move {
                    from: path("/dir/sub/file"),
                    to: path("/dir/file"),
                    overwrite: true,
                })
        }
        6 => {
            let copied = apply(Operation::Copy {
                from: path("/dir/file"),
                to: path("/copied"),
                recursive: true,
                overwrite: true,
            });
            if copied {
                assert!(!read_from(view, "/copied").expect("read").contains("outside"));
            }
            copied
        }
        7 => list(view, "/dir"),
        _ => apply(Operation::Chmod { path: path("/dir/file"), mode: 0o640 }),
    }
}

fn list(view: &View, directory: &str) -> bool {
    let request = ListRequest { depth: 3, ..ListRequest::of(path(directory)) };
    let is_outside = |entry: &BoxPath| entry.as_bytes().ends_with(b"only-here");
    let Ok(page) = view.list(&request) else { return false };
    assert!(!page.entries.iter().any(|entry| is_outside(&entry.path.0)));
    let Ok(walk) = view.walk(&request) else { return false };
    for entry in walk.flatten() {
        assert!(!is_outside(&entry.path.0));
    }
    true
}

/// A tree that is deleted is swapped with a link to the outside, again and again.
#[test]
fn attack_symlink_swap_while_deleting() {
    for confinement in BOTH {
        let whole = tempfile::tempdir().expect("a directory");
        let (root_path, outside) = (whole.path().join("root"), whole.path().join("outside"));
        std::fs::create_dir_all(outside.join("sub")).expect("directories");
        std::fs::write(outside.join("sub/file"), "outside").expect("written");
        std::fs::create_dir(&root_path).expect("a directory");
        std::os::unix::fs::symlink("../../outside", root_path.join("link")).expect("a link");
        let root =
            BoxRoot::open(&root_path, RootOptions::default().with_confinement(confinement)).expect("a root");
        let view = root.enter(&Grant::whole_box()).expect("a view");
        let stop = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let (sub, link) = (root_path.join("tree/sub"), root_path.join("link"));
                    let _ = rustix::fs::renameat_with(CWD, sub, CWD, link, RenameFlags::EXCHANGE);
                }
            });
            for _ in 0..500 {
                let _ = std::fs::create_dir_all(root_path.join("tree/sub"));
                let _ = std::fs::write(root_path.join("tree/sub/file"), "inside");
                let delete = Operation::Delete { path: path("/tree"), recursive: true, missing_ok: true };
                let _ = view.apply(&[delete]);
            }
            stop.store(true, Ordering::Relaxed);
        });
        // This test itself may have written its own file through the link, as any program would.
        let left = everything(&outside);
        assert!(left.ends_with(&["sub/".to_owned(), "sub/file outside".to_owned()]), "{left:?}");
    }
}

/// A hard link to a file outside is parted by a replace, not written through.
#[test]
fn attack_hard_link_to_the_outside() {
    let whole = tempfile::tempdir().expect("a directory");
    let (root, outside) = (whole.path().join("root"), whole.path().join("outside"));
    std::fs::create_dir(&root).expect("a directory");
    std::fs::write(&outside, "outside").expect("written");
    std::fs::hard_link(&outside, root.join("a")).expect("a link");
    let root = BoxRoot::open(&root, RootOptions::default()).expect("a root");
    write_to(&root.enter(&Grant::whole_box()).expect("a view"), "/a", "inside").expect("written");
    assert_eq!(std::fs::read_to_string(outside).expect("read"), "outside");
}

/// The kernel refuses a `..` that races a rename anywhere on the machine (openat2(2), EAGAIN); who renames without pause keeps
/// nobody from his files by it.
#[test]
fn attack_renames_without_pause() {
    let whole = tempfile::tempdir().expect("a directory");
    for name in ["one", "other", "root", "root/a", "root/b"] {
        std::fs::create_dir(whole.path().join(name)).expect("a directory");
    }
    std::fs::write(whole.path().join("root/file"), "content").expect("written");
    std::os::unix::fs::symlink("../b/../file", whole.path().join("root/a/link")).expect("a link");
    let root = BoxRoot::open(&whole.path().join("root"), RootOptions::default()).expect("a root");
    let view = root.enter(&Grant::whole_box()).expect("a view");
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                let (one, other) = (whole.path().join("one"), whole.path().join("other"));
                while !stop.load(Ordering::Relaxed) {
                    let _ = rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE);
                }
            });
        }
        let failed = (0..5000).find_map(|_| read_from(&view, "/a/link").err());
        stop.store(true, Ordering::Relaxed);
        assert!(failed.is_none(), "{failed:?}");
    });
}
