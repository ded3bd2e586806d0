//! What is wrong is said, always in the same form.

use serde_json::{Value, json};

use crate::house::House;
use crate::wire::{Answer, call};

fn problem(answer: &Answer) -> String {
    answer.code();
    let mut problem = answer.json();
    problem["request_id"] = json!("[id]");
    serde_json::to_string_pretty(&problem).expect("json")
}

#[tokio::test]
async fn nothing_leads_out_of_the_form() {
    let house = House::new().await;
    let id = house.make().await;
    for (method, target, status, code) in [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v1/devboxes/", 404, "not_found"),
        ("GET", &*format!("/v1/devboxes/{id}/nothing"), 404, "not_found"),
        ("GET", "/v1/devboxes/no-such-box", 404, "devbox_not_found"),
        ("GET", "/v1/devboxes/no-such-box/files/x", 404, "devbox_not_found"),
        ("PUT", "/v1/devboxes", 405, "method_not_allowed"),
        ("TRACE", &*format!("/v1/devboxes/{id}/files/x"), 405, "method_not_allowed"),
        ("GET", &*format!("/v1/devboxes/{id}/files/a/../b"), 400, "invalid_path"),
        ("GET", &*format!("/v1/devboxes/{id}/files/a%2Fb"), 400, "invalid_path"),
        ("GET", &*format!("/v1/devboxes/{id}/files/a%00"), 400, "invalid_path"),
        ("GET", &*format!("/v1/devboxes/{id}/files/{}", "a".repeat(256)), 400, "name_too_long"),
        ("GET", &*format!("/v1/devboxes/{id}/entries/?depth=x"), 400, "invalid_request"),
        ("GET", "/v1/audit?box=x", 400, "invalid_request"),
        ("GET", "/v1/audit?what=x", 400, "invalid_request"),
        ("GET", "/v1/audit?cursor=x", 400, "invalid_request"),
    ] {
        let answer = house.call(method, target, Value::Null).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {target}");
    }
    // The answer to a HEAD has no body.
    let head = house.call("HEAD", "/v1/devboxes/no-such-box", Value::Null).await;
    assert_eq!((head.status, head.body.len()), (404, 0));
    assert_eq!(head.header("devbox-error"), Some("devbox_not_found"));
    let not_allowed = house.call("PUT", "/v1/devboxes", Value::Null).await;
    assert_eq!(not_allowed.header("allow"), Some("POST,GET,HEAD"));
}

#[tokio::test]
async fn a_create_that_makes_no_sense_is_refused() {
    let house = House::new().await;
    for body in [
        json!({ "name": "" }),
        json!({ "name": "Web" }),
        json!({ "name": 1 }),
        json!({ "nmae": "web" }),
        json!({ "env": { "A=B": "c" } }),
        json!({ "env": { "A": "b\u{0}" } }),
        json!({ "labels": { "": "x" } }),
        json!({ "resources": { "memory_bytes": 1 } }),
        json!([]),
    ] {
        let answer = house.call("POST", "/v1/devboxes", body.clone()).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{body}");
    }
    let broken = house.send(&house.key, "POST", "/v1/devboxes", &[], b"{\"name\":".to_vec()).await;
    assert_eq!(broken.code(), "invalid_request");
    let long = house.send(&house.key, "POST", "/v1/devboxes", &[], vec![b' '; (1 << 20) + 1]).await;
    assert_eq!((long.status, long.code().as_str()), (413, "too_large"));
}

#[tokio::test]
async fn problems_say_what_to_do() {
    let house = House::new().await;
    let none = call(house.address, "GET", "/v1/devboxes", &[], Vec::new()).await;
    insta::assert_snapshot!("no_key", problem(&none));
    let runtime =
        house.call("POST", "/v1/devboxes", json!({ "language": "python", "runtime": "python:3.12" })).await;
    insta::assert_snapshot!("no_such_runtime", problem(&runtime));
    let unknown = house.call("GET", "/v1/devboxes/web", Value::Null).await;
    insta::assert_snapshot!("no_such_box", problem(&unknown));
    let field = house.call("POST", "/v1/devboxes", json!({ "nmae": "web" })).await;
    insta::assert_snapshot!("unknown_field", problem(&field));
}

#[tokio::test]
async fn health_metrics_and_description_need_no_key() {
    let house = House::new().await;
    for (target, content_type) in [
        ("/healthz", "text/plain; charset=utf-8"),
        ("/readyz", "text/plain; charset=utf-8"),
        ("/metrics", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("/openapi.json", "application/json"),
    ] {
        let answer = call(house.address, "GET", target, &[], Vec::new()).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{target}");
        assert!(answer.header("x-request-id").is_some(), "{target}");
    }
    let metrics = call(house.address, "GET", "/metrics", &[], Vec::new()).await.text();
    let counted = "devbox_requests_total{method=\"GET\",route=\"/healthz\",code=\"200\"} 1\n";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("devbox_open_requests 1\n"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}

/// The question needs no key and asks about every box, so it is asked once in a while only.
#[tokio::test]
async fn boxes_are_counted_once_in_a_while() {
    let house = House::new().await;
    house.make().await;
    let count = async || {
        let metrics = call(house.address, "GET", "/metrics", &[], Vec::new()).await.text();
        let line = metrics.lines().find(|line| line.starts_with("devbox_boxes{state=\"running\"}"));
        line.and_then(|line| line.split(' ').nth(1)).map(str::to_owned)
    };
    assert_eq!(count().await.as_deref(), Some("1"));
    house.make().await;
    assert_eq!(count().await.as_deref(), Some("1"), "counted again at once");
}

#[tokio::test]
async fn a_bad_request_id_is_replaced() {
    let house = House::new().await;
    let answer = call(house.address, "GET", "/healthz", &[("x-request-id", "a b")], Vec::new()).await;
    let id = answer.header("x-request-id").expect("an id");
    assert_eq!(id.len(), 16);
}
