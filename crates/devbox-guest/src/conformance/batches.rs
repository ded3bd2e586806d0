//! Many files at once: all, or none.

use devbox_types::file::WriteRequest;
use devbox_types::operation::{Operation, Report};
use devbox_types::{Digests, EntryKind, ErrorCode, Grant, Problem, WriteCondition};
use futures_util::stream::{self, StreamExt as _};

use super::ground::{Ground, broken, chunked, fails_with, noise};
use crate::body::Body;
use crate::contract::UploadPart;

type Part = Result<UploadPart, Problem>;

fn part(ground: &Ground, name: &str, body: Body) -> UploadPart {
    let request =
        WriteRequest { make_parents: true, length: body.length(), ..WriteRequest::to(ground.path(name)) };
    UploadPart { request, body }
}

fn file(ground: &Ground, name: &str) -> Part {
    Ok(part(ground, name, Body::from_bytes(name.to_owned())))
}

async fn write(ground: &Ground, parts: Vec<Part>) -> Result<Report, Problem> {
    ground.guest.write_many(&ground.grant, stream::iter(parts).boxed()).await
}

/// Checks that a batch which cannot succeed leaves what was there, and nothing else.
async fn changes_nothing(ground: &Ground, bad: Part, code: ErrorCode) {
    ground.write("old", "old content").await;
    let parts =
        vec![file(ground, "first"), file(ground, "old"), file(ground, "a/b/c"), bad, file(ground, "last")];
    fails_with(write(ground, parts).await, code);
    ground.holds(&["old"]).await;
    assert_eq!(ground.read("old").await, "old content");
}

pub(super) async fn a_batch_is_written_whole(ground: Ground) {
    ground.write("old", "old content").await;
    let large = noise(300_000);
    let mut moded = part(&ground, "script", Body::from_bytes("#!/bin/sh\n"));
    moded.request.mode = Some(0o755);
    let parts = vec![
        file(&ground, "old"),
        file(&ground, "a/b/c"),
        Ok(part(&ground, "large", chunked(&large, 7000, false))),
        Ok(moded),
        Ok(part(&ground, "empty", Body::empty())),
    ];
    let report = write(&ground, parts).await.expect("a batch");
    assert!(report.entries >= 5, "{report:?}");
    assert_eq!(report.bytes, 3 + 5 + 300_000 + 10);
    for name in ["old", "a/b/c"] {
        assert_eq!(ground.read(name).await, name);
    }
    assert_eq!(ground.read("large").await, large);
    assert_eq!(ground.read("empty").await, "");
    assert_eq!(ground.stat("script").await.expect("an entry").mode, 0o755);
    ground.holds(&["a", "empty", "large", "old", "script"]).await;
}

pub(super) async fn an_empty_batch_is_nothing(ground: Ground) {
    let report = write(&ground, Vec::new()).await.expect("a batch");
    assert_eq!((report.entries, report.bytes), (0, 0));
    ground.holds(&[]).await;
}

pub(super) async fn a_large_batch_is_written(ground: Ground) {
    let names: Vec<String> = (0..500).map(|number| format!("d{}/{number:03}", number % 7)).collect();
    let parts = names.iter().map(|name| file(&ground, name)).collect();
    write(&ground, parts).await.expect("a batch");
    for name in names.iter().step_by(37) {
        assert_eq!(ground.read(name).await, *name);
    }
    assert_eq!(ground.names().await.len(), 7);
}

pub(super) async fn a_failing_part_changes_nothing(ground: Ground) {
    let problem = Problem::new(ErrorCode::InvalidRequest, "this part is no part");
    ground.write("old", "old content").await;
    let parts = vec![file(&ground, "first"), file(&ground, "old"), Err(problem)];
    // A peer that hears of it only through the cut-off body calls it interrupted.
    let problem = write(&ground, parts).await.expect_err("the batch fails");
    assert!(matches!(problem.code, ErrorCode::InvalidRequest | ErrorCode::Interrupted), "{problem:?}");
    ground.holds(&["old"]).await;
    assert_eq!(ground.read("old").await, "old content");
}

