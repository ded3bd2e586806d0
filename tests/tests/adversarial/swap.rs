//! Compare-and-swap: of writers that name the same version exactly one wins, and a process in the box that interferes is noticed.
//!
//! What is lost in silence otherwise is the update of whoever read first (CWE-362); the check of a version that is not one step
//! with the write is CWE-367.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use devbox_agent::{LocalGuest, LocalGuestOptions};
use devbox_guest::contract::UploadPart;
use devbox_guest::{Body, Files as _};
use devbox_types::entry::StatRequest;
use devbox_types::file::{WriteRequest, Written};
use devbox_types::{Entry, ErrorCode, Etag, Grant, Problem, WriteCondition};
use futures_util::stream::{self, StreamExt as _};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::arena::{Stop, path};
use crate::rounds;

const QUICK: usize = 2000;

struct Ground {
    guest: Arc<LocalGuest>,
    folder: TempDir,
    runtime: Runtime,
}

impl Ground {
    fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let guest = LocalGuest::open(LocalGuestOptions::below(folder.path())).expect("a guest");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
        Self { guest: Arc::new(guest), folder, runtime: runtime.expect("a runtime") }
    }

    fn host(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    fn entry(&self) -> Entry {
        let grant = Grant::whole_box();
        self.runtime
            .block_on(self.guest.stat(&grant, StatRequest::target_of(path("/file"))))
            .expect("an entry")
    }

    /// The tag of the file as it is, once it is a strong one: a version that the clock cannot tell from the next is not matched.
    fn strong_tag(&self) -> Etag {
        loop {
            match self.entry().etag {
                Some(etag) if !etag.is_weak() => return etag,
                _ => std::thread::yield_now(),
            }
        }
    }

    fn write(&self, content: String, condition: WriteCondition) -> Result<Written, Problem> {
        self.runtime.block_on(write(Arc::clone(&self.guest), content, condition))
    }

    fn read(&self) -> String {
        fs::read_to_string(self.host()).expect("a file")
    }

    /// Asserts that nothing is left beside the file.
    fn assert_no_debris(&self) {
        let names = fs::read_dir(self.folder.path()).expect("a directory");
        let mut names: Vec<_> = names.map(|entry| entry.expect("an entry").file_name()).collect();
        names.retain(|name| name != ".~devbox-state");
        assert_eq!(names, ["file"], "debris");
    }
}

async fn write(
    guest: Arc<LocalGuest>,
    content: String,
    condition: WriteCondition,
) -> Result<Written, Problem> {
    let request = WriteRequest { condition, ..WriteRequest::to(path("/file")) };
    // Every other write streams, and ends on another thread.
    let body = match content.len() % 2 {
        0 => Body::from_bytes(content),
        _ => Body::from_stream(stream::iter([Ok(content.into())]), None),
    };
    guest.write(&Grant::whole_box(), request, body).await
}

async fn write_as_batch(
    guest: Arc<LocalGuest>,
    content: String,
    condition: WriteCondition,
) -> Result<(), Problem> {
    let request = WriteRequest { condition, ..WriteRequest::to(path("/file")) };
    let parts = stream::iter([Ok(UploadPart { request, body: Body::from_bytes(content) })]);
    guest.write_many(&Grant::whole_box(), parts.boxed()).await.map(drop)
}

/// Lets so many writers race under one condition; who won.
fn race(ground: &Ground, writers: usize, round: usize, condition: &WriteCondition) -> Vec<String> {
    let mut race = JoinSet::new();
    for writer in 0..writers {
        let (guest, condition) = (Arc::clone(&ground.guest), condition.clone());
        let content = format!("{round} {writer}{}", "+".repeat(writer % 3));
        race.spawn_on(
            async move {
                let outcome = match writer % 4 {
                    3 => write_as_batch(guest, content.clone(), condition).await,
                    _ => write(guest, content.clone(), condition).await.map(drop),
                };
                outcome.map(|()| content)
            },
            ground.runtime.handle(),
        );
    }
    let outcomes = ground.runtime.block_on(race.join_all());
    let mut winners = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(content) => winners.push(content),
            Err(problem) => {
                let lost = matches!(problem.code, ErrorCode::PreconditionFailed | ErrorCode::Conflict);
                assert!(lost, "round {round}: {problem:?}");
            }
        }
    }
    winners
}

#[test]
fn attack_race_of_two_writers_for_one_version() {
    fight_for_a_version(2, rounds(QUICK));
}

#[test]
fn attack_race_of_sixteen_writers_for_one_version() {
    fight_for_a_version(16, rounds(QUICK) / 4);
}

fn fight_for_a_version(writers: usize, rounds: usize) {
    let ground = Ground::make();
    fs::write(ground.host(), "first").expect("written");
    for round in 0..rounds {
        let condition = WriteCondition::Matches(vec![ground.strong_tag()]);
        let winners = race(&ground, writers, round, &condition);
        assert_eq!(winners, [ground.read()], "round {round}");
    }
    ground.assert_no_debris();
}

#[test]
fn attack_race_of_sixteen_creators() {
    let ground = Ground::make();
    for round in 0..rounds(QUICK) / 4 {
        let winners = race(&ground, 16, round, &WriteCondition::Absent);
        assert_eq!(winners, [ground.read()], "round {round}");
        ground.assert_no_debris();
        fs::remove_file(ground.host()).expect("removed");
    }
}

