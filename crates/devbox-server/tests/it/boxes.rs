//! Boxes: making, finding, stopping, deleting.

use devbox_backend::Backend as _;
use serde_json::{Value, json};

use crate::house::House;

#[tokio::test]
async fn a_box_is_made_seen_stopped_started_and_deleted() {
    let house = House::new().await;
    let request =
        json!({ "name": "web", "language": "python", "runtime": "python:3.11", "labels": { "a": "b" } });
    let made = house.call("POST", "/v1/devboxes", request).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    assert_eq!((&made["state"], &made["template"]), (&json!("running"), &json!("host")));
    assert_eq!(made["runtime"], "host (python 3.11.2)");
    assert_eq!(made["workdir"], "/workspace");
    assert_eq!(
        made["resources"],
        json!({ "cpu_millis": 2000, "memory_bytes": 2_147_483_648_u64, "pids": 1024 })
    );
    let id = made["id"].as_str().expect("an id");

    let by_name = house.call("GET", "/v1/devboxes/web", Value::Null).await.json();
    assert_eq!((&by_name["id"], &by_name["promises"]), (&made["id"], &json!(["all_or_nothing_batch"])));

    let target = format!("/v1/devboxes/{id}");
    let stopped = house.call("POST", &format!("{target}/stop"), Value::Null).await;
    assert_eq!((stopped.status, &stopped.json()["state"]), (200, &json!("stopped")));
    let started = house.call("POST", &format!("{target}/start"), Value::Null).await;
    assert_eq!((started.status, &started.json()["state"]), (200, &json!("running")));

    assert_eq!(house.call("DELETE", &target, Value::Null).await.status, 204);
    let again = house.call("DELETE", &target, Value::Null).await;
    assert_eq!((again.status, again.code().as_str()), (404, "devbox_not_found"));
    assert_eq!(house.backend.ids().await.expect("ids"), []);
}

#[tokio::test]
async fn a_name_is_taken_once_in_a_project() {
    let house = House::new().await;
    let request = json!({ "name": "web" });
    assert_eq!(house.call("POST", "/v1/devboxes", request.clone()).await.status, 201);
    let taken = house.call("POST", "/v1/devboxes", request.clone()).await;
    assert_eq!((taken.status, taken.code().as_str()), (409, "exists"));
    assert_eq!(house.call("DELETE", "/v1/devboxes/web", Value::Null).await.status, 204);
    assert_eq!(house.call("POST", "/v1/devboxes", request).await.status, 201);
}

#[tokio::test]
async fn a_create_is_repeated_without_making_a_second_box() {
    let house = House::new().await;
    let create = async |key: &str, body: Value| {
        let headers = [("idempotency-key", key)];
        let body = serde_json::to_vec(&body).expect("json");
        house.send(&house.key, "POST", "/v1/devboxes", &headers, body).await
    };
    let first = create("k1", json!({ "labels": { "a": "1", "b": "2" } })).await;
    assert_eq!(first.status, 201);
    let again = create("k1", json!({ "labels": { "b": "2", "a": "1" } })).await;
    assert_eq!((again.status, &again.json()["id"]), (201, &first.json()["id"]));
    let different = create("k1", json!({ "labels": { "a": "3" } })).await;
    assert_eq!((different.status, different.code().as_str()), (422, "idempotency_mismatch"));
    let other = create("k2", json!({ "labels": { "a": "1", "b": "2" } })).await;
    assert_ne!(other.json()["id"], first.json()["id"]);
    assert_eq!(house.backend.ids().await.expect("ids").len(), 2);
    let audited = house.audit().await;
    assert_eq!((&audited[0]["box_id"], &audited[1]["box_id"]), (&first.json()["id"], &first.json()["id"]));

    let id = first.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(house.call("DELETE", &format!("/v1/devboxes/{id}"), Value::Null).await.status, 204);
    let gone = create("k1", json!({ "labels": { "a": "1", "b": "2" } })).await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "devbox_not_found"));
    assert_eq!(create("", json!({})).await.code(), "invalid_request");
}

#[tokio::test]
async fn repeated_creates_at_once_make_one_box() {
    let house = House::new().await;
    let create = || house.send(&house.key, "POST", "/v1/devboxes", &[("idempotency-key", "k")], Vec::new());
    let (one, two, three) = tokio::join!(create(), create(), create());
    for answer in [&one, &two, &three] {
        assert!(answer.status == 201 || answer.code() == "busy", "{answer:?}");
    }
    assert_eq!(house.backend.ids().await.expect("ids").len(), 1);
}

