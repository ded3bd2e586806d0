//! The audit: committed in groups, never lost.

use std::path::Path;
use std::time::Duration;

use devbox_store::{AuditFilter, Store};
use devbox_types::audit::{AuditRecord, AuditedOperation};
use devbox_types::{BoxId, ErrorCode, Timestamp};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};
use tokio::time::timeout;

fn record(number: u64) -> AuditRecord {
    AuditRecord {
        time: Timestamp::from_nanoseconds(i64::try_from(number).expect("a small number")),
        request_id: "r".parse().expect("an id"),
        key_id: "k".to_owned(),
        project: "p".to_owned(),
        box_id: Some(BoxId::from_random([u8::from(number.is_multiple_of(2)); 10])),
        operation: AuditedOperation::FileWrite,
        path: Some("/ä".to_owned()),
        bytes: number,
        entries: 1,
        sha256: Some("00".repeat(32)),
        error: Some(ErrorCode::NoSpace),
        exit_code: Some(-1),
        duration_us: 7,
    }
}

fn filter(limit: u32) -> AuditFilter {
    AuditFilter { project: "p".to_owned(), box_id: None, cursor: None, limit }
}

/// A connection of somebody who holds the database.
async fn intruder(directory: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(directory.join(Store::FILE_NAME));
    options.connect().await.expect("a connection")
}

#[tokio::test]
async fn records_come_back_as_they_were_newest_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).await.expect("a store");
    for number in 0..5 {
        store.audit().reserve().await.expect("a place").record(record(number));
    }
    store.audit().flush().await.expect("a commit");
    let page = store.audit().page(&filter(2)).await.expect("a page");
    assert_eq!(page.records, [record(4), record(3)]);
    let next = AuditFilter { cursor: page.next_cursor, ..filter(10) };
    let rest = store.audit().page(&next).await.expect("a page");
    assert_eq!((rest.records, rest.next_cursor), (vec![record(2), record(1), record(0)], None));
    let of_one = AuditFilter { box_id: record(1).box_id, ..filter(10) };
    let page = store.audit().page(&of_one).await.expect("a page");
    assert_eq!(page.records, [record(3), record(1)]);
}

#[tokio::test]
async fn a_record_is_committed_soon_without_being_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).await.expect("a store");
    store.audit().reserve().await.expect("a place").record(record(1));
    let committed = async {
        while store.audit().page(&filter(1)).await.expect("a page").records.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), committed).await.expect("a commit");
}

#[tokio::test]
async fn a_full_queue_makes_callers_wait_and_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).await.expect("a store");
    let mut intruder = intruder(directory.path()).await;
    sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut intruder).await.expect("the lock");

    let mut number = 0;
    loop {
        let reserved = timeout(Duration::from_millis(200), store.audit().reserve()).await;
        match reserved {
            Ok(place) => place.expect("a place").record(record(number)),
            Err(_) => break,
        }
        number += 1;
        assert!(number < 100_000, "the queue has no bound");
    }
    assert_eq!(store.audit().free_slots(), 0);

    sqlx::raw_sql("ROLLBACK").execute(&mut intruder).await.expect("the lock back");
    store.audit().reserve().await.expect("a place").record(record(number));
    store.audit().flush().await.expect("a commit");
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM audit").fetch_one(&mut intruder).await.expect("a count");
    assert_eq!(u64::try_from(count).expect("a count"), number + 1);
}

#[tokio::test]
async fn a_place_that_is_not_used_is_given_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).await.expect("a store");
    let free = store.audit().free_slots();
    let place = store.audit().reserve().await.expect("a place");
    assert_eq!(store.audit().free_slots(), free - 1);
    drop(place);
    assert_eq!(store.audit().free_slots(), free);
}

#[tokio::test]
async fn old_records_are_pruned() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).await.expect("a store");
    let new = AuditRecord { time: Timestamp::from(std::time::SystemTime::now()), ..record(9) };
    for record in [record(1), record(2), new.clone()] {
        store.audit().reserve().await.expect("a place").record(record);
    }
    store.audit().flush().await.expect("a commit");
    assert_eq!(store.audit().prune(Duration::from_secs(60)).await.expect("a count"), 2);
    assert_eq!(store.audit().page(&filter(9)).await.expect("a page").records, [new]);
}
