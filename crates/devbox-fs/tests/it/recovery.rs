//! An engine that died: simulated by leaking it, so that nothing is cleaned up, in a child process for its locks.

use std::path::Path;
use std::process::Command;

use devbox_fs::{BoxRoot, RootOptions};
use devbox_types::Grant;
use devbox_types::file::WriteRequest;
use devbox_types::operation::Operation;

use crate::fixture::{everything, journals, path};

const ROOT: &str = "DEVBOX_FS_TEST_DYING_ROOT";
/// How many files a dying batch has.
const BATCH: usize = 100;
const STEP: &str = "DEVBOX_FS_TEST_DYING_STEP";

/// Runs a test of this binary in a process of its own, which is to die by SIGKILL.
fn die(step: &str, root: &Path) {
    let status = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "recovery::the_dying_child", "--nocapture"])
        .env(ROOT, root)
        .env(STEP, step)
        .output()
        .expect("the child")
        .status;
    use std::os::unix::process::ExitStatusExt as _;
    assert_eq!(status.signal(), Some(9), "{step}: {status}");
}

/// Not a test by itself: what the child of the tests below does.
#[test]
fn the_dying_child() {
    let (Some(root), Ok(step)) = (std::env::var_os(ROOT), std::env::var(STEP)) else { return };
    let root = BoxRoot::open(Path::new(&root), RootOptions::default()).expect("a root");
    let view = root.enter(&Grant::whole_box()).expect("a view");
    let die = || rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    match step.as_str() {
        "staged batch" => {
            let mut batch = view.batch().expect("a batch");
            for name in ["/a", "/new/b"] {
                let request = WriteRequest { make_parents: true, ..WriteRequest::to(path(name)) };
                batch.begin(request).expect("begun");
                batch.write(b"new").expect("written");
                batch.finish().expect("finished");
            }
            die().expect("killed");
        }
        _ if step.starts_with("batch ") => {
            kill_after(step["batch ".len()..].parse().expect("a number"));
            for round in 1.. {
                let mut batch = view.batch().expect("a batch");
                for number in 0..BATCH {
                    let request = WriteRequest::to(path(&format!("/f{number}")));
                    batch.add(request, format!("{round}").as_bytes()).expect("added");
                }
                batch.publish().expect("published");
            }
        }
        _ => {
            kill_after(step.parse().expect("a number"));
            let list: Vec<Operation> = (0..2000)
                .flat_map(|number| {
                    [
                        Operation::Mkdir { path: path(&format!("/m{number}")), mode: None, parents: false },
                        Operation::Copy {
                            from: path("/a"),
                            to: path(&format!("/m{number}/c")),
                            recursive: false,
                            overwrite: false,
                        },
                        Operation::Move {
                            from: path(&format!("/m{number}/c")),
                            to: path("/b"),
                            overwrite: true,
                        },
                        Operation::Delete {
                            path: path(&format!("/m{number}")),
                            recursive: true,
                            missing_ok: false,
                        },
                    ]
                })
                .collect();
            loop {
                view.apply(&list).expect("applied");
            }
        }
    }
}

/// Another thread kills the process at some moment of the work.
fn kill_after(micros: u64) {
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_micros(micros));
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    });
}

fn sample() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("a"), "old").expect("written");
    std::fs::write(directory.path().join("b"), "before").expect("written");
    directory
}

#[test]
fn a_batch_whose_engine_died_before_publishing_leaves_nothing() {
    let directory = sample();
    let before = everything(directory.path());
    die("staged batch", directory.path());
    assert!(everything(directory.path()).len() > before.len(), "something to clean up");
    let root = BoxRoot::open(directory.path(), RootOptions::default()).expect("a root");
    assert_eq!(everything(directory.path()), before);
    drop(root);
    assert_eq!(std::fs::read_dir(directory.path().join(".~devbox-state")).expect("the state").count(), 0);
}

#[test]
fn a_list_whose_engine_died_at_any_moment_is_all_or_nothing() {
    for delay in [500, 1500, 3000, 5000, 8000, 13_000, 21_000, 34_000, 55_000, 89_000] {
        let directory = sample();
        die(&delay.to_string(), directory.path());
        BoxRoot::open(directory.path(), RootOptions::default()).expect("a root");
        let after = everything(directory.path());
        let all = ["a old", "b old"];
        let nothing = ["a old", "b before"];
        assert!(after == all || after == nothing, "killed after {delay} µs: {after:?}");
    }
}

#[test]
fn a_batch_whose_engine_died_at_any_moment_took_full_effect_or_none() {
    for delay in [2000, 5000, 9000, 14_000, 20_000, 27_000, 35_000, 44_000, 54_000, 65_000, 77_000, 90_000] {
        let directory = tempfile::tempdir().expect("a directory");
        for number in 0..BATCH {
            std::fs::write(directory.path().join(format!("f{number}")), "0").expect("written");
        }
        die(&format!("batch {delay}"), directory.path());
        BoxRoot::open(directory.path(), RootOptions::default()).expect("a root");
        let after = everything(directory.path());
        let rounds: std::collections::BTreeSet<_> =
            after.iter().filter_map(|entry| entry.split_once(' ')).map(|(_, round)| round).collect();
        assert_eq!((after.len(), rounds.len()), (BATCH, 1), "killed after {delay} µs: {after:?}");
    }
}