#[tokio::test]
async fn a_create_that_fails_leaves_nothing_and_may_be_repeated() {
    let house = House::new().await;
    let create = || {
        let body = serde_json::to_vec(&json!({ "name": "web" })).expect("json");
        house.send(&house.key, "POST", "/v1/devboxes", &[("idempotency-key", "k")], body)
    };
    house.backend.set_full(true);
    let full = create().await;
    assert_eq!((full.status, full.code().as_str()), (507, "no_space"));
    let listed = house.call("GET", "/v1/devboxes", Value::Null).await.json();
    assert_eq!(listed["devboxes"], json!([]));
    house.backend.set_full(false);
    assert_eq!(create().await.status, 201);
}

#[tokio::test]
async fn boxes_are_listed_in_pages_and_filtered() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let parity = if number % 2 == 0 { "even" } else { "odd" };
        let request = json!({ "name": format!("box{number}"), "labels": { "parity": parity, "all": "yes" } });
        let made = house.call("POST", "/v1/devboxes", request).await.json();
        ids.push(made["id"].clone());
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = house.call("GET", &format!("/v1/devboxes?limit=2{cursor}"), Value::Null).await.json();
        let devboxes = page["devboxes"].as_array().expect("boxes");
        assert!((1..=2).contains(&devboxes.len()));
        seen.extend(devboxes.iter().map(|devbox| devbox["id"].clone()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ids);

    let names = async |query: &str| {
        let page = house.call("GET", &format!("/v1/devboxes?{query}"), Value::Null).await.json();
        let devboxes = page["devboxes"].as_array().expect("boxes").clone();
        devboxes.iter().map(|devbox| devbox["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("label=parity%3Dodd").await, ["box1", "box3"]);
    assert_eq!(names("label=parity%3Dodd&label=all%3Dyes&limit=1").await, ["box1"]);
    assert_eq!(names("label=parity%3Dnone").await, [""; 0]);
    assert_eq!(names("name=box4").await, ["box4"]);
    for query in ["limit=0", "limit=1001", "limit=x", "cursor=x", "label=x", "what=x"] {
        let answer = house.call("GET", &format!("/v1/devboxes?{query}"), Value::Null).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{query}");
    }
}

#[tokio::test]
async fn templates_are_listed_with_the_default_first() {
    let house = House::new().await;
    let listed = house.call("GET", "/v1/templates", Value::Null).await.json();
    assert_eq!(listed["templates"][0]["name"], "host");
    assert_eq!(listed["templates"][0]["runtimes"], json!(["python:3.11.2", "node:20.20.2"]));
}

#[tokio::test]
async fn a_dead_agent_shows_in_the_box() {
    let house = House::new().await;
    let id = house.make().await;
    house.backend.kill_agent(&id.parse().expect("an id"));
    let seen = house.call("GET", &format!("/v1/devboxes/{id}"), Value::Null).await.json();
    assert_eq!((&seen["state"], &seen["reason"]), (&json!("failed"), &json!("agent_killed")));
    let metrics = house.call("GET", "/metrics", Value::Null).await.text();
    assert!(metrics.contains("devbox_boxes{state=\"failed\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_backend_that_panics_leaves_the_name_free() {
    let panics = std::sync::atomic::AtomicBool::new(true);
    let template = devbox_types::devbox::Template {
        name: "host".to_owned(),
        runtimes: Vec::new(),
        workdir: "/workspace".to_owned(),
    };
    let backend = devbox_backend::memory::MemoryBackend::new(vec![template], move |_| {
        assert!(!panics.swap(false, std::sync::atomic::Ordering::Relaxed), "a bug");
        std::sync::Arc::new(devbox_backend::memory::MemoryGuest::default())
    });
    let directory = std::sync::Arc::new(tempfile::tempdir().expect("a directory"));
    let house =
        House::open(devbox_server::ServerConfig::default(), std::sync::Arc::new(backend), directory).await;
    let failed = house.call("POST", "/v1/devboxes", json!({ "name": "web" })).await;
    assert_eq!((failed.status, failed.code().as_str()), (500, "internal"));
    let made = house.call("POST", "/v1/devboxes", json!({ "name": "web" })).await;
    assert_eq!(made.status, 201, "{made:?}");
}
