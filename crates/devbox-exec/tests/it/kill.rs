//! The end of whole trees.

use std::time::{Duration, Instant};

use bytes::Bytes;
use devbox_exec::{Engine, SignalTarget};
use devbox_types::process::{ProcessEvent, ProcessInput};
use devbox_types::{Coded as _, ErrorCode, ProcessId};
use futures_util::stream::{self, StreamExt as _};

use crate::support::{
    Finished, command, engine, eventually, finish, is_running, is_sleeping, marker, no_input, shell,
};

/// Starts children in every way that escapes a process group, then waits. The double fork loses the parents.
fn escaping_tree(marker: &str) -> String {
    format!(
        "sleep {marker} & \
         setsid sleep {marker} & \
         (setsid sh -c '(setsid sleep {marker} &) & sleep {marker}' &) ; \
         (setsid -f env -u DEVBOX_NOTHING setsid -f sleep {marker}) ; \
         trap '' TERM INT HUP; echo ready; sleep {marker}; sleep {marker}"
    )
}

async fn started(engine: &Engine, marker: &str) -> devbox_exec::Run {
    let mut run = engine.run(shell(&escaping_tree(marker)), no_input()).await.expect("a run");
    while let Some(event) = run.next().await {
        if event.expect("an event") == ProcessEvent::Stdout(Bytes::from_static(b"ready\n")) {
            break;
        }
    }
    eventually("the tree", || is_running(&format!("sleep\0{marker}"))).await;
    run
}

#[tokio::test]
async fn a_dropped_run_kills_daemons_that_forked_twice() {
    let (engine, marker) = (engine(), marker());
    let run = started(&engine, &marker).await;
    drop(run);
    eventually("the end of the tree", || !is_running(&marker)).await;
    eventually("the end of the list", || engine.list().is_empty()).await;
}

#[tokio::test]
async fn a_timeout_kills_the_whole_tree_before_it_is_reported() {
    let (engine, marker) = (engine(), marker());
    let mut tree = shell(&escaping_tree(&marker));
    tree.timeout = Some(Duration::from_millis(300));
    let begun = Instant::now();
    let Finished { status, stdout, .. } = finish(engine.run(tree, no_input()).await.expect("a run")).await;
    assert!(!is_running(&marker), "the tree is gone when the exit is reported");
    assert_eq!((status.timed_out, status.signal, &stdout[..]), (true, Some(9), &b"ready\n"[..]));
    assert!(begun.elapsed() < Duration::from_secs(5) && status.duration_ms >= 300);
}

#[tokio::test]
async fn a_timeout_does_not_wait_for_the_reader() {
    let marker = marker();
    let mut flood = shell(&format!("sleep {marker} & cat /dev/zero"));
    flood.timeout = Some(Duration::from_millis(200));
    let _unread = engine().run(flood, no_input()).await.expect("a run");
    eventually("the end of the tree", || !is_running(&marker)).await;
}

#[tokio::test]
async fn a_dropped_start_leaves_nothing() {
    let (engine, marker) = (engine(), marker());
    for _ in 0..20 {
        let start = engine.run(command(["sleep", &marker]), no_input());
        let _: Result<_, tokio::time::error::Elapsed> = tokio::time::timeout(Duration::ZERO, start).await;
    }
    eventually("the end of all", || !is_running(&marker) && engine.list().is_empty()).await;
}

#[tokio::test]
async fn many_dropped_runs_are_all_killed() {
    let (engine, marker) = (engine(), marker());
    let mut runs = Vec::new();
    for _ in 0..50 {
        runs.push(
            engine.run(shell(&format!("setsid sleep {marker} & wait")), no_input()).await.expect("a run"),
        );
    }
    drop(runs);
    eventually("the end of all", || !is_running(&marker) && engine.list().is_empty()).await;
}

#[tokio::test]
async fn a_signal_reaches_the_group_or_the_tree() {
    let engine = engine();
    let (inside, outside) = (marker(), marker());
    let script = format!("setsid sleep {outside} & sleep {inside} & wait");
    let run = engine.run(shell(&script), no_input()).await.expect("a run");
    // Until it is `sleep`, `setsid` is of the group.
    eventually("both", || is_sleeping(&inside) && is_sleeping(&outside)).await;
    let id = run.id();
    engine.signal(id, 10, SignalTarget::Group).await.expect("a signal");
    let reader = tokio::spawn(finish(run));
    eventually("the end of the group", || !is_running(&format!("sleep\0{inside}"))).await;
    assert!(is_running(&format!("sleep\0{outside}")));
    assert_eq!(reader.await.expect("an end").status.signal, Some(10));
    let gone = engine.signal(id, 10, SignalTarget::Tree).await.expect_err("an error");
    assert_eq!(gone.code(), ErrorCode::ProcessNotFound);

    let run = engine.run(shell(&script), no_input()).await.expect("a run");
    eventually("the tree", || is_running(&format!("sleep\0{inside}"))).await;
    engine.signal(run.id(), 9, SignalTarget::Tree).await.expect("a signal");
    assert_eq!(finish(run).await.status.signal, Some(9));
    eventually("the end of the tree", || !is_running(&format!("sleep\0{inside}"))).await;
    let _: Result<_, _> =
        std::process::Command::new("pkill").args(["-f", &format!("^sleep {outside}$")]).status();
}

#[tokio::test]
async fn nonsense_is_refused() {
    let engine = engine();
    let run = engine.run(command(["sleep", "60"]), no_input()).await.expect("a run");
    for signal in [0, 65, 255] {
        let error = engine.signal(run.id(), signal, SignalTarget::Group).await.expect_err("an error");
        assert_eq!(error.code(), ErrorCode::InvalidRequest);
    }
    let error = engine.signal(ProcessId(999), 15, SignalTarget::Group).await.expect_err("an error");
    assert_eq!(error.code(), ErrorCode::ProcessNotFound);
    drop(run);
    eventually("the end", || engine.list().is_empty()).await;
}

#[tokio::test]
async fn input_may_be_a_realtime_signal() {
    let input = stream::iter([ProcessInput::Signal(64)]).chain(stream::pending());
    let run = engine().run(command(["sleep", "60"]), input).await.expect("a run");
    assert_eq!(finish(run).await.status.signal, Some(64));
}

#[tokio::test]
async fn a_fork_bomb_is_ended() {
    // Each generation replaces itself as fast as it can; without a limit of processes it stays at about this number.
    let marker = marker();
    let script =
        format!("f() {{ while :; do sh -c ': {marker}'; done; }}; f & f & f & f & f & f & echo ready; wait");
    let mut run = engine().run(shell(&script), no_input()).await.expect("a run");
    for _ in 0..2 {
        run.next().await.expect("an event").expect("an event");
    }
    drop(run);
    eventually("the end of the bomb", || !is_running(&marker)).await;
}
