//! Who does not go on: agents that are stopped, a spawner that is killed, clients that hardly read or write.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, ensure};
use devbox_client::Sandbox;
use devbox_testkit::ServerOptions;
use devbox_tests::bed::{Bed, code_of, printed};
use devbox_tests::host::agent_of;
use devbox_types::ErrorCode;
use rustix::process::{Pid, Signal, kill_process};

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no pid")?;
    Ok(kill_process(pid, signal)?)
}

/// The agent of a box, stopped until this is dropped.
struct Stopped(u32);

impl Stopped {
    fn agent_of(sandbox: &Sandbox) -> Result<Self> {
        let agent = agent_of(sandbox.id().as_str()).context("no agent")?;
        signal(agent.pid, Signal::STOP)?;
        Ok(Self(agent.pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = signal(self.0, Signal::CONT) {
            eprintln!("cannot let the agent go on: {error}");
        }
    }
}

/// Box root can stop its agent with a fork bomb or an exhausted disk; SIGSTOP from outside is the plainest way.
#[tokio::test]
async fn a_stopped_agent_ends_calls_and_one_that_goes_on_serves_again() -> Result<()> {
    let options = ServerOptions::default()
        .with_variable("DEVBOX_AGENT_PATIENCE", "1")
        .with_variable("DEVBOX_TRANSFERS_PER_KEY", "1");
    let bed = Bed::start_with(options)?;
    let sandbox = bed.sandbox().await?;
    sandbox.write("file", "before").await?;
    let stopped = Stopped::agent_of(&sandbox)?;
    // One after the other: each has to give back the one place for transfers that there is.
    assert_eq!(code_of(sandbox.write("file", vec![1; 8 << 20]).await), ErrorCode::AgentUnreachable);
    assert_eq!(code_of(sandbox.write("small", "x").await), ErrorCode::AgentUnreachable);
    assert_eq!(code_of(sandbox.upload_files([("a", "1"), ("b", "2")]).await), ErrorCode::AgentUnreachable);
    ensure!(matches!(code_of(sandbox.read("file").await), ErrorCode::Timeout | ErrorCode::AgentUnreachable));
    // Another box is not concerned.
    let other = bed.sandbox().await?;
    other.write("file", "fine").await?;
    drop(stopped);
    assert_eq!(&sandbox.read("file").await?[..], b"before", "what was cut off has left nothing");
    sandbox.write("file", "after").await?;
    assert_eq!(&sandbox.read("file").await?[..], b"after");
    Ok(())
}

#[tokio::test]
async fn a_server_without_its_spawner_ends_and_says_so() -> Result<()> {
    let mut bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    sandbox.write("file", "x").await?;
    let server = bed.server.pid();
    let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children"))?;
    let spawner = children.split_whitespace().next().context("no spawner")?.parse()?;
    signal(spawner, Signal::KILL)?;
    let status = bed.server.wait()?;
    assert_eq!(status.code(), Some(70), "{status}");
    let log = bed.server.log();
    ensure!(log.contains("the spawner has ended, and every box with it"), "{log}");
    ensure!(log.contains("hint: start the server again"), "{log}");
    // It starts again over the same data, and the box with its files is there.
    bed.restart()?;
    let sandbox = bed.client.sandbox(sandbox.id().as_str()).await?;
    bed.client.start(sandbox.id()).await?;
    assert_eq!(&sandbox.read("file").await?[..], b"x");
    Ok(())
}

/// A service manager may have told the kernel to spare the server: that must not hold for what runs in boxes.
#[tokio::test]
async fn programs_are_killed_before_agents_and_have_the_usual_descriptors() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let seen = printed(&sandbox, "cat /proc/self/oom_score_adj; ulimit -Sn").await?;
    assert_eq!(seen.trim(), "300\n1024");
    let agent = agent_of(sandbox.id().as_str()).context("no agent")?.pid;
    assert_eq!(fs::read_to_string(format!("/proc/{agent}/oom_score_adj"))?.trim(), "0");
    let limits = fs::read_to_string(format!("/proc/{agent}/limits"))?;
    let files = limits.lines().find(|line| line.starts_with("Max open files")).context("no limit")?;
    let words: Vec<&str> = files.split_whitespace().collect();
    assert_eq!(words.get(3), words.get(4), "the agent may open as many files as it ever may: {files}");
    Ok(())
}

fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? << 10)
}

/// Half of them do not read a large answer, half do not send their body.
#[tokio::test]
async fn attack_hundreds_of_slow_clients_cost_little_and_hold_up_nobody() -> Result<()> {
    const SLOW: usize = 200;
    let options = ServerOptions::default()
        .with_variable("DEVBOX_CLIENT_PATIENCE", "3")
        .with_variable("DEVBOX_TRANSFERS_PER_KEY", "1000");
    let bed = Bed::start_with(options)?;
    let sandbox = bed.sandbox().await?;
    sandbox.write("large", vec![7; 64 << 20]).await?;
    let before = resident(bed.server.pid())?;
    let mut held = Vec::new();
    for number in 0..SLOW {
        let mut stream = TcpStream::connect(bed.server.address())?;
        let (method, name, length) = match number % 2 {
            0 => ("GET", "large".to_owned(), 0),
            _ => ("PUT", format!("slow-{number}"), 64 << 20),
        };
        write!(
            stream,
            "{method} /v1/devboxes/{}/files/workspace/{name} HTTP/1.1\r\nhost: test\r\n\
             authorization: Bearer {}\r\ncontent-length: {length}\r\n\r\n",
            sandbox.id(),
            bed.server.key()
        )?;
        if method == "GET" {
            stream.read_exact(&mut [0; 12])?;
        } else {
            stream.write_all(&[1; 1000])?;
        }
        held.push(stream);
        if number % 50 == 0 {
            sandbox.write("fast", vec![2; 1 << 20]).await?;
            assert_eq!(sandbox.read("fast").await?.len(), 1 << 20);
        }
    }
    let grown = resident(bed.server.pid())?.saturating_sub(before);
    println!("{SLOW} slow connections: {} KiB each", grown / 1024 / u64::try_from(SLOW)?);
    // A read buffer and a write buffer of at most 512 KiB each, and what lies between them.
    ensure!(grown < u64::try_from(SLOW)? * (2 << 20), "{grown} bytes for {SLOW} connections");
    // Each is ended by the server.
    for mut stream in held {
        let mut rest = [0; 64 << 10];
        while matches!(stream.read(&mut rest), Ok(read) if read > 0) {}
    }
    assert_eq!(code_of(sandbox.read("slow-1").await), ErrorCode::NotFound);
    assert_eq!(sandbox.read("fast").await?.len(), 1 << 20);
    Ok(())
}
