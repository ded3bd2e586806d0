//! Stop, start, and what happens when something is killed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use devbox_client::{Command, Sandbox};
use devbox_testkit::server::send;
use devbox_tests::bed::{Bed, code_of, printed};
use devbox_tests::host;
use devbox_types::ErrorCode;
use devbox_types::devbox::BoxState;

#[tokio::test]
async fn a_stopped_box_keeps_its_files_and_nothing_else() -> Result<()> {
    let bed = Bed::start()?;
    let mut sandbox = bed.sandbox().await?;
    sandbox.write("kept", "x").await?;
    printed(&sandbox, "echo lost > /tmp/tmpfile; setsid sleep 1000 >/dev/null 2>&1 &").await?;
    assert_eq!(sandbox.stop().await?.status.state, BoxState::Stopped);
    ensure!(host::processes_of(sandbox.id().as_str()).is_empty(), "a stopped box has processes");

    let refused = sandbox.read("kept").await.expect_err("it is stopped").problem();
    assert_eq!(refused.code, ErrorCode::NotRunning);
    ensure!(refused.hint.is_some_and(|hint| hint.contains("start")), "the hint names no way out");
    assert_eq!(sandbox.stop().await?.status.state, BoxState::Stopped, "stop may be repeated");

    assert_eq!(sandbox.start().await?.status.state, BoxState::Running);
    assert_eq!(sandbox.start().await?.status.state, BoxState::Running, "start may be repeated");
    assert_eq!(sandbox.read("kept").await?, "x");
    let id = sandbox.id().clone();
    bed.client.delete(&id).await?;
    assert_eq!(code_of(bed.client.get(id.as_str()).await), ErrorCode::DevboxNotFound);
    Ok(())
}

#[tokio::test]
async fn an_agent_that_was_killed_shows_in_the_state_and_start_brings_it_back() -> Result<()> {
    let bed = Bed::start()?;
    let mut sandbox = bed.sandbox().await?;
    sandbox.write("kept", "x").await?;
    let running = sandbox.stream(Command::new(["sleep", "1000"])).await?;
    let agent = host::agent_of(sandbox.id().as_str()).context("the box has no agent")?;
    send(agent.pid, libc::SIGKILL)?;

    let status = wait_for_state(&mut sandbox, BoxState::Failed).await?;
    ensure!(status.is_some(), "a failed box has no reason");
    drop(running);
    let refused = sandbox.read("kept").await.expect_err("its agent is dead").problem();
    assert_eq!((refused.code, refused.code.http_status()), (ErrorCode::NotRunning, 409));
    ensure!(refused.hint.is_some(), "no hint");
    ensure!(host::processes_of(sandbox.id().as_str()).is_empty(), "its programs outlived it");

    assert_eq!(sandbox.start().await?.status.state, BoxState::Running);
    assert_eq!(sandbox.read("kept").await?, "x");
    Ok(())
}

#[tokio::test]
async fn a_server_that_was_killed_leaves_no_box_running_and_tells_the_truth_afterwards() -> Result<()> {
    let mut bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let mut stopped = bed.sandbox().await?;
    sandbox.write("kept", "x").await?;
    stopped.stop().await?;
    let _running = sandbox.stream(Command::new(["sleep", "1000"])).await?;
    bed.server.kill()?;
    wait_until_gone(sandbox.id().as_str())?;

    bed.restart()?;
    let found = bed.client.get(sandbox.id().as_str()).await?;
    assert_eq!(found.status.state, BoxState::Stopped);
    ensure!(found.status.reason.is_some(), "the box does not say why it is stopped");
    assert_eq!(bed.client.get(stopped.id().as_str()).await?.status.state, BoxState::Stopped);
    let mut sandbox = bed.client.sandbox(sandbox.id().as_str()).await?;
    assert_eq!(sandbox.start().await?.status.state, BoxState::Running);
    assert_eq!(sandbox.read("kept").await?, "x");
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_asked_to_end_ends_its_boxes_first() -> Result<()> {
    let mut bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    sandbox.write("kept", "x").await?;
    let running = sandbox.stream(Command::new(["sleep", "1000"])).await?;
    let status = bed.server.stop()?;
    ensure!(status.success(), "{status}\n{}", bed.server.log());
    drop(running);
    ensure!(host::processes_of(sandbox.id().as_str()).is_empty(), "the box runs on");
    bed.restart()?;
    let mut sandbox = bed.client.sandbox(sandbox.id().as_str()).await?;
    assert_eq!(sandbox.devbox().status.state, BoxState::Stopped);
    sandbox.start().await?;
    assert_eq!(sandbox.read("kept").await?, "x");
    Ok(())
}

#[tokio::test]
async fn the_spawner_dies_with_the_server_and_takes_the_boxes_along() -> Result<()> {
    let mut bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", bed.server.pid()))?;
    let spawners: Vec<u32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    ensure!(!spawners.is_empty(), "the server has no spawner");
    for spawner in spawners {
        send(spawner, libc::SIGKILL)?;
    }
    wait_until_gone(sandbox.id().as_str())?;
    // Without its spawner a server cannot make boxes: it may end, or say so; it must not hang or lie.
    let answer = tokio::time::timeout(Duration::from_secs(20), bed.sandbox()).await?;
    ensure!(answer.is_err(), "a box was made without a spawner");
    // It may have ended by itself. The next one finds what the spawner could not clear any more.
    let _ = bed.server.stop();
    bed.restart()?;
    assert_eq!(bed.client.get(sandbox.id().as_str()).await?.status.state, BoxState::Stopped);
    Ok(())
}

#[tokio::test]
async fn the_server_is_not_root() -> Result<()> {
    let bed = Bed::start()?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", bed.server.pid()))?;
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    ensure!(field("Uid:").split_whitespace().all(|uid| uid != "0"), "uids {}", field("Uid:"));
    ensure!(field("Gid:").split_whitespace().all(|gid| gid != "0"), "gids {}", field("Gid:"));
    for set in ["CapPrm:", "CapEff:", "CapAmb:", "CapInh:"] {
        assert_eq!(field(set).trim_start_matches('0'), "", "{set}");
    }
    ensure!(field("Groups:").split_whitespace().all(|gid| gid != "0"), "groups {}", field("Groups:"));
    Ok(())
}

async fn wait_for_state(sandbox: &mut Sandbox, wanted: BoxState) -> Result<Option<String>> {
    let start = Instant::now();
    loop {
        let status = sandbox.refresh().await?.status.clone();
        if status.state == wanted {
            return Ok(status.reason);
        }
        ensure!(start.elapsed() < Duration::from_secs(10), "it is {status:?}, not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn wait_until_gone(id: &str) -> Result<()> {
    let start = Instant::now();
    loop {
        let left = host::processes_of(id);
        if left.is_empty() {
            return Ok(());
        }
        ensure!(start.elapsed() < Duration::from_secs(10), "still there: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
