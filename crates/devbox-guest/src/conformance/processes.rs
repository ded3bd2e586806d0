//! Running programs.

use std::time::{Duration, Instant};

use bytes::Bytes;
use devbox_types::agent::PROTOCOL;
use devbox_types::file::{ReadRequest, WriteRequest};
use devbox_types::process::{ProcessEvent, ProcessInput, ProcessRequest, SignalRequest, StdinSource};
use devbox_types::{EntryKind, ErrorCode, ProcessId};
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc;

use super::ground::{Ground, fails_with, outcome, program, shell};
use crate::body::Body;
use crate::contract::{EventStream, InputStream};

const SIGTERM: u8 = 15;

/// Input that is sent piece by piece.
fn input() -> (mpsc::Sender<ProcessInput<Bytes>>, InputStream) {
    let (sender, receiver) = mpsc::channel(4);
    let next = async |mut receiver: mpsc::Receiver<_>| Some((receiver.recv().await?, receiver));
    (sender, stream::unfold(receiver, next).boxed())
}

async fn started(events: &mut EventStream) -> ProcessId {
    match events.next().await.expect("an event").expect("no problem") {
        ProcessEvent::Started { id, .. } => id,
        other => panic!("the first event is `Started`, not {other:?}"),
    }
}

/// Reads standard output until it has said this.
async fn says(events: &mut EventStream, expected: &[u8]) {
    let mut said = Vec::new();
    while said.len() < expected.len() {
        match events.next().await.expect("an event").expect("no problem") {
            ProcessEvent::Stdout(bytes) => said.extend_from_slice(&bytes),
            // A shell may have its own words about signals.
            ProcessEvent::Stderr(_) => {}
            other => panic!("output comes, not {other:?}"),
        }
    }
    assert_eq!(said, expected);
}

pub(super) async fn the_guest_introduces_itself(ground: Ground) {
    let greeting = ground.guest.greet().await.expect("a greeting");
    assert!((greeting.protocol.min..=greeting.protocol.max).contains(&PROTOCOL), "{greeting:?}");
    assert!(greeting.features.is_sorted());
}

pub(super) async fn output_comes_apart(ground: Ground) {
    let outcome = ground.shell("echo to stdout; echo to stderr >&2; printf 'no line end'").await;
    assert_eq!(outcome.stdout, b"to stdout\nno line end");
    assert_eq!(outcome.stderr, b"to stderr\n");
    assert!(outcome.status.is_success(), "{:?}", outcome.status);
}

pub(super) async fn exit_codes_and_signals_are_told(ground: Ground) {
    let status = ground.shell("exit 7").await.status;
    assert_eq!((status.code, status.signal, status.timed_out), (Some(7), None, false));
    let status = ground.shell("kill -9 $$").await.status;
    assert_eq!((status.code, status.signal), (None, Some(9)));
}

pub(super) async fn arguments_and_environment_arrive_exactly(ground: Ground) {
    let mut request = shell("printf '%s|' \"$@\" \"$HARD\"");
    request.argv.extend(["name", "a b", "*", "", "$HOME", "ümläut\n"].map(str::to_owned));
    request.env.insert("HARD".to_owned(), "x=y z\"'".to_owned());
    let outcome = ground.run(request).await;
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), "a b|*||$HOME|ümläut\n|x=y z\"'|");
    let outcome = ground.shell("test -n \"$PATH\" && test -n \"$HOME\"").await;
    assert!(outcome.status.is_success(), "PATH and HOME are set");
}

pub(super) async fn the_working_directory_is_set(ground: Ground) {
    ground.write("marker", "here").await;
    let request = ProcessRequest { cwd: Some(ground.folder.clone()), ..shell("cat marker") };
    assert_eq!(ground.run(request.clone()).await.stdout, b"here");
    for (name, code) in [("missing", ErrorCode::NotFound), ("marker", ErrorCode::NotADirectory)] {
        let request = ProcessRequest { cwd: Some(ground.path(name)), ..request.clone() };
        fails_with(ground.start(request, stream::empty().boxed()).await.map(|_| ()), code);
    }
}

pub(super) async fn text_is_standard_input(ground: Ground) {
    let request = ProcessRequest { stdin: StdinSource::Text("some text".to_owned()), ..program(&["cat"]) };
    assert_eq!(ground.run(request).await.stdout, b"some text");
    // Longer than what a request may be, and longer still where it is escaped.
    let long = "\u{1}x".repeat(1 << 20);
    let request = ProcessRequest { stdin: StdinSource::Text(long.clone()), ..program(&["cat"]) };
    assert!(ground.run(request).await.stdout == long.as_bytes(), "all of a long text arrives");
    assert_eq!(ground.run(program(&["cat"])).await.stdout, b"", "without input there is its end at once");
}

pub(super) async fn input_and_output_stream_at_once(ground: Ground) {
    let (sender, stream) = input();
    let request = ProcessRequest { stdin: StdinSource::Frames, ..program(&["cat"]) };
    let mut events = ground.start(request, stream).await.expect("the program starts");
    started(&mut events).await;
    for line in ["first\n", "second\n", "third\n"] {
        sender.send(ProcessInput::Stdin(Bytes::from_static(line.as_bytes()))).await.expect("input is taken");
        says(&mut events, line.as_bytes()).await;
    }
    sender.send(ProcessInput::EndOfStdin).await.expect("input is taken");
    match events.next().await.expect("an event").expect("no problem") {
        ProcessEvent::Exited(status) => assert!(status.is_success()),
        other => panic!("the end of input ends the program, not {other:?}"),
    }
    assert!(events.next().await.is_none());
}

