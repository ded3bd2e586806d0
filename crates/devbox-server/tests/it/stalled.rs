//! Agents that stop in the middle of a call: it ends within a bound, says so, and gives back what it held.

use std::sync::Arc;
use std::time::Duration;

use devbox_backend::memory::MemoryBackend;
use devbox_server::{Limits, ServerConfig, Timeouts};
use devbox_types::devbox::Template;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::files::{begin_upload, send_chunk};
use crate::freezing::{Ice, agent};
use crate::house::House;

/// One transfer at a time, so that a place that is not given back shows at once.
async fn house(ice: &Ice) -> House {
    let timeouts = Timeouts { agent_answer: Duration::from_millis(200), ..Timeouts::default() };
    let limits = Limits { max_transfers_per_key: 1, ..Limits::default() };
    let template =
        Template { name: "host".to_owned(), runtimes: Vec::new(), workdir: "/workspace".to_owned() };
    let ice = ice.clone();
    let backend = Arc::new(MemoryBackend::new(vec![template], move |_| agent(&ice)));
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    House::open(ServerConfig { timeouts, limits, ..ServerConfig::default() }, backend, directory).await
}

/// What a transfer is answered now: it has a place, and finds nobody.
async fn assert_place_is_free(house: &House, id: &str) {
    let target = format!("/v1/devboxes/{id}/files/next");
    let next = house.send(&house.key, "PUT", &target, &[], b"x".to_vec()).await;
    assert_eq!((next.status, next.code().as_str()), (503, "agent_unreachable"), "{next:?}");
}

async fn read_all(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_write_into_a_stopped_agent_ends_and_gives_its_place_back() {
    let ice = Ice::default();
    let house = house(&ice).await;
    let id = house.make().await;
    let mut stream = begin_upload(&house, &format!("/v1/devboxes/{id}/files/x")).await;
    send_chunk(&mut stream, b"begun").await;
    // It has begun when the agent has its head, and a look at the box shows that it still answers.
    let look = house.call("GET", &format!("/v1/devboxes/{id}/entries/none"), Value::Null).await;
    assert_eq!(look.code(), "not_found");
    ice.freeze();
    // More than all buffers on the way take.
    let sending = async {
        let mut sent = Ok(());
        for _ in 0..256 {
            sent = stream.write_all(&[&b"10000\r\n"[..], &[7; 65_536], b"\r\n"].concat()).await;
            if sent.is_err() {
                break;
            }
        }
        sent
    };
    let _ = tokio::time::timeout(Duration::from_secs(20), sending).await;
    let answer = read_all(stream).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("agent_unreachable"), "{answer}");
    assert!(answer.contains("no sign of life"), "{answer}");
    assert_place_is_free(&house, &id).await;
    let metrics = house.call("GET", "/metrics", Value::Null).await.text();
    assert!(metrics.contains("devbox_stalls_total{of=\"agent\"}"), "{metrics}");
}

#[tokio::test]
async fn a_batch_for_a_stopped_agent_ends() {
    let ice = Ice::default();
    let house = house(&ice).await;
    let id = house.make().await;
    let look = house.call("GET", &format!("/v1/devboxes/{id}/entries/none"), Value::Null).await;
    assert_eq!(look.code(), "not_found");
    ice.freeze();
    let operations = json!({ "operations": [{ "op": "delete", "path": "/x" }] });
    let applied = house.call("POST", &format!("/v1/devboxes/{id}/entries"), operations).await;
    assert_eq!((applied.status, applied.code().as_str()), (503, "agent_unreachable"));
    assert_eq!(applied.json()["hint"], "stop and start the box if it stays so");
    assert_eq!(applied.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn an_answer_that_stops_in_the_middle_is_cut_off_and_gives_its_place_back() {
    let ice = Ice::default();
    let house = house(&ice).await;
    let id = house.make().await;
    let target = format!("/v1/devboxes/{id}/files/large");
    let length = 24 << 20;
    assert_eq!(house.send(&house.key, "PUT", &target, &[], vec![1; length]).await.status, 201);

    let mut stream = TcpStream::connect(house.address).await.expect("a connection");
    let head = format!("GET {target} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\n\r\n", house.key);
    stream.write_all(head.as_bytes()).await.expect("a head");
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.expect("an answer");
    assert_eq!(first, *b"HTTP/1.1 200");
    ice.freeze();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.len() < length, "it cannot be whole");
    assert_place_is_free(&house, &id).await;
    let records = house.audit().await;
    let read = records.iter().find(|record| record["operation"] == "file.read").expect("a record");
    assert!(read["error"].is_string(), "{read}");
}

/// A program may be silent for as long as it likes; an agent may not.
#[tokio::test]
async fn a_silent_program_is_waited_for_and_a_stopped_agent_is_not() {
    let ice = Ice::default();
    let house = house(&ice).await;
    let id = house.make().await;
    let body = r#"{"argv":["sleep"]}"#;
    let mut stream = TcpStream::connect(house.address).await.expect("a connection");
    let head = format!(
        "POST /v1/devboxes/{id}/processes HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\n\
         connection: close\r\ncontent-type: application/json\r\naccept: application/x-ndjson\r\ncontent-length: {}\r\n\r\n{body}",
        house.key,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("a request");
    let mut seen = vec![0; 12];
    stream.read_exact(&mut seen).await.expect("an answer");
    // Several times as long as the agent's silence is borne.
    let silence = tokio::time::timeout(Duration::from_secs(1), async {
        let mut more = [0; 1 << 10];
        while stream.read(&mut more).await.is_ok_and(|read| read > 0) {}
    });
    assert!(silence.await.is_err(), "the program was not waited for");
    ice.freeze();
    let rest = read_all(stream).await;
    assert!(rest.contains("agent_unreachable") && rest.contains("no sign of life"), "{rest}");
}

/// Whoever still answers the smallest question is at work.
#[tokio::test]
async fn an_agent_that_lives_is_not_given_up_while_its_client_pauses() {
    let house = house(&Ice::default()).await;
    let id = house.make().await;
    let mut stream = begin_upload(&house, &format!("/v1/devboxes/{id}/files/x")).await;
    send_chunk(&mut stream, b"before").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    send_chunk(&mut stream, b" and after").await;
    stream.write_all(b"0\r\n\r\n").await.expect("an end");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, *b"HTTP/1.1 201");
}
