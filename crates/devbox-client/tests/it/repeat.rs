//! What is sent again, and what is not.

use std::time::Duration;

use devbox_client::{Client, ClientConfig, ClientError, CreateRequest, RetryPolicy};
use devbox_types::devbox::{CreateKeyRequest, KeyRole};
use devbox_types::operation::Operation;
use devbox_types::{BoxPath, Coded as _, ErrorCode};

use crate::script::{DEVBOX, json, problem, serve};

fn client(url: &str) -> Client {
    let retry = RetryPolicy { first_pause: Duration::from_millis(1), ..RetryPolicy::default() };
    let config = ClientConfig { retry, ..ClientConfig::new(url, Some("dvb_test".to_owned())) };
    Client::connect(config).expect("a client")
}

#[tokio::test]
async fn a_create_is_repeated_under_one_idempotency_key() {
    let script = vec![
        json("503 Service Unavailable", "retry-after: 0\r\n", &problem("unavailable")),
        json("429 Too Many Requests", "", &problem("rate_limited")),
        // The answer is lost on the way: the key makes it safe to ask again.
        String::new(),
        json("201 Created", "", DEVBOX),
    ];
    let (url, requests) = serve(script).await;
    let devbox = client(&url).create(&CreateRequest::default()).await.expect("a box");
    assert_eq!(devbox.id.as_str(), "a4dqobyha4dqobyh");
    let keys = requests.header("idempotency-key");
    assert_eq!(keys.len(), 4);
    assert!(keys.iter().all(|key| *key == keys[0] && key.len() == 32), "{keys:?}");
    assert_eq!(requests.header("authorization")[0], "Bearer dvb_test");
}

#[tokio::test]
async fn a_key_whose_answer_is_lost_is_not_made_twice() {
    let (url, requests) = serve(vec![String::new(), String::new()]).await;
    let request = CreateKeyRequest { project: None, role: KeyRole::Member, name: None };
    let error = client(&url).create_key(&request).await.expect_err("no answer");
    assert!(matches!(error, ClientError::Broken { .. }), "{error:?}");
    assert_eq!(requests.all().len(), 1);
}

#[tokio::test]
async fn a_refusal_is_final_and_keeps_its_words() {
    let (url, requests) = serve(vec![json("404 Not Found", "", &problem("devbox_not_found"))]).await;
    let error = client(&url).get("no-such-box").await.expect_err("no box");
    assert_eq!((error.code(), error.hint().as_deref()), (ErrorCode::DevboxNotFound, Some("read the test")));
    assert_eq!(requests.all().len(), 1);
}

#[tokio::test]
async fn a_server_that_asks_for_more_patience_than_there_is_gets_none() {
    let answer = json("503 Service Unavailable", "retry-after: 3600\r\n", &problem("unavailable"));
    let (url, requests) = serve(vec![answer]).await;
    let error = client(&url).templates().await.expect_err("too busy");
    assert_eq!((error.code(), requests.all().len()), (ErrorCode::Unavailable, 1));
}

#[tokio::test]
async fn what_is_not_the_api_is_called_so() {
    let page = json("200 OK", "", "<html>welcome</html>");
    let (url, _) = serve(vec![page]).await;
    let error = client(&url).list_keys().await.expect_err("no keys");
    assert!(matches!(error, ClientError::BadAnswer { status: 200, .. }), "{error:?}");
}

#[tokio::test]
async fn without_a_key_nothing_is_sent() {
    let (url, requests) = serve(Vec::new()).await;
    let client = Client::connect(ClientConfig::new(url, None)).expect("a client");
    assert!(matches!(client.templates().await, Err(ClientError::NoApiKey)));
    assert_eq!(requests.all().len(), 0);
}

