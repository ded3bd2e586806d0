//! Peers that do not keep to HTTP, or to the contract. A box may run one in place of its agent.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use devbox_guest::contract::EventStream;
use devbox_guest::{
    Body, Connection, Files as _, Guest as _, GuestClient, Processes as _, Protocol, Transport,
};
use devbox_types::file::{ReadRequest, WriteRequest};
use devbox_types::process::{ProcessRequest, StdinSource};
use devbox_types::{BoxPath, Entry, ErrorCode, Grant, ListRequest, Problem};
use futures_util::stream::{self, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Answers each connection's first request with the next of these byte strings, and closes it.
struct Liar(Mutex<VecDeque<Vec<u8>>>);

#[async_trait]
impl Transport for Liar {
    async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        let Some(answer) = self.0.lock().expect("a lock").pop_front() else {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
        };
        let (near, mut far) = tokio::io::duplex(1 << 20);
        tokio::spawn(async move {
            let mut request = [0; 4096];
            let _ = far.read(&mut request).await;
            let _ = far.write_all(&answer).await;
            // What remains of the request is of no interest, but the answer has to be read before the end shows.
            let _ = far.shutdown().await;
            while far.read(&mut request).await.is_ok_and(|read| read > 0) {}
        });
        Ok(Box::new(near))
    }

    fn protocol(&self) -> Protocol {
        Protocol::Http1Pool
    }
}

fn client_of(answers: &[&[u8]]) -> GuestClient {
    let answers = answers.iter().map(|answer| answer.to_vec()).collect();
    GuestClient::to_agent(Arc::new(Liar(Mutex::new(answers))))
}

fn file() -> BoxPath {
    BoxPath::parse(b"/file").expect("a path")
}

async fn read(answer: &[u8]) -> Result<Vec<u8>, Problem> {
    let content = client_of(&[answer]).read(&Grant::whole_box(), ReadRequest::whole(file())).await?;
    Ok(content.body.collect(1 << 20).await?.to_vec())
}

async fn greet(answer: &[u8]) -> ErrorCode {
    client_of(&[answer]).greet().await.expect_err("a lie").code
}

const ENTRY: &str = r#"{"path":"/file","kind":"file","size_bytes":10,"mode":420,"uid":0,"gid":0,"modified":"2001-09-09T01:46:40Z","changed":"2001-09-09T01:46:40Z","links":1}"#;

#[tokio::test]
async fn what_is_not_http_is_a_bad_answer() {
    assert_eq!(greet(b"SSH-2.0-OpenSSH_9.6\r\n").await, ErrorCode::BadAgentAnswer);
    assert_eq!(greet(b"HTTP/1.1 9999 x\r\n\r\n").await, ErrorCode::BadAgentAnswer);
    let endless = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'y'; 900_000]].concat();
    assert_eq!(greet(&endless).await, ErrorCode::BadAgentAnswer);
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1000));
    assert_eq!(greet(many.as_bytes()).await, ErrorCode::BadAgentAnswer);
}

#[tokio::test]
async fn a_peer_that_goes_away_is_unreachable() {
    assert_eq!(greet(b"").await, ErrorCode::AgentUnreachable);
    assert_eq!(greet(b"HTTP/1.1 200 OK\r\ncontent-type: app").await, ErrorCode::AgentUnreachable);
    assert_eq!(client_of(&[]).greet().await.expect_err("nobody").code, ErrorCode::AgentUnreachable);
}

#[tokio::test]
async fn answers_outside_the_contract_are_bad_answers() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n<garbage>",
        "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 500 Oops\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\noops",
        "HTTP/1.1 404 x\r\ncontent-type: application/problem+json\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        assert_eq!(greet(answer.as_bytes()).await, ErrorCode::BadAgentAnswer, "{answer}");
    }
    let head = "HTTP/1.1 500 x\r\ncontent-type: application/problem+json\r\ncontent-length: 100000\r\n\r\n";
    let large = [head.as_bytes(), &[b' '; 100_000]].concat();
    assert_eq!(greet(&large).await, ErrorCode::BadAgentAnswer, "an endless problem is not read");
}

