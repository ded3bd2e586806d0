//! The inside of a box through the guards.

use devbox_guest::{Body, ContentCoding};
use devbox_server::{Limits, ServerConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::house::House;

#[tokio::test]
async fn a_file_goes_in_and_comes_out() {
    let house = House::new().await;
    let id = house.make().await;
    let target = format!("/v1/devboxes/{id}/files/workspace/a%20b");
    let bytes: Vec<u8> = (0..300_000_u32).map(|number| u8::try_from(number % 251).unwrap_or(0)).collect();
    let written = house.send(&house.key, "PUT", &target, &[], bytes.clone()).await;
    assert_eq!(written.status, 201, "{written:?}");
    assert_eq!(written.json()["entry"]["path"], "/workspace/a b");
    let read = house.call("GET", &target, Value::Null).await;
    assert_eq!(read.status, 200);
    assert_eq!(read.body, bytes);
    let part = house.send(&house.key, "GET", &target, &[("range", "bytes=1-3")], Vec::new()).await;
    assert_eq!((part.status, &part.body[..]), (206, &bytes[1..4]));
    let beyond = house.send(&house.key, "GET", &target, &[("range", "bytes=300000-")], Vec::new()).await;
    assert_eq!((beyond.status, beyond.code().as_str()), (416, "range_not_satisfiable"));
    assert_eq!(beyond.header("content-range"), Some("bytes */300000"));
    assert_eq!(house.call("DELETE", &target, Value::Null).await.status, 204);
    let gone = house.call("GET", &target, Value::Null).await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "not_found"));
}

#[tokio::test]
async fn a_program_runs_and_its_output_comes_back() {
    let house = House::new().await;
    let id = house.make().await;
    let request = json!({ "argv": ["cat"], "stdin": { "text": "hello" } });
    let answer = house.call("POST", &format!("/v1/devboxes/{id}/processes"), request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let events: Vec<Value> =
        answer.text().lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    assert_eq!(events[0]["type"], "started");
    assert_eq!((&events[1]["type"], &events[1]["data"]), (&json!("stdout"), &json!("hello")));
    assert_eq!((&events[2]["type"], &events[2]["code"]), (&json!("exited"), &json!(0)));
}

#[tokio::test]
async fn a_stopped_or_dead_box_says_how_to_start_it() {
    let house = House::new().await;
    let id = house.make().await;
    let target = format!("/v1/devboxes/{id}/files/x");
    assert_eq!(house.send(&house.key, "PUT", &target, &[], b"x".to_vec()).await.status, 201);

    house.backend.kill_agent(&id.parse().expect("an id"));
    for method in ["GET", "PUT", "DELETE"] {
        let dead = house.call(method, &target, Value::Null).await;
        assert_eq!((dead.status, dead.code().as_str()), (409, "not_running"), "{method}");
        assert_eq!(dead.json()["hint"], format!("start it with `devbox start {id}`"), "{method}");
    }
    let started = house.call("POST", &format!("/v1/devboxes/{id}/start"), Value::Null).await;
    assert_eq!(started.status, 200);
    assert_eq!(house.call("GET", &target, Value::Null).await.body, b"x");

    let audited = house.audit().await.iter().filter(|record| record["error"] == "not_running").count();
    assert_eq!(audited, 3);

    assert_eq!(house.call("POST", &format!("/v1/devboxes/{id}/stop"), Value::Null).await.status, 200);
    let stopped = house.call("GET", &target, Value::Null).await;
    assert_eq!((stopped.status, stopped.code().as_str()), (409, "not_running"));
}

fn small() -> ServerConfig {
    let limits = Limits { max_transfer_bytes: 100_000, max_transfers_per_key: 1, ..Limits::default() };
    ServerConfig { limits, ..ServerConfig::default() }
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_and_without_a_length() {
    let house = House::with(small()).await;
    let id = house.make().await;
    let target = format!("/v1/devboxes/{id}/files/x");
    assert_eq!(house.send(&house.key, "PUT", &target, &[], vec![0; 100_000]).await.status, 201);
    let announced = house.send(&house.key, "PUT", &target, &[], vec![1; 100_001]).await;
    assert_eq!((announced.status, announced.code().as_str()), (413, "too_large"));

    let mut stream = begin_upload(&house, &target).await;
    for _ in 0..2 {
        send_chunk(&mut stream, &[2; 60_000]).await;
    }
    stream.write_all(b"0\r\n\r\n").await.expect("an end");
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 413");
    assert_eq!(house.call("GET", &target, Value::Null).await.body, vec![0; 100_000]);

    let form = b"--b\r\nContent-Disposition: form-data; name=\"/a\"; filename=\"a\"\r\n\r\n".iter().copied();
    let next =
        b"\r\n--b\r\nContent-Disposition: form-data; name=\"/b\"; filename=\"b\"\r\n\r\n".iter().copied();
    let body = form.chain([0; 60_000]).chain(next).chain([0; 60_000]).chain(b"\r\n--b--\r\n".iter().copied());
    let headers = [("content-type", "multipart/form-data; boundary=b")];
    let batch = format!("/v1/devboxes/{id}/files");
    let refused = house.send(&house.key, "POST", &batch, &headers, body.collect()).await;
    assert_eq!((refused.status, refused.code().as_str()), (413, "too_large"));
    let part = house.call("GET", &format!("/v1/devboxes/{id}/files/a"), Value::Null).await;
    assert_eq!(part.code(), "not_found");
}

#[tokio::test]
async fn limits_count_what_a_compressed_content_becomes() {
    let house = House::with(small()).await;
    let id = house.make().await;
    let target = format!("/v1/devboxes/{id}/files/x");
    for coding in ContentCoding::ALL {
        let coded = async |length: usize| {
            let content = Body::from_bytes(vec![7; length]);
            coding.encode(content).collect(1 << 20).await.expect("it is encoded").to_vec()
        };
        let headers = [("content-encoding", coding.as_str())];
        let fits = house.send(&house.key, "PUT", &target, &headers, coded(100_000).await).await;
        assert!(matches!(fits.status, 200 | 201), "{fits:?}");
        // A hundred MiB in some hundred KiB, and not announced.
        let bomb = coded(100 << 20).await;
        assert!(bomb.len() < 1 << 20);
        let refused = house.send(&house.key, "PUT", &target, &headers, bomb).await;
        assert_eq!((refused.status, refused.code().as_str()), (413, "too_large"), "{coding:?}");
        assert_eq!(house.call("GET", &target, Value::Null).await.body, vec![7; 100_000]);
    }
    let records = house.audit().await;
    let bytes = |record: &Value| record["bytes"].as_u64().unwrap_or(0);
    assert!(records.iter().map(bytes).all(|bytes| bytes < 1 << 20), "a bomb stops at the limit");
}

#[tokio::test]
async fn a_key_has_only_so_many_transfers_at_once() {
    let house = House::with(small()).await;
    let id = house.make().await;
    let mut stream = begin_upload(&house, &format!("/v1/devboxes/{id}/files/slow")).await;
    send_chunk(&mut stream, b"begun").await;
    let target = format!("/v1/devboxes/{id}/files/fast");
    let refused = loop {
        // The upload counts from when the server has read its head.
        let answer = house.send(&house.key, "PUT", &target, &[], b"x".to_vec()).await;
        if answer.status != 201 && answer.status != 200 {
            break answer;
        }
    };
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    let other = house.make_key("default", "member").await;
    let beside = house.send(&other, "PUT", &target, &[], b"x".to_vec()).await;
    assert!(beside.status < 300, "{beside:?}");
    stream.write_all(b"0\r\n\r\n").await.expect("an end");
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 201");
    assert_eq!(house.send(&house.key, "PUT", &target, &[], b"x".to_vec()).await.status, 200);
}

#[tokio::test]
async fn a_refused_upload_still_reads_its_answer() {
    let house = House::new().await;
    let target = "/v1/devboxes/no-such-box/files/x";
    let answer = house.send(&house.key, "PUT", target, &[], vec![0; 8 << 20]).await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "devbox_not_found"));
}