#[tokio::test]
async fn all_pages_of_a_listing_are_fetched() {
    let script = vec![
        json("200 OK", "", &format!(r#"{{"devboxes":[{DEVBOX}],"next_cursor":"c/1"}}"#)),
        json("200 OK", "", &format!(r#"{{"devboxes":[{DEVBOX}]}}"#)),
    ];
    let (url, requests) = serve(script).await;
    let devboxes = client(&url).list_all(devbox_client::ListQuery::default()).await.expect("boxes");
    assert_eq!(devboxes.len(), 2);
    assert!(requests.all()[1].starts_with("GET /v1/devboxes?cursor=c%2F1 "), "{:?}", requests.all());
}

#[tokio::test]
async fn a_call_into_a_box_waits_as_long_as_the_server_asks() {
    let slow = || json("429 Too Many Requests", "retry-after: 1\r\n", &problem("rate_limited"));
    let created = r#"{"created":true,"entry":{"path":"/workspace/a","kind":"file","size_bytes":1,"mode":420,"uid":0,"gid":0,"modified":"2001-09-09T01:46:40Z","changed":"2001-09-09T01:46:40Z","links":1}}"#;
    let script = vec![json("200 OK", "", DEVBOX), slow(), slow(), json("201 Created", "", created)];
    let (url, requests) = serve(script).await;
    let sandbox = client(&url).sandbox("a4dqobyha4dqobyh").await.expect("a box");
    let began = std::time::Instant::now();
    sandbox.write("a", "x").await.expect("in the end it is written");
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(requests.all().len(), 4);
    assert!(requests.all()[3].ends_with("\r\n\r\nx"), "{:?}", requests.all());
}

#[tokio::test]
async fn a_pause_that_is_too_long_is_the_callers_business() {
    let slow = json("429 Too Many Requests", "retry-after: 3600\r\n", &problem("rate_limited"));
    let (url, requests) = serve(vec![json("200 OK", "", DEVBOX), slow]).await;
    let sandbox = client(&url).sandbox("a4dqobyha4dqobyh").await.expect("a box");
    let error = sandbox.write("a", "x").await.expect_err("too busy");
    assert_eq!((error.code(), requests.all().len()), (ErrorCode::RateLimited, 2));
}

#[tokio::test]
async fn a_port_of_tls_is_recognised() {
    // What OpenSSL and rustls answer to plain text: an alert.
    let (url, _) = serve(vec!["\u{15}\u{3}\u{3}\u{0}\u{2}\u{2}2".to_owned()]).await;
    let error =
        client(&url).create_key(&serde_json::from_str("{}").expect("a request")).await.expect_err("no HTTP");
    assert_eq!(error.hint().as_deref(), Some("write the address with https:// if the server has TLS"));
}

#[tokio::test]
async fn a_port_of_tls_is_recognised_in_calls_into_boxes_too() {
    let alert = "\u{15}\u{3}\u{3}\u{0}\u{2}\u{2}2".to_owned();
    let (url, _) = serve(vec![json("200 OK", "", DEVBOX), alert]).await;
    let sandbox = client(&url).sandbox("a4dqobyha4dqobyh").await.expect("a box");
    let error = sandbox.write("a", "x").await.expect_err("no HTTP");
    assert_eq!(error.hint().as_deref(), Some("write the address with https:// if the server has TLS"));
}

/// What a batch of one deletion did.
const REPORT: &str = r#"{"entries":1,"bytes":0,"atomic":true}"#;

fn deletion() -> Vec<Operation> {
    let path = BoxPath::parse(b"/workspace/a").expect("a path");
    vec![Operation::Delete { path, recursive: false, missing_ok: false }]
}

#[tokio::test]
async fn a_batch_whose_line_breaks_is_sent_again_under_its_key() {
    let script = vec![
        json("200 OK", "", DEVBOX),
        // The batch is done, and its answer is lost.
        String::new(),
        json("503 Service Unavailable", "retry-after: 0\r\n", &problem("unavailable")),
        json("409 Conflict", "", &problem("busy")),
        json("200 OK", "", REPORT),
    ];
    let (url, requests) = serve(script).await;
    let sandbox = client(&url).sandbox("a4dqobyha4dqobyh").await.expect("a box");
    let report = sandbox.apply(deletion()).await.expect("it is answered in the end");
    assert_eq!((report.entries, report.atomic), (1, true));
    let keys = requests.header("idempotency-key");
    assert_eq!(keys.len(), 4, "{:?}", requests.all());
    assert!(keys.iter().all(|key| *key == keys[0] && !key.is_empty()), "{keys:?}");
    assert_eq!(requests.header("devbox-attempt"), ["2", "3", "4"], "the first one is not a repeat");
    let all = requests.all();
    let bodies: Vec<_> = all[1..].iter().filter_map(|request| request.split("\r\n\r\n").nth(1)).collect();
    assert!(bodies.iter().all(|body| *body == bodies[0] && body.contains("/workspace/a")), "{bodies:?}");
}

#[tokio::test]
async fn another_batch_has_another_key_and_a_refused_one_is_not_repeated() {
    let refused = || json("404 Not Found", "", &problem("not_found"));
    let (url, requests) = serve(vec![json("200 OK", "", DEVBOX), refused(), refused()]).await;
    let sandbox = client(&url).sandbox("a4dqobyha4dqobyh").await.expect("a box");
    for _ in 0..2 {
        let error = sandbox.apply(deletion()).await.expect_err("nothing there");
        assert_eq!(error.code(), ErrorCode::NotFound);
    }
    let keys = requests.header("idempotency-key");
    assert_eq!((keys.len(), requests.all().len()), (2, 3));
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_change_without_a_key_is_not_sent_again_when_its_answer_is_lost() {
    let (url, requests) = serve(vec![json("200 OK", "", DEVBOX), String::new(), String::new()]).await;
    let sandbox = client(&url).sandbox("a4dqobyha4dqobyh").await.expect("a box");
    let error = sandbox.append("a", "x").await.expect_err("no answer");
    assert_eq!((error.code(), requests.all().len()), (ErrorCode::AgentUnreachable, 2));
}