pub(super) async fn signals_are_delivered(ground: Ground) {
    let (sender, stream) = input();
    let script = "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let mut events = ground.start(shell(script), stream).await.expect("the program starts");
    started(&mut events).await;
    says(&mut events, b"ready\n").await;
    sender.send(ProcessInput::Signal(SIGTERM)).await.expect("input is taken");
    says(&mut events, b"caught\n").await;
    let mut events =
        ground.start(shell(script), stream::pending().boxed()).await.expect("the program starts");
    let id = started(&mut events).await;
    says(&mut events, b"ready\n").await;
    let signal = SignalRequest { signal: SIGTERM, tree: false };
    ground.guest.signal(&ground.grant, id, signal.clone()).await.expect("the signal is sent");
    says(&mut events, b"caught\n").await;
    let unknown = ground.guest.signal(&ground.grant, ProcessId(u64::MAX), signal).await;
    fails_with(unknown, ErrorCode::ProcessNotFound);
}

pub(super) async fn time_runs_out(ground: Ground) {
    let request = ProcessRequest { timeout_ms: Some(200), ..shell("echo begun; sleep 30 & sleep 30") };
    let begun = Instant::now();
    let outcome = ground.run(request).await;
    assert!(outcome.status.timed_out, "{:?}", outcome.status);
    assert_eq!(outcome.stdout, b"begun\n");
    assert!(begun.elapsed() < Duration::from_secs(10), "the whole tree is killed");
}

pub(super) async fn dropping_the_stream_kills(ground: Ground) {
    let script = "echo ready; sleep 30; echo done > finished";
    let request = ProcessRequest { cwd: Some(ground.folder.clone()), ..shell(script) };
    let mut events = ground.start(request, stream::pending().boxed()).await.expect("the program starts");
    let id = started(&mut events).await;
    says(&mut events, b"ready\n").await;
    drop(events);
    let begun = Instant::now();
    loop {
        let running = ground.guest.processes(&ground.grant).await.expect("a list");
        if running.iter().all(|process| process.id != id) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the process is killed soon");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ground.holds(&[]).await;
}

pub(super) async fn large_output_is_whole(ground: Ground) {
    let size = 8 << 20;
    let events =
        ground.start(shell("head -c 8388608 /dev/zero; echo end >&2"), stream::empty().boxed()).await;
    let outcome = outcome(events.expect("the program starts")).await;
    assert_eq!(outcome.stdout.len(), size);
    assert!(outcome.stdout.iter().all(|byte| *byte == 0));
    assert_eq!(outcome.stderr, b"end\n");
}

pub(super) async fn what_runs_is_listed(ground: Ground) {
    let request = program(&["sleep", "30"]);
    let mut events = ground.start(request, stream::pending().boxed()).await.expect("the program starts");
    let id = started(&mut events).await;
    let running = ground.guest.processes(&ground.grant).await.expect("a list");
    let found = running.iter().find(|process| process.id == id).expect("it is listed");
    assert_eq!(found.argv, ["sleep", "30"]);
    let kill = SignalRequest { signal: 9, tree: true };
    ground.guest.signal(&ground.grant, id, kill).await.expect("the signal is sent");
    match events.next().await.expect("an event").expect("no problem") {
        ProcessEvent::Exited(status) => assert_eq!(status.signal, Some(9)),
        other => panic!("it is killed, not {other:?}"),
    }
}

pub(super) async fn what_cannot_run_is_refused(ground: Ground) {
    let start = async |argv: &[&str]| ground.start(program(argv), stream::empty().boxed()).await.map(|_| ());
    fails_with(start(&["no-such-program-anywhere"]).await, ErrorCode::NotFound);
    fails_with(start(&["/no/such/program"]).await, ErrorCode::NotFound);
    fails_with(start(&[]).await, ErrorCode::InvalidRequest);
    fails_with(start(&["a\0b"]).await, ErrorCode::InvalidRequest);
    ground.write("plain", "no program").await;
    let plain = ProcessRequest { cwd: Some(ground.folder.clone()), ..program(&["./plain"]) };
    let started = ground.start(plain, stream::empty().boxed()).await.map(|_| ());
    fails_with(started, ErrorCode::PermissionDenied);
}

pub(super) async fn fifos_are_refused_at_once(ground: Ground) {
    let request = ProcessRequest { cwd: Some(ground.folder.clone()), ..program(&["mkfifo", "fifo"]) };
    assert!(ground.run(request).await.status.is_success(), "mkfifo works");
    assert_eq!(ground.stat("fifo").await.expect("an entry").kind, EntryKind::Fifo);
    let path = ground.path("fifo");
    fails_with(ground.try_read(ReadRequest::whole(path.clone())).await, ErrorCode::NotARegularFile);
    let written = ground.try_write(WriteRequest::to(path), Body::from_bytes("x")).await;
    fails_with(written, ErrorCode::NotARegularFile);
    assert_eq!(ground.stat("fifo").await.expect("an entry").kind, EntryKind::Fifo, "it is left as it was");
}