#[test]
fn the_journal_of_a_living_engine_is_left_alone() {
    let directory = sample();
    let root = BoxRoot::open(directory.path(), RootOptions::default()).expect("a root");
    let view = root.enter(&Grant::whole_box()).expect("a view");
    let mut batch = view.batch().expect("a batch");
    batch.begin(WriteRequest::to(path("/a"))).expect("begun");
    batch.write(b"new").expect("written");
    BoxRoot::open(directory.path(), RootOptions::default()).expect("a second engine");
    batch.finish().expect("finished");
    batch.publish().expect("published");
    assert_eq!(std::fs::read_to_string(directory.path().join("a")).expect("read"), "new");
}

#[test]
fn a_hostile_journal_harms_nothing() {
    let directory = sample();
    drop(BoxRoot::open(directory.path(), RootOptions::default()).expect("a root"));
    let state = directory.path().join(".~devbox-state");
    let slot = |name: &[u8]| {
        let mut record = 0_u16.to_le_bytes().to_vec();
        record.extend_from_slice(&u16::try_from(name.len()).expect("small").to_le_bytes());
        record.extend_from_slice(name);
        record
    };
    for (number, name) in [&b"a"[..], b"../a", b".~devbox-x/../a", b""].into_iter().enumerate() {
        std::fs::write(state.join(format!("slots-{number}")), slot(name)).expect("written");
    }
    std::fs::write(state.join("slots-long"), [0xff; 9000]).expect("written");
    std::fs::write(state.join("journal-1"), b"not a line\n\0\0\0").expect("written");
    std::os::unix::fs::symlink("/etc/passwd", state.join("journal-2")).expect("a link");
    rustix::fs::mkfifoat(rustix::fs::CWD, state.join("slots-fifo"), rustix::fs::Mode::RWXU).expect("a FIFO");
    let before = everything(directory.path());
    BoxRoot::open(directory.path(), RootOptions::default()).expect("a root");
    assert_eq!(everything(directory.path()), before);
}

/// A link that the box's user put where a directory was leads recovery, which acts as root, nowhere.
#[test]
fn attack_a_link_in_the_way_of_recovery() {
    for confinement in crate::fixture::BOTH {
        let directory = sample();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(at("other/sub/.~devbox-x")).expect("made");
        std::fs::write(at("other/sub/.~devbox-x/kept"), "x").expect("written");
        std::os::unix::fs::symlink("other", at("d")).expect("a link");
        std::os::unix::fs::symlink("other/sub", at("e")).expect("a link");
        drop(BoxRoot::open(directory.path(), RootOptions::default()).expect("a root"));
        let before = everything(directory.path());
        for (number, folder) in ["d/sub", "e"].into_iter().enumerate() {
            let mut record = Vec::new();
            for part in [folder, ".~devbox-x"] {
                record.extend_from_slice(&u16::try_from(part.len()).expect("small").to_le_bytes());
                record.extend_from_slice(part.as_bytes());
            }
            std::fs::write(at(&format!(".~devbox-state/slots-{number}")), record).expect("written");
        }
        let options = || RootOptions::default().with_confinement(confinement);
        drop(BoxRoot::open(directory.path(), options()).expect("a root"));
        assert_eq!(everything(directory.path()), before, "{confinement:?}");
        let mut record = 9_u16.to_le_bytes().to_vec();
        record.extend_from_slice(b"other/sub\x0a\0.~devbox-x");
        std::fs::write(at(".~devbox-state/slots-real"), record).expect("written");
        drop(BoxRoot::open(directory.path(), options()).expect("a root"));
        assert!(!at("other/sub/.~devbox-x").exists(), "{confinement:?}: what is really there is removed");
    }
}

#[test]
fn what_was_taken_back_is_not_taken_back_again_at_the_next_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let root = BoxRoot::open(directory.path(), RootOptions::default()).expect("a root");
    let view = root.enter(&Grant::whole_box()).expect("a view");
    let mut batch = view.batch().expect("a batch");
    for name in ["/moved/a", "/used/b"] {
        let request = WriteRequest { make_parents: true, ..WriteRequest::to(path(name)) };
        batch.add(request, b"new").expect("added");
    }
    // Processes in the box take one new directory away, and fill the other: that one cannot be removed.
    std::fs::rename(at("moved"), at("elsewhere")).expect("renamed");
    std::fs::write(at("elsewhere/mark"), "x").expect("written");
    std::fs::write(at("used/theirs"), "x").expect("written");
    // While another call is under way, the directory might be its. Then all is over, as at a kill.
    let other = view.batch().expect("a batch");
    drop(batch);
    std::mem::forget(other);
    drop((view, root));
    let journals = || journals(directory.path());
    assert_eq!(journals(), 2, "something is left to do");
    // The same inode under the same name, long after the call: it is nobody's business any more.
    std::fs::remove_file(at("elsewhere").join("mark")).expect("removed");
    std::fs::rename(at("elsewhere"), at("moved")).expect("renamed");
    let before = everything(directory.path());
    drop(BoxRoot::open(directory.path(), RootOptions::default()).expect("a root"));
    assert_eq!(everything(directory.path()), before);
    // The other call's is locked by its process, which is this one.
    assert_eq!(journals(), 1);
}
