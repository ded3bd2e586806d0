//! Programs: their streams, how they end, and that nothing of them stays.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use devbox_client::{Command, Sandbox};
use devbox_tests::Bed;
use devbox_tests::bed::{code_of, printed, shell};
use devbox_tests::host;
use devbox_types::ErrorCode;
use devbox_types::process::{ProcessEvent, ProcessInput, SignalRequest};
use futures_util::StreamExt as _;

#[tokio::test]
async fn output_comes_while_the_program_runs() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    // The program waits for a file that is written only after its first line was seen.
    let line = "echo begun; while [ ! -e go ]; do sleep 0.02; done; echo ended >&2; exit 3";
    let mut events = sandbox.stream(Command::new(["sh", "-c", line])).await?;
    ensure!(matches!(events.next().await.context("started")??, ProcessEvent::Started { .. }));
    ensure!(
        matches!(events.next().await.context("a line")??, ProcessEvent::Stdout(bytes) if bytes == "begun\n")
    );
    sandbox.write("go", "").await?;
    ensure!(
        matches!(events.next().await.context("a line")??, ProcessEvent::Stderr(bytes) if bytes == "ended\n")
    );
    let ProcessEvent::Exited(status) = events.next().await.context("the end")?? else {
        anyhow::bail!("something came after the last line");
    };
    assert_eq!((status.code, status.signal), (Some(3), None));
    ensure!(events.next().await.is_none());
    Ok(())
}

#[tokio::test]
async fn exit_codes_and_signals_are_told_apart() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    assert_eq!(shell(&sandbox, "exit 0").await?.status.code, Some(0));
    assert_eq!(shell(&sandbox, "exit 255").await?.status.code, Some(255));
    let killed = shell(&sandbox, "kill -TERM $$").await?.status;
    assert_eq!((killed.code, killed.signal, killed.shell_code()), (None, Some(15), 143));
    assert_eq!(code_of(sandbox.run(Command::new(["no-such-program"])).await), ErrorCode::NotFound);
    let denied = sandbox.run(Command::new(["/etc/passwd"])).await;
    assert_eq!(code_of(denied), ErrorCode::PermissionDenied);
    Ok(())
}

#[tokio::test]
async fn input_environment_and_folder_reach_the_program() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    sandbox.make_dir("sub").await?;
    let command = Command::new(["sh", "-c", "cat; echo $COLOUR; pwd; ls /proc/self/fd | tr '\\n' ' '"])
        .with_stdin("from outside\n")
        .with_env("COLOUR", "green")
        .with_cwd("sub");
    let output = sandbox.run(command).await?;
    // 3 is the folder that `ls` reads.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "from outside\ngreen\n/workspace/sub\n0 1 2 3 ");
    Ok(())
}

#[tokio::test]
async fn a_conversation_goes_both_ways() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let input = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|item| (item, receiver))
    });
    let mut events = sandbox.spawn(Command::new(["cat"]), input.boxed()).await?;
    ensure!(matches!(events.next().await.context("started")??, ProcessEvent::Started { .. }));
    for word in ["one", "two", "three"] {
        sender.send(ProcessInput::Stdin(word.into())).await?;
        ensure!(matches!(events.next().await.context(word)??, ProcessEvent::Stdout(bytes) if bytes == word));
    }
    sender.send(ProcessInput::EndOfStdin).await?;
    let last = events.next().await.context("the end")??;
    ensure!(matches!(&last, ProcessEvent::Exited(status) if status.is_success()), "{last:?}");
    Ok(())
}

#[tokio::test]
async fn much_output_arrives_whole() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let output = shell(&sandbox, "head -c 20000000 /dev/zero | tr '\\0' x").await?;
    assert_eq!(output.stdout.len(), 20_000_000);
    ensure!(output.stdout.iter().all(|byte| *byte == b'x'));
    Ok(())
}

/// A tree with every way out of a process group: background, a new session, a daemon whose parents are gone.
const TREE: &str =
    "sleep 1001 & setsid sleep 1002 & (setsid sh -c 'sleep 1003 & exit' &) ; echo up; sleep 1004";

#[tokio::test]
async fn a_timeout_kills_the_whole_tree() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let command = Command::new(["sh", "-c", TREE]).with_timeout(Duration::from_millis(700));
    let output = sandbox.run(command).await?;
    ensure!(output.status.timed_out, "{:?}", output.status);
    only_the_agent_is_left(&sandbox).await
}

#[tokio::test]
async fn a_client_that_goes_away_takes_the_whole_tree_along() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let mut events = sandbox.stream(Command::new(["sh", "-c", TREE])).await?;
    while !matches!(events.next().await.context("a line")??, ProcessEvent::Stdout(_)) {}
    ensure!(!sandbox.processes().await?.is_empty());
    drop(events);
    only_the_agent_is_left(&sandbox).await
}

#[tokio::test]
async fn a_signal_to_the_tree_reaches_all_of_it() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let mut events = sandbox.stream(Command::new(["sh", "-c", TREE])).await?;
    let ProcessEvent::Started { id, .. } = events.next().await.context("started")?? else {
        anyhow::bail!("the first event is another");
    };
    while !matches!(events.next().await.context("a line")??, ProcessEvent::Stdout(_)) {}
    sandbox.signal(id, SignalRequest { signal: 9, tree: true }).await?;
    let last = events.next().await.context("the end")??;
    ensure!(matches!(&last, ProcessEvent::Exited(status) if status.signal == Some(9)), "{last:?}");
    only_the_agent_is_left(&sandbox).await?;
    let gone = sandbox.signal(id, SignalRequest { signal: 9, tree: false }).await;
    assert_eq!(code_of(gone), ErrorCode::ProcessNotFound);
    Ok(())
}

#[tokio::test]
async fn orphans_are_reaped() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    shell(&sandbox, "for n in 1 2 3 4 5 6 7 8 9; do (sleep 0.05 &) ; done; sleep 0.3").await?;
    let zombies = printed(&sandbox, "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l").await?;
    assert_eq!(zombies, "0");
    Ok(())
}

/// Waits until the box has one process: its agent.
async fn only_the_agent_is_left(sandbox: &Sandbox) -> Result<()> {
    let start = Instant::now();
    loop {
        let processes = host::processes_of(sandbox.id().as_str());
        ensure!(!processes.is_empty(), "the agent is gone, or the box has no cgroup with its id");
        if processes.iter().all(|process| process.inner_pid == 1) {
            return Ok(());
        }
        ensure!(start.elapsed() < Duration::from_secs(10), "still there: {processes:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