/// Sixteen writers count together, each by reading, adding and writing what it has read the version of: no step is lost.
#[test]
fn attack_lost_update() {
    const EACH: usize = 25;
    let ground = Ground::make();
    fs::write(ground.host(), "0").expect("written");
    let mut counters = JoinSet::new();
    for _ in 0..16 {
        let guest = Arc::clone(&ground.guest);
        counters.spawn_on(
            async move {
                for _ in 0..EACH {
                    while !count_once(&guest).await {
                        tokio::task::yield_now().await;
                    }
                }
            },
            ground.runtime.handle(),
        );
    }
    ground.runtime.block_on(counters.join_all());
    assert_eq!(ground.read(), (16 * EACH).to_string());
    ground.assert_no_debris();
}

async fn count_once(guest: &Arc<LocalGuest>) -> bool {
    let request = devbox_types::file::ReadRequest::whole(path("/file"));
    let found = guest.read(&Grant::whole_box(), request).await.expect("a file");
    let etag = found.head.entry.etag.clone().expect("a tag");
    let content = found.body.collect(100).await.expect("the content");
    let count: usize =
        std::str::from_utf8(&content).ok().and_then(|text| text.parse().ok()).expect("a number");
    match write(Arc::clone(guest), (count + 1).to_string(), WriteCondition::Matches(vec![etag])).await {
        Ok(_) => true,
        Err(problem) => {
            assert_eq!(problem.code, ErrorCode::PreconditionFailed, "{problem:?}");
            false
        }
    }
}

/// A process that changed the file before the call is always noticed, even if size and inode are the same, and even if the clock
/// has not moved since the version was told.
#[test]
fn attack_change_in_place_before_the_call() {
    let ground = Ground::make();
    fs::write(ground.host(), "0").expect("written");
    for round in 0..rounds(QUICK) {
        if round % 2 == 0 {
            fs::write(ground.host(), "old").expect("written");
        }
        let told = ground.entry().etag.expect("a tag");
        let file = fs::OpenOptions::new().write(true).open(ground.host()).expect("opened");
        file.write_all_at(b"new", 0).expect("written");
        let condition = WriteCondition::Matches(vec![told]);
        let refused = ground.write("ours".to_owned(), condition).expect_err("a version that is gone");
        assert_eq!(refused.code, ErrorCode::PreconditionFailed, "round {round}");
        assert_eq!(ground.read(), "new", "round {round}");
    }
    ground.assert_no_debris();
}

/// A process renames its own version over the file while a writer replaces the version that it has read. Whoever is first, the
/// process's version is there in the end: either the writer came first, and was replaced, or it was refused.
#[test]
fn attack_rename_over_during_the_call() {
    let (won, refused) = interfere(
        |folder, round, theirs| {
            let draft = folder.join("draft");
            fs::write(&draft, theirs).expect("written");
            for _ in 0..round % 97 {
                std::hint::spin_loop();
            }
            fs::rename(&draft, folder.join("file")).expect("renamed");
        },
        |round, written, found, _ours, theirs| {
            assert_eq!(found, theirs, "round {round}: {written:?}");
        },
    );
    eprintln!("{won} written, {refused} refused");
    assert!(won > 0 && refused > 0, "{won} written, {refused} refused: no race");
}

/// The same by a process that writes in place. It may have the old version open, and what it writes there after the replace goes
/// with that version; but who is refused has changed nothing, and nobody sees a mixture.
#[test]
fn attack_write_in_place_during_the_call() {
    let (won, refused) = interfere(
        |folder, round, theirs| {
            let file = fs::OpenOptions::new().write(true).open(folder.join("file")).expect("opened");
            for _ in 0..round % 97 {
                std::hint::spin_loop();
            }
            file.write_all_at(theirs.as_bytes(), 0).expect("written");
        },
        |round, written, found, ours, theirs| match written {
            true => assert!(found == ours || found == theirs, "round {round}: {found:?}"),
            false => assert_eq!(found, theirs, "round {round}"),
        },
    );
    eprintln!("{won} written, {refused} refused");
    assert!(won > 0, "{won} written, {refused} refused");
}

/// Runs a process's `change` beside a write of the version before, round by round, until both outcomes were seen or it is enough.
fn interfere(
    change: fn(&std::path::Path, usize, &str),
    check: fn(usize, bool, &str, &str, &str),
) -> (usize, usize) {
    let ground = Ground::make();
    fs::write(ground.host(), "first").expect("written");
    let (start, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let stop = AtomicBool::new(false);
    let (mut won, mut refused) = (0, 0);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut round = 0;
            loop {
                while start.load(Ordering::Acquire) == round {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    std::hint::spin_loop();
                }
                round += 1;
                change(ground.folder.path(), round, &format!("theirs {round:06}"));
                done.store(round, Ordering::Release);
            }
        });
        let _stop = Stop(&stop);
        let most = 50 * rounds(QUICK);
        let mut round = 0;
        while round < rounds(QUICK) || round < most && (won == 0 || refused == 0) {
            round += 1;
            let condition = WriteCondition::Matches(vec![ground.strong_tag()]);
            let ours = format!("ours   {round:06}");
            start.store(round, Ordering::Release);
            let written = ground.write(ours.clone(), condition);
            while done.load(Ordering::Acquire) != round {
                std::hint::spin_loop();
            }
            match &written {
                Ok(_) => won += 1,
                Err(problem) => {
                    assert_eq!(problem.code, ErrorCode::PreconditionFailed, "round {round}: {problem:?}");
                    refused += 1;
                }
            }
            let found = ground.read();
            check(round, written.is_ok(), &found, &ours, &format!("theirs {round:06}"));
        }
    });
    ground.assert_no_debris();
    (won, refused)
}