#[tokio::test]
async fn an_agent_does_not_speak_for_the_server() {
    for code in ["unauthorized", "devbox_not_found", "rate_limited"] {
        let problem = format!(r#"{{"code":"{code}"}}"#);
        let answer = format!(
            "HTTP/1.1 401 x\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{problem}",
            problem.len()
        );
        assert_eq!(greet(answer.as_bytes()).await, ErrorCode::BadAgentAnswer, "{code}");
        let lines = format!("HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n\r\n{problem}\n");
        assert_eq!(walk(&lines, b"/").await.expect_err("a lie").code, ErrorCode::BadAgentAnswer);
        let length = u8::try_from(problem.len()).expect("a short problem");
        let events: Vec<_> =
            run(&[&[0x1f, 0, 0, 0, length], problem.as_bytes()].concat()).await.collect().await;
        let last = events.last().expect("an item").as_ref().expect_err("a lie");
        assert_eq!(last.code, ErrorCode::BadAgentAnswer, "{code}");
    }
}

#[tokio::test]
async fn a_quota_of_the_box_is_the_agents_to_report() {
    let problem = r#"{"code":"quota_exceeded"}"#;
    let answer = format!(
        "HTTP/1.1 507 x\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{problem}",
        problem.len()
    );
    assert_eq!(greet(answer.as_bytes()).await, ErrorCode::QuotaExceeded);
}

async fn walk(answer: &str, top: &[u8]) -> Result<Vec<Entry>, Problem> {
    let top = BoxPath::parse(top).expect("a path");
    let walk = client_of(&[answer.as_bytes()]).walk(&Grant::whole_box(), ListRequest::of(top)).await?;
    walk.collect::<Vec<_>>().await.into_iter().collect()
}

/// Whoever copies a directory writes where the paths of its listing say.
#[tokio::test]
async fn attack_a_listing_leads_elsewhere() {
    let lines = format!("HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n\r\n{ENTRY}\n");
    let page = format!(r#"{{"entries":[{ENTRY}]}}"#);
    let length = page.len();
    let page = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{page}"
    );
    assert_eq!(walk(&lines, b"/").await.expect("it lies below").len(), 1);
    for top in [&b"/other"[..], b"/fil", b"/file"] {
        assert_eq!(walk(&lines, top).await.expect_err("a lie").code, ErrorCode::BadAgentAnswer);
        let request = ListRequest::of(BoxPath::parse(top).expect("a path"));
        let list = client_of(&[page.as_bytes()]).list(&Grant::whole_box(), request).await;
        assert_eq!(list.expect_err("a lie").code, ErrorCode::BadAgentAnswer);
    }
}

fn content(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\n\r\n{body}").into_bytes()
}

#[tokio::test]
async fn contents_are_of_the_announced_length_or_an_error() {
    let with = |status: &str, more: &str| format!("{status} OK\r\ndevbox-entry: {ENTRY}{more}");
    let whole = content(&with("200", "\r\ncontent-length: 10"), "0123456789");
    assert_eq!(read(&whole).await.expect("content"), b"0123456789");
    for (answer, code) in [
        (content(&with("200", "\r\ncontent-length: 10"), "0123"), ErrorCode::AgentUnreachable),
        (content(&with("200", "\r\ncontent-length: 4"), "0123"), ErrorCode::BadAgentAnswer),
        (
            content(&with("200", "\r\ntransfer-encoding: chunked"), "4\r\n0123\r\n0\r\n\r\n"),
            ErrorCode::BadAgentAnswer,
        ),
        (content("200 OK\r\ncontent-length: 10", "0123456789"), ErrorCode::BadAgentAnswer),
        (
            content("200 OK\r\ndevbox-entry: {}\r\ncontent-length: 10", "0123456789"),
            ErrorCode::BadAgentAnswer,
        ),
        (content(&with("206", "\r\ncontent-length: 4"), "0123"), ErrorCode::BadAgentAnswer),
        (
            content(&with("206", "\r\ncontent-range: bytes 2-9/10\r\ncontent-length: 4"), "0123"),
            ErrorCode::BadAgentAnswer,
        ),
        (
            content(&with("206", "\r\ncontent-range: bytes 8-11/12\r\ncontent-length: 4"), "0123"),
            ErrorCode::BadAgentAnswer,
        ),
    ] {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(read(&answer).await.expect_err("a lie").code, code, "{shown}");
    }
}

#[tokio::test]
async fn a_long_content_that_ends_early_is_an_error_as_its_last_item() {
    let entry = ENTRY.replace("\"size_bytes\":10", "\"size_bytes\":100000");
    let head = format!("200 OK\r\ndevbox-entry: {entry}\r\ncontent-length: 100000");
    let answer = content(&head, &"x".repeat(70_000));
    assert_eq!(read(&answer).await.expect_err("it is short").code, ErrorCode::Interrupted);
}

#[tokio::test]
async fn lines_that_do_not_end_are_refused() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n\r\n";
    for body in ["x".repeat(400_000), "{\"path\":".to_owned(), "nonsense\n".to_owned()] {
        let client = client_of(&[format!("{head}{body}").as_bytes()]);
        let mut walk = client.walk(&Grant::whole_box(), ListRequest::of(file())).await.expect("a walk");
        let problem = walk.next().await.expect("an item").expect_err("a problem");
        assert_eq!(problem.code, ErrorCode::BadAgentAnswer);
        assert!(walk.next().await.is_none(), "an error is the last item");
    }
}

