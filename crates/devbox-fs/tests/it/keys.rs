//! Calls with an idempotency key: done once, remembered past the death of the process, and no longer than that is bounded.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use devbox_fs::{Attempt, BoxRoot, Fingerprinter, FsError, RootOptions, View};
use devbox_types::file::WriteRequest;
use devbox_types::operation::{Operation, Report};
use devbox_types::{ErrorCode, Grant};

use crate::fixture::{Fixture, code, path};

const ROOT: &str = "DEVBOX_FS_TEST_KEYED_ROOT";
const MICROS: &str = "DEVBOX_FS_TEST_KEYED_MICROS";

fn keyed(root: &BoxRoot, key: &str) -> View {
    root.enter(&Grant::whole_box().with_key(key.parse().expect("a key"))).expect("a view")
}

fn mkdir(name: &str) -> Operation {
    Operation::Mkdir { path: path(name), mode: None, parents: false }
}

/// Two directories: it fails if either is there.
fn two(number: usize) -> Vec<Operation> {
    vec![mkdir(&format!("/a{number}")), mkdir(&format!("/b{number}"))]
}

/// Writes a batch of one file, unless it was written before.
fn batch(view: &View, name: &str, content: &[u8]) -> Result<Report, FsError> {
    let request = WriteRequest::to(path(name));
    let mut printer = Fingerprinter::default();
    printer.begin(&request);
    printer.content(content);
    printer.end();
    let ticket = match view.attempt(&[b"files"])? {
        Attempt::First(ticket) => ticket,
        Attempt::Repeat(repeat) => return repeat.answer(printer.finish()),
    };
    let mut batch = view.batch()?;
    batch.add(request, content)?;
    batch.publish_for(ticket.zip(Some(printer.finish())))
}

#[test]
fn a_repeat_is_answered_and_not_done() {
    let fixture = Fixture::new();
    for operations in [two(1), vec![mkdir("/single")]] {
        let view = keyed(&fixture.root, &format!("key{}", operations.len()));
        let first = view.apply(&operations).expect("done");
        assert_eq!(view.apply(&operations).expect("answered"), first);
        assert_eq!(code(fixture.view().apply(&operations)), ErrorCode::Exists, "without a key it is done");
    }
    let view = keyed(&fixture.root, "batch");
    let first = batch(&view, "/file", b"one").expect("written");
    fixture.put("file", "of a process in the box");
    assert_eq!(batch(&view, "/file", b"one").expect("answered"), first);
    assert_eq!(fixture.get("file"), "of a process in the box");
}

#[test]
fn a_key_stands_for_one_call() {
    let fixture = Fixture::new();
    fixture.put("folder/file", "");
    let view = keyed(&fixture.root, "key");
    view.apply(&two(1)).expect("done");
    assert_eq!(code(view.apply(&two(2))), ErrorCode::IdempotencyMismatch, "another content");
    assert_eq!(code(batch(&view, "/x", b"")), ErrorCode::IdempotencyMismatch, "another call");
    let key = "key".parse().expect("a key");
    let elsewhere = Grant { root: path("/folder"), ..Grant::whole_box() }.with_key(key);
    let elsewhere = fixture.root.enter(&elsewhere).expect("a view");
    assert_eq!(code(elsewhere.apply(&two(1))), ErrorCode::IdempotencyMismatch, "another root");
    let view = keyed(&fixture.root, "batch");
    batch(&view, "/file", b"one").expect("written");
    for (name, content) in [("/file", &b"two"[..]), ("/other", b"one"), ("/file", b"one ")] {
        assert_eq!(code(batch(&view, name, content)), ErrorCode::IdempotencyMismatch);
    }
    assert_eq!(fixture.get("file"), "one");
}

#[test]
fn while_a_call_is_under_way_its_repeat_waits() {
    let fixture = Fixture::new();
    let view = keyed(&fixture.root, "key");
    let first = view.attempt(&[b"files"]).expect("a ticket");
    let busy = view.attempt(&[b"files"]).expect_err("it is under way");
    assert!(matches!(busy, FsError::KeyInUse), "{busy}");
    assert_eq!(code(view.attempt(&[b"archive"])), ErrorCode::IdempotencyMismatch);
    drop(first);
    assert!(matches!(view.attempt(&[b"files"]), Ok(Attempt::First(Some(_)))), "it came to nothing");
}

#[test]
fn what_failed_is_not_remembered() {
    let fixture = Fixture::new();
    fixture.put("b1", "in the way");
    let view = keyed(&fixture.root, "key");
    assert_eq!(code(view.apply(&two(1))), ErrorCode::Exists);
    std::fs::remove_file(fixture.host("b1")).expect("removed");
    view.apply(&two(1)).expect("done now");
    assert!(fixture.host("a1").is_dir() && fixture.host("b1").is_dir());
}

