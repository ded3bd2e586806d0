//! Both forms of running a program.

use axum::body::Body;
use bytes::Bytes;
use devbox_guest::Processes as _;
use devbox_guest::wire::frame::{Frame, FrameKind, FrameReader, FrameWriter};
use devbox_types::process::{ProcessEvent, ProcessInput, ProcessRequest, SignalRequest, StdinSource};
use devbox_types::{ErrorCode, Grant, ProcessId};
use futures_util::stream::{self, StreamExt as _};
use http::Request;
use tokio::sync::mpsc;

use crate::fake::FakeGuest;
use crate::serving::{Answer, ask, over_http1, over_http2};

fn program(argv: &[&str], stdin: StdinSource) -> ProcessRequest {
    let argv = argv.iter().map(|argument| (*argument).to_owned()).collect();
    ProcessRequest { argv, env: std::collections::BTreeMap::new(), cwd: None, stdin, timeout_ms: None }
}

async fn run_lined(json: &'static str) -> Answer {
    ask(FakeGuest::with(&[]), Request::post("/v1/processes").body(Body::from(json)).expect("a request")).await
}

#[tokio::test]
async fn the_readable_form_is_json_in_and_lines_out() {
    let answer = run_lined(r#"{"argv":["words"]}"#).await;
    assert_eq!((answer.status(), answer.header("content-type")), (200, "application/x-ndjson"));
    let text = String::from_utf8(answer.body).expect("text");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    assert_eq!(lines[0], serde_json::json!({"type": "started", "id": 1, "pid": 2}));
    assert_eq!(lines[1], serde_json::json!({"type": "stdout", "data": "out ü"}));
    assert_eq!(lines[2], serde_json::json!({"type": "stderr", "data_b64": "ZXJyIP8="}));
    assert_eq!((&lines[3]["type"], &lines[3]["code"]), (&"exited".into(), &3.into()));
    let answer = run_lined(r#"{"argv":["breaks"]}"#).await;
    let text = String::from_utf8(answer.body).expect("text");
    let last: serde_json::Value = serde_json::from_str(text.lines().last().expect("a line")).expect("json");
    assert_eq!((&last["type"], &last["problem"]["code"]), (&"error".into(), &"internal".into()));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_problems() {
    assert_eq!(run_lined(r#"{"argv":["nothing"]}"#).await.code(), "not_found");
    assert_eq!(run_lined(r#"{"argv":["cat"],"stdin":"frames"}"#).await.code(), "invalid_request");
    assert_eq!(run_lined(r#"{"argv":["cat"],"shell":true}"#).await.code(), "invalid_request");
    let framed = async |body: Vec<u8>| {
        let request = Request::post("/v1/processes").header("content-type", "application/vnd.devbox.frames");
        ask(FakeGuest::with(&[]), request.body(Body::from(body)).expect("a request")).await
    };
    assert_eq!(framed(Vec::new()).await.code(), "invalid_request");
    assert_eq!(framed(vec![0x02, 0, 0, 0, 0]).await.code(), "invalid_request");
    assert_eq!(framed(vec![0x01, 0, 0, 0, 9, b'{']).await.code(), "interrupted");
    assert_eq!(framed(vec![0x01, 0xff, 0, 0, 0]).await.code(), "invalid_request");
}

#[tokio::test]
async fn input_that_is_no_input_ends_the_process_with_a_problem() {
    let first = Frame::of_request(&program(&["cat"], StdinSource::Frames));
    let frames = [first, Frame::of_input(ProcessInput::Stdin(Bytes::from_static(b"hello")))];
    let good =
        FrameWriter::new(stream::iter(frames)).map(|chunk| Ok::<_, std::io::Error>(chunk.expect("a chunk")));
    let bad = stream::iter([Ok(Bytes::from_static(&[0x04, 0, 0, 0, 1, 200]))]);
    let request = Request::post("/v1/processes")
        .header("content-type", "application/vnd.devbox.frames")
        .body(Body::from_stream(good.chain(bad)))
        .expect("a request");
    let guest = FakeGuest::with(&[]);
    let answer = ask(guest.clone(), request).await;
    let body = devbox_guest::Body::from_bytes(answer.body);
    let frames: Vec<_> = FrameReader::new(body).map(|frame| frame.expect("a frame")).collect().await;
    let last = frames.last().expect("a frame").clone();
    assert_eq!(last.kind, FrameKind::Problem);
    assert_eq!(last.into_event().expect_err("a problem").code, ErrorCode::InvalidRequest);
    assert_eq!(*guest.runs_ended.lock().expect("a lock"), 1);
}

#[tokio::test]
async fn both_bodies_stream_at_once_over_both_versions() {
    for over in [over_http1, over_http2] {
        let guest = FakeGuest::with(&[]);
        let client = over(guest.clone());
        let (sender, receiver) = mpsc::channel(1);
        let next = async |mut receiver: mpsc::Receiver<_>| Some((receiver.recv().await?, receiver));
        let input = stream::unfold(receiver, next).boxed();
        let request = program(&["cat"], StdinSource::Frames);
        let mut events = client.run(&Grant::whole_box(), request, input).await.expect("it starts");
        assert!(matches!(events.next().await, Some(Ok(ProcessEvent::Started { id: ProcessId(1), pid: 2 }))));
        for size in [1, 5000, 300_000] {
            let sent = Bytes::from(vec![b'x'; size]);
            sender.send(ProcessInput::Stdin(sent.clone())).await.expect("input is taken");
            let mut echoed = 0;
            while echoed < size {
                let Some(Ok(ProcessEvent::Stdout(bytes))) = events.next().await else {
                    panic!("output comes")
                };
                echoed += bytes.len();
            }
            assert_eq!(echoed, size);
        }
        sender.send(ProcessInput::Signal(9)).await.expect("input is taken");
        let Some(Ok(ProcessEvent::Exited(status))) = events.next().await else { panic!("it ends") };
        assert_eq!(status.signal, Some(9));
        assert!(events.next().await.is_none());
    }
}

#[tokio::test]
async fn dropping_the_events_reaches_the_guest_over_both_versions() {
    for over in [over_http1, over_http2] {
        let guest = FakeGuest::with(&[]);
        let client = over(guest.clone());
        let request = program(&["cat"], StdinSource::Frames);
        let mut events =
            client.run(&Grant::whole_box(), request, stream::pending().boxed()).await.expect("it starts");
        events.next().await.expect("an event").expect("no problem");
        drop(events);
        while *guest.runs_ended.lock().expect("a lock") == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn large_output_is_whole_over_both_versions() {
    for over in [over_http1, over_http2] {
        let client = over(FakeGuest::with(&[]));
        let request = program(&["large", "20000000"], StdinSource::Null);
        let mut events =
            client.run(&Grant::whole_box(), request, stream::empty().boxed()).await.expect("it starts");
        let mut size = 0;
        while let Some(event) = events.next().await {
            if let ProcessEvent::Stdout(bytes) = event.expect("no problem") {
                size += bytes.len();
            }
        }
        assert_eq!(size, 20_000_000);
    }
}

#[tokio::test]
async fn processes_are_listed_and_signalled() {
    let guest = FakeGuest::with(&[]);
    let client = over_http1(guest.clone());
    let grant = Grant::whole_box();
    assert_eq!(client.processes(&grant).await.expect("a list")[0].argv, ["cat"]);
    let signal = SignalRequest { signal: 15, tree: true };
    client.signal(&grant, ProcessId(1), signal.clone()).await.expect("it is sent");
    assert_eq!(guest.seen().signals, [(ProcessId(1), signal.clone())]);
    let unknown = client.signal(&grant, ProcessId(7), signal).await.expect_err("there is none");
    assert_eq!(unknown.code, ErrorCode::ProcessNotFound);
}
