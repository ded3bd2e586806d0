//! What was done is in the audit.

use serde_json::{Value, json};

use crate::files::{begin_upload, send_chunk};
use crate::house::{House, files_that_hold};

/// `operation path error` of each record on a box.
async fn lines(house: &House) -> Vec<String> {
    let line = |record: &Value| {
        let text = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
        format!("{} {} {}", text("operation"), text("path"), text("error"))
    };
    let records = house.audit().await;
    records.iter().filter(|record| record["operation"] != "box.create").map(line).collect()
}

#[tokio::test]
async fn each_call_leaves_one_record() {
    let house = House::new().await;
    let id = house.make().await;
    let base = format!("/v1/devboxes/{id}");
    let file = format!("{base}/files/a");
    house.send(&house.key, "PUT", &file, &[], vec![7; 70_000]).await;
    house.send(&house.key, "PATCH", &format!("{file}?append=true"), &[], vec![8; 5]).await;
    house.call("GET", &file, Value::Null).await;
    house.call("HEAD", &file, Value::Null).await;
    house.call("GET", &format!("{base}/files/none"), Value::Null).await;
    house.call("GET", &format!("{base}/entries/a"), Value::Null).await;
    house.call("GET", &format!("{base}/entries/?depth=1"), Value::Null).await;
    let ndjson = [("accept", "application/x-ndjson")];
    house.send(&house.key, "GET", &format!("{base}/entries/?depth=1"), &ndjson, Vec::new()).await;
    let operations = json!({ "operations": [{ "op": "mkdir", "path": "/d" }] });
    house.call("POST", &format!("{base}/entries"), operations).await;
    house.call("POST", &format!("{base}/archive"), json!({ "paths": [{ "path": "/a" }] })).await;
    house.call("POST", &format!("{base}/processes"), json!({ "argv": ["exit", "3"] })).await;
    house.call("GET", &format!("{base}/processes"), Value::Null).await;
    house.call("POST", &format!("{base}/processes/9/signal"), json!({ "signal": 15 })).await;
    house.call("DELETE", &file, Value::Null).await;
    house.call("POST", &format!("{base}/stop"), Value::Null).await;
    house.call("DELETE", &base, Value::Null).await;
    assert_eq!(
        lines(&house).await,
        [
            "file.write /a -",
            "file.patch /a -",
            "file.read /a -",
            "file.read /a -",
            "file.read /none not_found",
            "file.stat /a -",
            "file.list / -",
            "file.walk / -",
            "file.apply /d unsupported",
            "file.pack /a unsupported",
            "process.run exit -",
            "process.list - -",
            "process.signal 9 process_not_found",
            "file.apply /a -",
            "box.stop - -",
            "box.delete - -",
        ]
    );
    let records = house.audit().await;
    let of =
        |operation: &str| records.iter().find(|record| record["operation"] == operation).expect("a record");
    assert_eq!((&of("file.write")["bytes"], &of("file.read")["bytes"]), (&json!(70_000), &json!(70_005)));
    assert_eq!(of("file.patch")["bytes"], json!(5));
    assert_eq!((&of("file.walk")["entries"], &of("process.run")["exit_code"]), (&json!(1), &json!(3)));
    assert_eq!(of("file.write")["box_id"], json!(id));
    assert_eq!(of("file.write")["key_id"].as_str(), house.key.split('_').nth(1));
}

#[tokio::test]
async fn a_digest_and_the_request_id_are_in_the_record() {
    let house = House::new().await;
    let id = house.make().await;
    let headers = [
        ("content-digest", "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"),
        ("x-request-id", "mine.1"),
    ];
    let target = format!("/v1/devboxes/{id}/files/a");
    let written = house.send(&house.key, "PUT", &target, &headers, b"hello".to_vec()).await;
    assert_eq!(written.header("x-request-id"), Some("mine.1"));
    let records = house.audit().await;
    let record = records.last().expect("a record");
    assert_eq!(record["request_id"], "mine.1");
    assert_eq!(record["sha256"], "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
}

#[tokio::test]
async fn a_call_that_is_cut_off_is_recorded_as_interrupted() {
    let house = House::new().await;
    let id = house.make().await;
    let mut stream = begin_upload(&house, &format!("/v1/devboxes/{id}/files/half")).await;
    send_chunk(&mut stream, &[0; 1000]).await;
    drop(stream);
    // The record is written when the server sees that the client is gone.
    let lines = loop {
        let lines = lines(&house).await;
        if !lines.is_empty() {
            break lines;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(lines, ["file.write /half interrupted"]);
}

#[tokio::test]
async fn records_are_paged_and_filtered_by_box() {
    let house = House::new().await;
    let (one, other) = (house.make().await, house.make().await);
    for number in 0..5 {
        house.send(&house.key, "PUT", &format!("/v1/devboxes/{one}/files/{number}"), &[], Vec::new()).await;
    }
    house.send(&house.key, "PUT", &format!("/v1/devboxes/{other}/files/x"), &[], Vec::new()).await;
    let mut paths = Vec::new();
    let mut cursor = String::new();
    loop {
        let target = format!("/v1/audit?box={one}&limit=2{cursor}");
        let page = house.call("GET", &target, Value::Null).await.json();
        let records = page["records"].as_array().expect("records").clone();
        paths.extend(records.iter().map(|record| record["path"].as_str().unwrap_or("made").to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paths, ["/4", "/3", "/2", "/1", "/0", "made"]);
    // Another project sees none of it.
    let admin = house.make_key("other", "admin").await;
    let theirs = house.call_as(&admin, "GET", "/v1/audit", Value::Null).await.json();
    assert_eq!(theirs["records"], json!([]));
}

#[tokio::test]
async fn arguments_and_contents_are_not_recorded() {
    let house = House::new().await;
    let id = house.make().await;
    let request =
        json!({ "argv": ["exit", "0"], "env": { "TOKEN": "hunter2" }, "stdin": { "text": "hunter2" } });
    house.call("POST", &format!("/v1/devboxes/{id}/processes"), request).await;
    house.send(&house.key, "PUT", &format!("/v1/devboxes/{id}/files/a"), &[], b"hunter2".to_vec()).await;
    assert_eq!(house.audit().await.len(), 3);
    let (_, directory) = house.close().await;
    assert_eq!(files_that_hold(directory.path(), "hunter2"), [""; 0]);
}

/// Records wait in memory by the thousands, so none may be as long as a request.
#[tokio::test]
async fn the_name_of_a_program_is_recorded_up_to_a_limit() {
    let house = House::new().await;
    let id = house.make().await;
    let request = json!({ "argv": ["ä".repeat(100_000)] });
    let refused = house.call("POST", &format!("/v1/devboxes/{id}/processes"), request).await;
    assert!(refused.status >= 400, "{refused:?}");
    let records = house.audit().await;
    let run = records.iter().find(|record| record["operation"] == "process.run").expect("a record");
    assert_eq!(run["path"].as_str().expect("a name").chars().count(), 4_096);
}