#[test]
fn outcomes_outlive_the_process_and_the_oldest_go() {
    const MANY: usize = 1003;
    let fixture = Fixture::new();
    for number in 0..MANY {
        let view = keyed(&fixture.root, &format!("key{number}"));
        view.apply(&[mkdir(&format!("/d{number}"))]).expect("done");
    }
    let again = BoxRoot::open(fixture.directory.path(), RootOptions::default()).expect("a root");
    for root in [&fixture.root, &again] {
        let repeat =
            |number: usize| keyed(root, &format!("key{number}")).apply(&[mkdir(&format!("/d{number}"))]);
        for number in 3..MANY {
            repeat(number).expect("answered");
        }
        assert_eq!(code(repeat(2)), ErrorCode::Exists, "forgotten");
    }
    let ring = fixture.host(".~devbox-state/outcomes").metadata().expect("the ring");
    assert_eq!(ring.len(), 1000 * 512);
}

#[test]
fn attack_a_ring_that_lies_or_is_none_does_no_harm() {
    let fixture = Fixture::new();
    let ring = fixture.host(".~devbox-state/outcomes");
    let reopened = || BoxRoot::open(fixture.directory.path(), RootOptions::default()).expect("a root");
    keyed(&fixture.root, "key").apply(&two(1)).expect("done");
    let good = std::fs::read(&ring).expect("the ring");
    let json = br#"{"sequence":18446744073709551615,"outcome":{}}"#;
    for bad in [&b"{"[..], json, &[b'\n'; 600], &[0xff; 4096], &[]] {
        std::fs::write(&ring, bad).expect("written");
        keyed(&reopened(), "key").apply(&two(1)).expect_err("it is forgotten");
    }
    let mut flipped = good.clone();
    flipped[40] ^= 1;
    std::fs::write(&ring, &flipped).expect("written");
    keyed(&reopened(), "key").apply(&two(1)).expect_err("it is not believed");
    std::fs::write(&ring, &good).expect("written");
    keyed(&reopened(), "key").apply(&two(1)).expect("it is remembered");
    std::fs::OpenOptions::new().write(true).open(&ring).expect("open").set_len(1 << 40).expect("longer");
    keyed(&reopened(), "key").apply(&two(1)).expect("only its slots are read");
    let secret = fixture.host("secret");
    let ways: [fn(&Path, &Path) -> std::io::Result<()>; 3] = [
        |ring, secret| std::os::unix::fs::symlink(secret, ring),
        |ring, _| std::fs::create_dir(ring),
        |ring, _| {
            rustix::fs::mknodat(rustix::fs::CWD, ring, rustix::fs::FileType::Fifo, 0o600.into(), 0)
                .map_err(Into::into)
        },
    ];
    for (number, make) in ways.into_iter().enumerate() {
        let _ = std::fs::remove_file(&ring).or_else(|_| std::fs::remove_dir(&ring));
        std::fs::write(&secret, "secret").expect("written");
        make(&ring, &secret).expect("made");
        let root = reopened();
        let name = format!("/n{number}");
        keyed(&root, &name).apply(&[mkdir(&name)]).expect("done");
        keyed(&root, &name).apply(&[mkdir(&name)]).expect("remembered as long as this process");
        assert_eq!(std::fs::read(&secret).expect("read"), b"secret");
    }
}

/// Not a test by itself: what the child of the test below does until it is killed.
#[test]
fn the_dying_keyed_child() {
    let (Some(root), Ok(micros)) = (std::env::var_os(ROOT), std::env::var(MICROS)) else { return };
    let root = BoxRoot::open(Path::new(&root), RootOptions::default()).expect("a root");
    let micros = micros.parse().expect("a number");
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_micros(micros));
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    });
    for number in 0.. {
        keyed(&root, &format!("key{number}")).apply(&two(number)).expect("done");
        let view = keyed(&root, &format!("batch{number}"));
        batch(&view, &format!("/f{number}"), b"of the batch!").expect("written");
    }
}

#[test]
fn after_a_kill_at_any_moment_effect_and_outcome_are_both_there_or_neither() {
    for round in 0..12 {
        let directory = tempfile::tempdir().expect("a directory");
        let status = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "keys::the_dying_keyed_child", "--nocapture"])
            .env(ROOT, directory.path())
            .env(MICROS, (2000 + 997 * round).to_string())
            .output()
            .expect("the child")
            .status;
        assert!(!status.success(), "it was killed");
        let root = BoxRoot::open(directory.path(), RootOptions::default()).expect("a root");
        let done = (0..).take_while(|number| directory.path().join(format!("a{number}")).exists()).count();
        // Had a call left its effect and no outcome, the repeat would find it in the way; had it left its outcome and no effect,
        // the repeat would not bring it.
        for number in done.saturating_sub(300)..done + 2 {
            keyed(&root, &format!("key{number}")).apply(&two(number)).expect("done or answered");
            for name in ["a", "b"] {
                assert!(
                    directory.path().join(format!("{name}{number}")).is_dir(),
                    "{name}{number} of {done}"
                );
            }
        }
        for number in (0..done).rev().take(2) {
            let file = directory.path().join(format!("f{number}"));
            let was_there = file.exists();
            if was_there {
                let opened = std::fs::OpenOptions::new().write(true).open(&file).expect("open");
                opened.write_all_at(b"changed ", 0).expect("written");
            }
            batch(&keyed(&root, &format!("batch{number}")), &format!("/f{number}"), b"of the batch!")
                .expect("written or answered");
            let content = std::fs::read(&file).expect("read");
            assert_eq!(content, if was_there { &b"changed atch!"[..] } else { b"of the batch!" });
        }
    }
}
