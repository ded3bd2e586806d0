//! Records and boxes after a start.

use std::collections::BTreeMap;
use std::sync::Arc;

use devbox_backend::Backend as _;
use devbox_server::ServerConfig;
use devbox_store::{BoxRecord, Store};
use devbox_types::devbox::{BoxSpec, Resources};
use devbox_types::{BoxId, Timestamp};
use serde_json::{Value, json};

use crate::house::{House, memory_backend};

fn spec() -> BoxSpec {
    BoxSpec { template: "host".to_owned(), env: BTreeMap::new(), resources: Resources::default() }
}

fn record(id: &BoxId, name: &str) -> BoxRecord {
    BoxRecord {
        id: id.clone(),
        project: "default".to_owned(),
        name: Some(name.to_owned()),
        spec: spec(),
        runtime: None,
        workdir: "/workspace".to_owned(),
        labels: BTreeMap::new(),
        created: Timestamp::from_nanoseconds(1),
        ready: false,
    }
}

fn id(seed: u8) -> BoxId {
    BoxId::from_random([seed; 10])
}

#[tokio::test]
async fn boxes_outlive_the_server() {
    let house = House::new().await;
    let made =
        house.call("POST", "/v1/devboxes", json!({ "name": "web", "labels": { "a": "b" } })).await.json();
    let (backend, directory) = house.close().await;
    let house = House::open(ServerConfig::default(), backend, directory).await;
    let mut seen = house.call("GET", "/v1/devboxes/web", Value::Null).await.json();
    seen.as_object_mut().expect("an object").remove("promises");
    assert_eq!(seen, made);
}

#[tokio::test]
async fn what_a_kill_left_half_made_is_removed() {
    let house = House::new().await;
    let kept = house.make().await;
    let (backend, directory) = house.close().await;
    let (reserved, made, lost, orphan) = (id(1), id(2), id(3), id(4));
    {
        let store = Store::open(directory.path()).await.expect("a store");
        for (id, name) in [(&reserved, "reserved"), (&made, "made"), (&lost, "lost")] {
            store.reserve_box(record(id, name), None).await.expect("a reservation");
        }
        store.confirm_box(&record(&lost, "lost")).await.expect("a confirmation");
    }
    for id in [&made, &orphan] {
        backend.create(id, &spec()).await.expect("a box");
    }
    let house = House::open(ServerConfig::default(), backend, directory).await;
    let ids: Vec<String> = house.backend.ids().await.expect("ids").iter().map(ToString::to_string).collect();
    assert_eq!(ids, [kept.as_str()]);
    let listed = house.call("GET", "/v1/devboxes", Value::Null).await.json();
    assert_eq!(listed["devboxes"].as_array().expect("boxes").len(), 1);
    assert_eq!(listed["devboxes"][0]["id"], json!(kept));
    // Their names are free again.
    for name in ["reserved", "made", "lost"] {
        assert_eq!(house.call("POST", "/v1/devboxes", json!({ "name": name })).await.status, 201);
    }
}

#[tokio::test]
async fn a_new_store_does_not_delete_boxes_it_knows_nothing_of() {
    let backend = memory_backend();
    backend.create(&id(1), &spec()).await.expect("a box");
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let house = House::open(ServerConfig::default(), backend, directory).await;
    assert_eq!(house.backend.ids().await.expect("ids"), [id(1)]);
}