#[tokio::test]
async fn a_panic_is_an_answer_that_tells_nothing() {
    let house = House::new().await;
    let id = house.make().await;
    let request = json!({ "argv": ["panic"] });
    let answer = house.call("POST", &format!("/v1/devboxes/{id}/processes"), request).await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
    let detail = answer.json()["detail"].clone();
    assert_eq!(detail, "the server failed; its log tells why, under the id of this request");
    assert_eq!(house.audit().await.last().expect("a record")["error"], "interrupted");
    assert_eq!(house.call("GET", "/v1/devboxes", Value::Null).await.status, 200);
}

#[tokio::test]
async fn a_grant_from_outside_means_nothing() {
    let house = House::new().await;
    let id = house.make().await;
    let target = format!("/v1/devboxes/{id}/files/x");
    let headers = [("devbox-grant", "{\"rights\":[]}")];
    assert_eq!(house.send(&house.key, "PUT", &target, &headers, b"x".to_vec()).await.status, 201);
}

/// Sends the head of a chunked upload on a connection of its own.
pub(crate) async fn begin_upload(house: &House, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(house.address).await.expect("a connection");
    let head = format!(
        "PUT {target} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n",
        house.key
    );
    stream.write_all(head.as_bytes()).await.expect("a head");
    stream
}

pub(crate) async fn send_chunk(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await.expect("a length");
    stream.write_all(bytes).await.expect("bytes");
    stream.write_all(b"\r\n").await.expect("an end of chunk");
}

/// Each open request holds a place in the audit: one key's runs must not take them all.
#[tokio::test]
async fn a_key_has_only_so_many_requests_open_at_once() {
    let limits = Limits { max_requests_per_key: 1, ..Limits::default() };
    let house = House::with(ServerConfig { limits, ..ServerConfig::default() }).await;
    let id = house.make().await;
    let body = r#"{"argv":["sleep"]}"#;
    let mut stream = TcpStream::connect(house.address).await.expect("a connection");
    let head = format!(
        "POST /v1/devboxes/{id}/processes HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\naccept: application/x-ndjson\r\ncontent-length: {}\r\n\r\n{body}",
        house.key,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("a request");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, *b"HTTP/1.1 200");
    let target = format!("/v1/devboxes/{id}/entries/");
    let refused = house.call("GET", &target, Value::Null).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    let other = house.make_key("default", "member").await;
    assert_ne!(house.call_as(&other, "GET", &target, Value::Null).await.status, 429);
    drop(stream);
    while house.call("GET", &target, Value::Null).await.status == 429 {}
}

/// The connections of a killed agent break before the backend has seen its end.
#[tokio::test]
async fn a_death_that_is_not_seen_yet_is_waited_for() {
    let house = House::new().await;
    let id = house.make().await;
    let target = format!("/v1/devboxes/{id}/files/x");
    assert_eq!(house.send(&house.key, "PUT", &target, &[], b"x".to_vec()).await.status, 201);
    let box_id = id.parse().expect("an id");
    house.backend.lose_agent(&box_id);
    let unseen = house.call("GET", &target, Value::Null).await;
    assert_eq!(unseen.code(), "agent_unreachable", "if it never shows, the call ends all the same");
    let (dead, ()) = tokio::join!(house.call("GET", &target, Value::Null), async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        house.backend.kill_agent(&box_id);
    });
    assert_eq!((dead.status, dead.code().as_str()), (409, "not_running"));
}
