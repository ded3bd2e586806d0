//! What one key may do in how much time.

use std::num::NonZeroU64;

use devbox_server::{Limits, Rate, ServerConfig};
use serde_json::Value;

use crate::files::{begin_upload, send_chunk};
use crate::house::House;
use crate::slow::figure;
use crate::wire::Answer;

fn rate(per_second: u64, burst: u64) -> Option<Rate> {
    let number = |number| NonZeroU64::new(number).expect("not zero");
    Some(Rate::per_second(number(per_second)).with_burst(number(burst)))
}

async fn house(limits: Limits) -> House {
    House::with(ServerConfig { limits, ..ServerConfig::default() }).await
}

fn assert_limited(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"), "{answer:?}");
    let seconds: u64 = answer.header("retry-after").expect("a pause").parse().expect("whole seconds");
    assert!(seconds >= 1, "{answer:?}");
    assert!(answer.json()["hint"].is_string(), "{answer:?}");
    assert_eq!(answer.json()["retryable"], true);
}

#[tokio::test]
async fn a_key_sends_only_so_many_requests_and_another_is_not_concerned() {
    // One in 1000 seconds, and no machine is that slow.
    let slow = Rate::per_second(NonZeroU64::MIN);
    let house = house(Limits { requests_per_key: Some(slow), ..Limits::default() }).await;
    let mut admitted = 0;
    let refused = loop {
        let answer = house.call("GET", "/v1/devboxes", Value::Null).await;
        if answer.status != 200 {
            break answer;
        }
        admitted += 1;
        assert!(admitted < 100_000, "there is no limit");
    };
    assert!(admitted >= 2, "a burst passes");
    assert_limited(&refused);
    assert_eq!(
        refused.header("retry-after"),
        Some("1"),
        "at one a second, the next one comes within a second"
    );
    // Routes that need no key have no limit, and say what was refused.
    let metrics = house.call("GET", "/metrics", Value::Null).await.text();
    assert!(metrics.contains("devbox_refusals_total{reason=\"request_rate\"} "), "{metrics}");
}

#[tokio::test]
async fn the_rate_of_requests_holds_inside_boxes_too() {
    let house = house(Limits { requests_per_key: rate(1, 2), ..Limits::default() }).await;
    let id = house.make().await;
    let target = format!("/v1/devboxes/{id}/entries/none");
    loop {
        let answer = house.call("GET", &target, Value::Null).await;
        if answer.status == 429 {
            break assert_limited(&answer);
        }
        assert_eq!(answer.code(), "not_found", "{answer:?}");
    }
}

#[tokio::test]
async fn a_large_debt_refuses_new_transfers_and_nothing_else() {
    let house = house(Limits { bytes_per_key: rate(50, 50), ..Limits::default() }).await;
    let id = house.make().await;
    let target = format!("/v1/devboxes/{id}/files/x");
    // Its first piece, at 50 bytes a second, is paid for in some minutes. Nobody waits for it.
    let mut slow = begin_upload(&house, &format!("/v1/devboxes/{id}/files/slow")).await;
    send_chunk(&mut slow, &[0; 60_000]).await;
    let metrics = async || house.call("GET", "/metrics", Value::Null).await.text();
    while figure(&metrics().await, "devbox_received_bytes_total ") < 1_000 {}
    let refused = house.send(&house.key, "PUT", &target, &[], b"x".to_vec()).await;
    assert_limited(&refused);
    assert!(metrics().await.contains("devbox_refusals_total{reason=\"byte_rate\"} 1\n"));
    // Another key has a budget of its own; what moves no content is served, and the other way is not concerned.
    let other = house.make_key("default", "member").await;
    let beside = house.send(&other, "PUT", &target, &[], b"x".to_vec()).await;
    assert_eq!(beside.status, 201, "{beside:?}");
    assert_eq!(house.call("GET", &format!("/v1/devboxes/{id}/entries/x"), Value::Null).await.status, 200);
    assert_eq!(house.call("GET", &target, Value::Null).await.body, b"x");
}
