//! Archives through every guard, into and out of an engine that is not a double.

use std::sync::Arc;

use devbox_agent::{LocalGuest, LocalGuestOptions};
use devbox_backend::memory::MemoryBackend;
use devbox_server::{Limits, ServerConfig};
use devbox_types::devbox::Template;
use serde_json::{Value, json};

use crate::house::House;

/// A server with one box, whose files lie below a folder of the test's.
async fn house(max_transfer_bytes: u64) -> (House, String) {
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let files = directory.path().join("box");
    std::fs::create_dir(&files).expect("a folder");
    let template = Template { name: "host".to_owned(), runtimes: Vec::new(), workdir: "/".to_owned() };
    let guest = move |_: &_| {
        let guest = LocalGuest::open(LocalGuestOptions::below(files.clone())).expect("a guest");
        Arc::new(guest) as Arc<dyn devbox_guest::Guest>
    };
    let backend = Arc::new(MemoryBackend::new(vec![template], guest));
    let limits = Limits { max_transfer_bytes, ..Limits::default() };
    let config = ServerConfig { limits, ..ServerConfig::default() };
    let house = House::open(config, backend, directory).await;
    let id = house.make().await;
    (house, format!("/v1/devboxes/{id}"))
}

/// Writes two files and packs them.
async fn packed(house: &House, base: &str, length: usize, format: &str) -> Vec<u8> {
    for name in ["a", "b"] {
        let written =
            house.send(&house.key, "PUT", &format!("{base}/files/{name}"), &[], vec![7; length]).await;
        assert_eq!(written.status, 201, "{written:?}");
    }
    let request = json!({ "paths": [{ "path": "/a" }, { "path": "/b" }], "format": format });
    let archive = house.call("POST", &format!("{base}/archive"), request).await;
    assert_eq!(archive.status, 200, "{archive:?}");
    archive.body
}

async fn record(house: &House, operation: &str) -> Value {
    let records = house.audit().await;
    records.into_iter().rev().find(|record| record["operation"] == operation).expect("a record")
}

#[tokio::test]
async fn an_archive_goes_out_and_in_and_both_are_recorded() {
    let (house, base) = house(1 << 20).await;
    let archive = packed(&house, &base, 1_000, "tar").await;
    let target = format!("{base}/archive/out?format=tar&parents=true");
    let unpacked = house.send(&house.key, "PUT", &target, &[], archive.clone()).await;
    assert_eq!(unpacked.status, 200, "{unpacked:?}");
    assert_eq!(house.call("GET", &format!("{base}/files/out/b"), Value::Null).await.body, vec![7; 1_000]);
    let length = json!(archive.len());
    let (pack, unpack) = (record(&house, "file.pack").await, record(&house, "file.unpack").await);
    assert_eq!((&pack["path"], &pack["entries"], &pack["bytes"]), (&json!("/a"), &json!(2), &length));
    assert_eq!((&unpack["path"], &unpack["bytes"]), (&json!("/out"), &json!(2_000)), "as they are unpacked");
    assert_eq!(unpack["entries"], unpacked.json()["entries"]);
    assert!(unpack["entries"].as_u64().is_some_and(|entries| entries >= 2), "{unpack}");
    assert!(unpack["error"].is_null(), "{unpack}");
}

#[tokio::test]
async fn what_comes_out_of_an_archive_counts_against_the_limit() {
    let (large, base) = house(1 << 20).await;
    let archive = packed(&large, &base, 60_000, "tar.gz").await;
    assert!(archive.len() < 10_000, "{} bytes", archive.len());
    let (small, base) = house(100_000).await;
    let target = format!("{base}/archive/out?format=tar.gz&parents=true");
    let refused = small.send(&small.key, "PUT", &target, &[], archive).await;
    assert_eq!((refused.status, refused.code().as_str()), (413, "too_large"), "{refused:?}");
    // Neither file is there, nor the folder.
    assert_eq!(small.call("GET", &format!("{base}/entries/out"), Value::Null).await.code(), "not_found");
    assert_eq!(record(&small, "file.unpack").await["error"], "too_large");
}

#[tokio::test]
async fn a_batch_is_done_once_under_its_key() {
    let (house, base) = house(1 << 20).await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "\"once-1\"")];
    let make = json!({ "operations": [{ "op": "mkdir", "path": "/d" }] }).to_string().into_bytes();
    let target = format!("{base}/entries");
    let first = house.send(&house.key, "POST", &target, &headers, make.clone()).await;
    assert_eq!(first.status, 200, "{first:?}");
    let again = house.send(&house.key, "POST", &target, &headers, make.clone()).await;
    assert_eq!((again.status, &again.body), (200, &first.body), "{again:?}");
    let keyless = house.send(&house.key, "POST", &target, &headers[..1], make).await;
    assert_eq!(keyless.code(), "exists");
}
