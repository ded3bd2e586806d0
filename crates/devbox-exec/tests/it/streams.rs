//! Standard input, output and error as streams.

use std::time::{Duration, Instant};

use bytes::Bytes;
use devbox_exec::{Command, Stdin};
use devbox_types::process::{ProcessEvent, ProcessInput};
use futures_util::stream::{self, StreamExt as _};

use crate::support::{command, engine, eventually, finish, is_running, marker, no_input, run, shell};

#[tokio::test]
async fn text_goes_in_and_comes_out() {
    let stdin = Stdin::Bytes(Bytes::from_static(b"hello"));
    assert_eq!(run(Command { stdin, ..command(["cat"]) }).await.expect("a run").stdout, b"hello");
    assert_eq!(run(command(["cat"])).await.expect("a run").stdout, b"");
}

#[tokio::test]
async fn chunks_go_in_until_the_end_is_said_or_the_stream_ends() {
    let chunk = |text: &'static [u8]| ProcessInput::Stdin(Bytes::from_static(text));
    for said in [true, false] {
        let mut items = vec![chunk(b"a"), chunk(b""), chunk(b"b")];
        if said {
            items.extend([ProcessInput::EndOfStdin, chunk(b"lost")]);
        }
        // Once the end is said, input may stay open for signals.
        let input = stream::iter(items).chain(if said {
            stream::pending().left_stream()
        } else {
            stream::empty().right_stream()
        });
        let cat = Command { stdin: Stdin::Stream, ..command(["cat"]) };
        let run = engine().run(cat, input).await.expect("a run");
        assert_eq!(finish(run).await.stdout, b"ab");
    }
}

#[tokio::test]
async fn a_program_that_does_not_read_is_not_waited_for() {
    let big = Bytes::from(vec![b'x'; 4 << 20]);
    let stdin = Stdin::Bytes(big);
    assert!(run(Command { stdin, ..command(["true"]) }).await.expect("a run").status.is_success());
}

#[tokio::test]
async fn a_signal_overtakes_input_that_waits() {
    let items = [ProcessInput::Stdin(Bytes::from(vec![0; 128 << 10])), ProcessInput::Signal(15)];
    let sleep = Command { stdin: Stdin::Stream, ..command(["sleep", "60"]) };
    let run = engine().run(sleep, stream::iter(items).chain(stream::pending())).await.expect("a run");
    assert_eq!(finish(run).await.status.signal, Some(15));
}

#[tokio::test]
async fn output_comes_as_it_is_written() {
    let engine = engine();
    let mut run = engine.run(shell("echo one; sleep 60; echo two"), no_input()).await.expect("a run");
    run.next().await.expect("a start").expect("a start");
    let first = run.next().await.expect("output").expect("output");
    assert_eq!(first, ProcessEvent::Stdout(Bytes::from_static(b"one\n")));
    drop(run);
    eventually("the end", || engine.list().is_empty()).await;
}

#[tokio::test]
async fn a_hundred_mebibytes_pass_through_unchanged_in_bounded_memory() {
    const SIZE: u64 = 100 << 20;
    let script = format!("head -c {SIZE} /dev/zero | tr '\\0' 'x'");
    let mut run = engine().run(shell(&script), no_input()).await.expect("a run");
    let before = resident();
    let (mut total, mut largest) = (0_u64, 0);
    while let Some(event) = run.next().await {
        if let ProcessEvent::Stdout(bytes) = event.expect("an event") {
            assert!(bytes.iter().all(|byte| *byte == b'x'));
            total += bytes.len() as u64;
            largest = largest.max(bytes.len());
        }
    }
    assert_eq!(total, SIZE);
    assert!(largest <= 64 << 10, "{largest}");
    let grown = resident().saturating_sub(before);
    assert!(grown < 8 << 20, "resident memory grew by {grown} bytes");
}

#[tokio::test]
async fn a_program_whose_output_nobody_takes_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let progress = folder.path().join("progress");
    let script = format!(
        "for i in 1 2 3 4 5 6 7 8; do head -c 65536 /dev/zero; echo $i >> {}; done",
        progress.display()
    );
    let run = engine().run(shell(&script), no_input()).await.expect("a run");
    eventually("the first writes", || progress.exists()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let lines = std::fs::read_to_string(&progress).expect("progress").lines().count();
    assert!(lines < 4, "{lines} of 8 pieces were taken although nobody read");
    assert_eq!(finish(run).await.stdout.len(), 8 << 16);
}

#[tokio::test]
async fn a_daemon_that_keeps_the_output_open_does_not_hold_the_run() {
    let marker = marker();
    let started = Instant::now();
    let engine = engine();
    let run = engine.run(shell(&format!("echo said; sleep {marker} & exit 3")), no_input()).await;
    let finished = finish(run.expect("a run")).await;
    assert_eq!((&finished.stdout[..], finished.status.code), (&b"said\n"[..], Some(3)));
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(is_running(&marker), "a daemon lives on after its run has ended");
    kill_by_arguments(&marker);
}

#[tokio::test]
async fn a_daemon_that_floods_the_output_does_not_hold_the_run() {
    let run = engine().run(shell("cat /dev/zero & exit 0"), no_input()).await.expect("a run");
    let finished = finish(run).await;
    assert_eq!(finished.status.code, Some(0));
}

#[tokio::test]
async fn words_of_a_child_that_outlives_its_parent_a_little_are_heard() {
    let finished = run(shell("(sleep 0.1; echo late) & exit 0")).await.expect("a run");
    assert_eq!(finished.stdout, b"late\n");
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    statm.split(' ').nth(1).expect("a field").parse::<u64>().expect("a number") * 4096
}

fn kill_by_arguments(marker: &str) {
    let status =
        std::process::Command::new("pkill").args(["-f", "--", &format!("^sleep {marker}$")]).status();
    assert!(status.expect("pkill").success());
}