async fn run(frames: &[u8]) -> EventStream {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.devbox.frames\r\n\r\n";
    let client = client_of(&[&[&head[..], frames].concat()]);
    let request = ProcessRequest {
        argv: vec!["x".to_owned()],
        env: std::collections::BTreeMap::new(),
        cwd: None,
        stdin: StdinSource::Null,
        timeout_ms: None,
    };
    client.run(&Grant::whole_box(), request, stream::empty().boxed()).await.expect("a stream")
}

#[tokio::test]
async fn events_out_of_order_are_refused() {
    let started = [&[0x11, 0, 0, 0, 16][..], br#"{"id":1,"pid":22}"#].concat();
    let started = {
        let mut frame = started;
        frame[4] = 17;
        frame
    };
    for frames in [
        [&[0x12, 0, 0, 0, 1, b'x'][..], &[]].concat(),
        [&started[..], &started].concat(),
        [&started[..], &[0x02, 0, 0, 0, 0]].concat(),
        [&started[..], &[0x14, 0, 0, 0, 2, b'{', b'}']].concat(),
        [&started[..], &[0x12, 0xff, 0, 0, 0]].concat(),
        started.clone(),
    ] {
        let events: Vec<_> = run(&frames).await.collect().await;
        let last = events.last().expect("an item").as_ref().expect_err("a problem");
        assert_eq!(last.code, ErrorCode::BadAgentAnswer, "{frames:?}");
    }
}

#[tokio::test]
async fn a_request_that_fits_into_no_frame_is_too_large() {
    let request = ProcessRequest {
        argv: vec!["x".repeat(1 << 20)],
        env: std::collections::BTreeMap::new(),
        cwd: None,
        stdin: StdinSource::Null,
        timeout_ms: None,
    };
    let refused = client_of(&[]).run(&Grant::whole_box(), request, stream::empty().boxed()).await;
    assert_eq!(refused.err().expect("a problem").code, ErrorCode::TooLarge);
}

#[tokio::test]
async fn only_what_is_safe_is_sent_again() {
    let good = b"HTTP/1.1 404 x\r\ncontent-type: application/problem+json\r\ncontent-length: 20\r\n\r\n{\"code\":\"not_found\"}";
    // The first connection answers once and closes; the next call finds it closed, and has sent nothing.
    let client = client_of(&[good, good]);
    for _ in 0..2 {
        let read = client.read(&Grant::whole_box(), ReadRequest::whole(file())).await.map(|_| ());
        assert_eq!(read.expect_err("it says so").code, ErrorCode::NotFound);
    }
    // A fresh connection that breaks is not tried again: the write may have taken effect.
    let client = client_of(&[b"", good]);
    let written = client.write(&Grant::whole_box(), WriteRequest::to(file()), Body::from_bytes("x")).await;
    assert_eq!(written.expect_err("it broke").code, ErrorCode::AgentUnreachable);
}
