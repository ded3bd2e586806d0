//! Clients that hardly send or read: hundreds of them hold up nobody, and are let go.

use std::num::NonZeroU64;
use std::time::Duration;

use devbox_server::{Limits, Rate, ServerConfig, Timeouts};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::files::{begin_upload, send_chunk};
use crate::house::House;

const SLOW: usize = 100;
const LARGE: usize = 24 << 20;

fn impatient() -> ServerConfig {
    let pause = Duration::from_secs(2);
    let timeouts = Timeouts { head: pause, body_pause: pause, answer_pause: pause, ..Timeouts::default() };
    ServerConfig { timeouts, ..ServerConfig::default() }
}

async fn metrics(house: &House) -> String {
    house.call("GET", "/metrics", Value::Null).await.text()
}

/// A figure among the metrics; 0 if it is not there yet.
pub(crate) fn figure(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().expect("a number"))
}

/// Asks for a file and reads no more than the first bytes of the answer.
async fn begin_download(house: &House, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(house.address).await.expect("a connection");
    let head = format!("GET {target} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\n\r\n", house.key);
    stream.write_all(head.as_bytes()).await.expect("a head");
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.expect("an answer");
    assert_eq!(first, *b"HTTP/1.1 200");
    stream
}

/// slowloris, a slow POST, a slow read, and silence before the first byte (CVE-2007-6750 and its kin).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_hundreds_of_slow_connections() {
    let house = House::with(impatient()).await;
    let id = house.make().await;
    let target = |name: &str| format!("/v1/devboxes/{id}/files/{name}");
    assert_eq!(house.send(&house.key, "PUT", &target("large"), &[], vec![1; LARGE]).await.status, 201);

    let mut held = Vec::new();
    for number in 0..SLOW {
        held.push(TcpStream::connect(house.address).await.expect("a connection"));
        let mut stream = TcpStream::connect(house.address).await.expect("a connection");
        stream.write_all(b"GET /healthz HTTP/1.1\r\nx: ").await.expect("a part of a head");
        held.push(stream);
        let mut stream = begin_upload(&house, &target(&format!("slow-{number}"))).await;
        send_chunk(&mut stream, b"begun").await;
        held.push(stream);
        held.push(begin_download(&house, &target("large")).await);
        // In between, others are served as if there were nobody else.
        if number % 20 == 0 {
            let fast = house.send(&house.key, "PUT", &target("fast"), &[], vec![2; 100_000]).await;
            assert!(fast.status < 300, "{fast:?}");
            assert_eq!(house.call("GET", &target("fast"), Value::Null).await.body, vec![2; 100_000]);
        }
    }
    assert_eq!(house.call("GET", &target("large"), Value::Null).await.body.len(), LARGE);

    // All are let go, and nothing that they held is left; only the one that asks is open.
    let text = loop {
        let text = metrics(&house).await;
        if figure(&text, "devbox_open_connections ") == 1 && figure(&text, "devbox_open_requests ") == 1 {
            break text;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let slow = u64::try_from(SLOW).expect("a small number");
    assert_eq!(figure(&text, "devbox_stalls_total{of=\"request\"} "), slow);
    drop(held);
    let half = house.call("GET", &target("slow-0"), Value::Null).await;
    assert_eq!(half.code(), "not_found", "half an upload is no file");
}

/// One connection of HTTP/2 lives as long as its client says so: what stalls on it is let go of by itself.
#[tokio::test]
async fn an_answer_that_is_not_read_is_let_go_while_its_connection_lives() {
    let limits = Limits { max_transfers_per_key: 1, ..Limits::default() };
    let house = House::with(ServerConfig { limits, ..impatient() }).await;
    let id = house.make().await;
    let target = format!("/v1/devboxes/{id}/files/large");
    assert_eq!(house.send(&house.key, "PUT", &target, &[], vec![1; LARGE]).await.status, 201);

    let stream = TcpStream::connect(house.address).await.expect("a connection");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("http");
    tokio::spawn(connection);
    let request = |target: &str| {
        http::Request::get(format!("http://test{target}"))
            .header("authorization", format!("Bearer {}", house.key))
            .body(Empty::<bytes::Bytes>::new())
            .expect("a request")
    };
    let unread = sender.send_request(request(&target)).await.expect("an answer");
    assert_eq!(unread.status(), 200);
    // The place of the transfer is taken, and comes back although the connection lives.
    let mut refused = 0;
    loop {
        let other = sender.send_request(request(&target)).await.expect("an answer");
        match other.status().as_u16() {
            429 => refused += 1,
            status => break assert_eq!(status, 200),
        }
        drop(other);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(refused > 0);
    assert!(unread.into_body().collect().await.is_err(), "what is missing is not passed over in silence");
    assert_eq!(figure(&metrics(&house).await, "devbox_stalls_total{of=\"answer\"} "), 1);
}

#[tokio::test]
async fn an_idle_connection_of_http2_is_closed() {
    let timeouts = Timeouts { head: Duration::from_millis(200), ..Timeouts::default() };
    let house = House::with(ServerConfig { timeouts, ..ServerConfig::default() }).await;
    let stream = TcpStream::connect(house.address).await.expect("a connection");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("http");
    let ended = tokio::spawn(connection);
    let request = http::Request::get("http://test/healthz").body(Empty::<bytes::Bytes>::new());
    let answer = sender.send_request(request.expect("a request")).await.expect("an answer");
    assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "ok\n");
    ended.await.expect("no panic").expect("a clean end");
}

/// A key that is over its rate is slowed down by us: that is no fault of the client's, and cuts off nothing.
#[tokio::test]
async fn a_transfer_that_is_paced_is_not_called_slow() {
    let rate = Rate::per_second(NonZeroU64::new(200_000).expect("not zero"))
        .with_burst(NonZeroU64::new(1_000).expect("not zero"));
    let limits = Limits { bytes_per_key: Some(rate), ..Limits::default() };
    let pause = Duration::from_millis(500);
    let timeouts = Timeouts { body_pause: pause, answer_pause: pause, ..Timeouts::default() };
    let house = House::with(ServerConfig { limits, timeouts, ..ServerConfig::default() }).await;
    let id = house.make().await;
    let target = format!("/v1/devboxes/{id}/files/paced");
    let content = vec![3; 400_000];
    let began = std::time::Instant::now();
    assert_eq!(house.send(&house.key, "PUT", &target, &[], content.clone()).await.status, 201);
    assert!(house.call("GET", &target, Value::Null).await.body == content);
    // The last piece each way is paid for by whoever comes next, and a piece has 64 KiB at the least.
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(figure(&metrics(&house).await, "devbox_stalls_total{of=\"request\"} "), 0);
}
