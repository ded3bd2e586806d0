//! Stopping: nothing more begins, what has begun may end.

use std::time::Duration;

use devbox_server::{ServerConfig, Timeouts};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::files::{begin_upload, send_chunk};
use crate::house::House;

#[tokio::test]
async fn an_upload_under_way_is_finished_and_recorded() {
    let mut house = House::new().await;
    let id = house.make().await;
    let mut stream = begin_upload(&house, &format!("/v1/devboxes/{id}/files/late")).await;
    send_chunk(&mut stream, b"before").await;
    let idle = TcpStream::connect(house.address).await.expect("a connection");
    // The server has read the head when the metrics show two open requests: the upload, and the look at the metrics.
    while !house.call("GET", "/metrics", serde_json::Value::Null).await.text().contains("open_requests 2\n") {
    }

    house.tell_to_stop();
    while TcpStream::connect(house.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    send_chunk(&mut stream, b" and after").await;
    stream.write_all(b"0\r\n\r\n").await.expect("an end");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    drop(idle);

    let (backend, directory) =
        (std::sync::Arc::clone(&house.backend), std::sync::Arc::clone(&house.directory));
    house.stopped().await;
    let house = House::open(ServerConfig::default(), backend, directory).await;
    let records = house.audit().await;
    let record = records.last().expect("a record");
    assert_eq!((&record["operation"], &record["bytes"]), (&"file.write".into(), &16.into()));
    assert!(record.get("error").is_none(), "{record}");
}

#[tokio::test]
async fn what_does_not_end_within_the_grace_is_cut_off() {
    let timeouts = Timeouts { grace: Duration::from_millis(100), ..Timeouts::default() };
    let mut house = House::with(ServerConfig { timeouts, ..ServerConfig::default() }).await;
    let id = house.make().await;
    let mut stream = begin_upload(&house, &format!("/v1/devboxes/{id}/files/never")).await;
    send_chunk(&mut stream, b"begun").await;
    while !house.call("GET", "/metrics", serde_json::Value::Null).await.text().contains("open_requests 2\n") {
    }
    house.tell_to_stop();
    let (backend, directory) =
        (std::sync::Arc::clone(&house.backend), std::sync::Arc::clone(&house.directory));
    house.stopped().await;
    let house = House::open(ServerConfig::default(), backend, directory).await;
    let records = house.audit().await;
    assert_eq!(records.last().expect("a record")["error"], "interrupted");
}

#[tokio::test]
async fn idle_connections_do_not_hold_it_up() {
    let mut house = House::new().await;
    let silent = TcpStream::connect(house.address).await.expect("a connection");
    let mut idle = TcpStream::connect(house.address).await.expect("a connection");
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("a request");
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.expect("an answer");
    house.tell_to_stop();
    // The grace is 30 s; without idle connections in the way, this is a matter of milliseconds.
    tokio::time::timeout(Duration::from_secs(10), house.stopped()).await.expect("a quick stop");
    drop(silent);
}

#[tokio::test]
async fn a_client_that_is_too_slow_with_its_head_or_body_is_let_go() {
    let timeouts = Timeouts {
        head: Duration::from_millis(200),
        body_pause: Duration::from_millis(200),
        ..Timeouts::default()
    };
    let house = House::with(ServerConfig { timeouts, ..ServerConfig::default() }).await;
    let id = house.make().await;
    for beginning in ["", "G", "PRI * HT", "GET /healthz HTTP/1.1\r\nhost:"] {
        let mut stream = TcpStream::connect(house.address).await.expect("a connection");
        stream.write_all(beginning.as_bytes()).await.expect("a beginning");
        let mut answer = Vec::new();
        // Closed, whether or not with an answer.
        let _ = stream.read_to_end(&mut answer).await;
    }
    let mut stream = begin_upload(&house, &format!("/v1/devboxes/{id}/files/slow")).await;
    send_chunk(&mut stream, b"begun").await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(text.starts_with("HTTP/1.1 400") && text.contains("interrupted"), "{text}");
}