pub(super) async fn a_wrong_digest_changes_nothing(ground: Ground) {
    let mut bad = part(&ground, "bad", Body::from_bytes("x"));
    bad.request.digests = Digests::of_sha256([0; 32]);
    changes_nothing(&ground, Ok(bad), ErrorCode::DigestMismatch).await;
}

pub(super) async fn an_impossible_target_changes_nothing(ground: Ground) {
    let below_a_file = part(&ground, "old/below", Body::from_bytes("x"));
    changes_nothing(&ground, Ok(below_a_file), ErrorCode::NotADirectory).await;
    assert_eq!(ground.stat("old").await.expect("an entry").kind, EntryKind::File);
}

pub(super) async fn a_failed_condition_changes_nothing(ground: Ground) {
    let mut bad = part(&ground, "old", Body::from_bytes("x"));
    bad.request.condition = WriteCondition::Absent;
    ground.write("old", "old content").await;
    let parts = vec![file(&ground, "first"), Ok(bad), file(&ground, "last")];
    let problem = write(&ground, parts).await.expect_err("the batch fails");
    assert!(matches!(problem.code, ErrorCode::PreconditionFailed | ErrorCode::Conflict), "{problem:?}");
    ground.holds(&["old"]).await;
    assert_eq!(ground.read("old").await, "old content");
}

pub(super) async fn a_cut_off_body_changes_nothing(ground: Ground) {
    changes_nothing(&ground, Ok(part(&ground, "bad", broken(b"some", None))), ErrorCode::Interrupted).await;
}

/// A grant with a key that no other check has.
fn keyed(ground: &Ground, key: &str) -> Grant {
    let folder = ground.path("").to_string();
    let key: String =
        folder.bytes().chain(key.bytes()).filter(u8::is_ascii_alphanumeric).map(char::from).collect();
    ground.grant.clone().with_key(key.parse().expect("a key"))
}

pub(super) async fn a_repeat_with_its_key_is_answered_and_not_done(ground: Ground) {
    let grant = keyed(&ground, "files");
    let write = async |content: &str| {
        let parts = ["one", "two"].map(|name| Ok(part(&ground, name, Body::from_bytes(content.to_owned()))));
        ground.guest.write_many(&grant, stream::iter(parts).boxed()).await
    };
    let first = write("content").await.expect("a report");
    ground.write("one", "changed").await;
    assert_eq!(write("content").await.expect("the same report"), first);
    assert_eq!(ground.read("one").await, "changed");
    fails_with(write("other").await, ErrorCode::IdempotencyMismatch);

    let grant = keyed(&ground, "operations");
    let mkdir = |name: &str| Operation::Mkdir { path: ground.path(name), mode: None, parents: false };
    for (key, names) in [("one", &["a"][..]), ("many", &["b", "c"])] {
        let grant = keyed(&ground, key);
        let operations: Vec<_> = names.iter().map(|name| mkdir(name)).collect();
        let first = ground.guest.apply(&grant, operations.clone()).await.expect("a report");
        assert_eq!(ground.guest.apply(&grant, operations).await.expect("the same report"), first);
        let other = ground.guest.apply(&grant, vec![mkdir("other")]).await;
        fails_with(other, ErrorCode::IdempotencyMismatch);
    }
    fails_with(ground.guest.apply(&grant, vec![mkdir("d"), mkdir("a")]).await, ErrorCode::Exists);
    ground.guest.apply(&grant, vec![mkdir("d")]).await.expect("what failed is not remembered");
    ground.holds(&["a", "b", "c", "d", "one", "two"]).await;
}

pub(super) async fn of_many_repeats_at_once_one_is_done(ground: Ground) {
    let grant = keyed(&ground, "race");
    let write = || async {
        loop {
            let parts = (0..20).map(|number| file(&ground, &format!("f{number}"))).collect::<Vec<_>>();
            match ground.guest.write_many(&grant, stream::iter(parts).boxed()).await {
                Err(problem) if problem.code == ErrorCode::Busy => assert!(problem.retryable),
                answer => break answer.expect("a report"),
            }
            tokio::task::yield_now().await;
        }
    };
    let reports = futures_util::future::join_all((0..8).map(|_| write())).await;
    assert!(reports.iter().all(|report| *report == reports[0]), "{reports:?}");
}
