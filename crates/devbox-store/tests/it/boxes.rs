//! Records of boxes.

use std::collections::BTreeMap;

use devbox_store::boxes::Reservation;
use devbox_store::{BoxRecord, Creation, Store, StoreError};
use devbox_types::devbox::{BoxSpec, CreateRequest, Resources};
use devbox_types::{BoxId, Timestamp};

fn record(seed: u8, name: Option<&str>) -> BoxRecord {
    BoxRecord {
        id: BoxId::from_random([seed; 10]),
        project: "p".to_owned(),
        name: name.map(str::to_owned),
        spec: BoxSpec {
            template: "host".to_owned(),
            env: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
            resources: Resources { pids: Some(9), ..Resources::default() },
        },
        runtime: Some("host (python 3.11.2)".to_owned()),
        workdir: "/workspace".to_owned(),
        labels: BTreeMap::from([("ä".to_owned(), "ö".to_owned())]),
        created: Timestamp::from_nanoseconds(i64::from(seed)),
        ready: false,
    }
}

async fn reserve(store: &Store, record: BoxRecord, creation: Option<&Creation>) -> BoxRecord {
    match store.reserve_box(record, creation).await.expect("a reservation") {
        Reservation::Made(record) => (*record).clone(),
        Reservation::Replayed(record) => panic!("replayed {record:?}"),
    }
}

#[tokio::test]
async fn a_record_comes_back_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    {
        let store = Store::open(directory.path()).await.expect("a store");
        let reserved = reserve(&store, record(1, Some("web")), None).await;
        store.confirm_box(&reserved).await.expect("a confirmation");
        reserve(&store, record(2, None), None).await;
    }
    let store = Store::open(directory.path()).await.expect("a store");
    let listed = store.list_boxes(None, 10, |_| true);
    let expected = [BoxRecord { ready: true, ..record(1, Some("web")) }, record(2, None)];
    assert_eq!(listed.iter().map(|record| (**record).clone()).collect::<Vec<_>>(), expected);
    assert_eq!(store.find_box_named("p", "web").expect("a box").id, expected[0].id);
    assert!(store.find_box_named("q", "web").is_none());
}

#[tokio::test]
async fn a_name_is_held_from_reservation_to_removal() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).await.expect("a store");
    let reserved = reserve(&store, record(1, Some("web")), None).await;
    let taken = store.reserve_box(record(2, Some("web")), None).await;
    assert!(matches!(taken, Err(StoreError::NameTaken { .. })), "{taken:?}");
    let elsewhere = BoxRecord { project: "q".to_owned(), ..record(3, Some("web")) };
    reserve(&store, elsewhere, None).await;
    store.abandon_box(&reserved.id).await.expect("a removal");
    reserve(&store, record(2, Some("web")), None).await;
}

#[tokio::test]
async fn an_idempotency_key_stands_for_one_request_and_one_box() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).await.expect("a store");
    let creation = Creation::of("k".to_owned(), &CreateRequest::default());
    let first = reserve(&store, record(1, None), Some(&creation)).await;
    let early = store.reserve_box(record(2, None), Some(&creation)).await;
    assert!(matches!(early, Err(StoreError::CreationUnderWay)), "{early:?}");
    store.confirm_box(&first).await.expect("a confirmation");
    let again = store.reserve_box(record(2, None), Some(&creation)).await.expect("an answer");
    assert!(matches!(again, Reservation::Replayed(record) if record.id == first.id));
    let other = CreateRequest { name: Some("x".to_owned()), ..CreateRequest::default() };
    let different = store.reserve_box(record(2, None), Some(&Creation::of("k".to_owned(), &other))).await;
    assert!(matches!(different, Err(StoreError::IdempotencyMismatch)), "{different:?}");
    store.forget_box(&first.id).await.expect("a removal");
    let gone = store.reserve_box(record(2, None), Some(&creation)).await;
    assert!(matches!(gone, Err(StoreError::CreationDeleted { .. })), "{gone:?}");
    // What was never made may be tried again under the same key.
    let second = Creation::of("l".to_owned(), &CreateRequest::default());
    let failed = reserve(&store, record(3, None), Some(&second)).await;
    store.abandon_box(&failed.id).await.expect("a removal");
    reserve(&store, record(4, None), Some(&second)).await;
}

#[tokio::test]
async fn removing_what_is_gone_succeeds() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).await.expect("a store");
    store.forget_box(&record(1, None).id).await.expect("nothing to do");
}
