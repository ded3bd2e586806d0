//! What client, server and agent hold while a large file goes up and down, and when nothing happens.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use devbox_client::{Client, ClientConfig};
use devbox_guest::Body;
use devbox_types::file::WriteRequest;
use futures_util::stream;
use serde::{Deserialize, Serialize};

use crate::content::{Check, Content};
use crate::guest::runtime;
use crate::path::WholePath;

/// What the processes of the whole path held.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// How much went up, and then down.
    pub(crate) moved_bytes: u64,
    /// Each process.
    pub(crate) processes: Vec<Held>,
}

/// What one process held, resident.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Held {
    /// Which.
    pub(crate) process: String,
    /// When nothing had happened yet but that a box was made.
    pub(crate) idle_bytes: u64,
    /// The most while it went up and down.
    pub(crate) peak_bytes: u64,
}

/// The processes to look at.
#[derive(Debug)]
pub(crate) struct Watch {
    server: (u32, u64),
    agent: (u32, u64),
}

impl Watch {
    /// Finds the processes, and what they hold now.
    pub(crate) fn begin(path: &WholePath) -> Result<Self> {
        let server = path.server().pid();
        let agent = agent_below(server)?;
        Ok(Self { server: (server, resident(server)?), agent: (agent, resident(agent)?) })
    }

    /// Moves a file of this length up and down with a client of its own, and looks at the most that was held.
    pub(crate) fn measure(&self, path: &WholePath, content: Content) -> Result<Memory> {
        for (pid, _) in [self.server, self.agent] {
            forget_peak(pid)?;
        }
        let mut client = Command::new(std::env::current_exe()?);
        client.args(["client", &path.server().url(), path.sandbox().id().as_str()]);
        client.arg(content.length.to_string()).env("DEVBOX_API_KEY", path.server().key());
        let mut client =
            client.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start the client")?;
        let output = client.stdout.take().context("the output was piped")?;
        let said = BufReader::new(output).lines().collect::<std::io::Result<Vec<String>>>()?;
        ensure!(client.wait()?.success(), "the client failed");
        let [idle, peak] = &said[..] else { anyhow::bail!("the client says {said:?}") };
        let held = |process: &str, idle_bytes, peak_bytes| Held {
            process: process.to_owned(),
            idle_bytes,
            peak_bytes,
        };
        Ok(Memory {
            moved_bytes: content.length,
            processes: vec![
                held("client", idle.parse()?, peak.parse()?),
                held("server", self.server.1, peak_of(self.server.0)?),
                held("agent", self.agent.1, peak_of(self.agent.0)?),
            ],
        })
    }
}

/// The client: a process that does nothing else. Says what it held before, and at the most.
pub(crate) fn client(url: &str, id: &str, content: Content) -> Result<()> {
    let key = std::env::var("DEVBOX_API_KEY").context("DEVBOX_API_KEY says for whom")?;
    let client = Client::connect(ClientConfig::new(url, Some(key)))?;
    runtime()?.block_on(async {
        let sandbox = client.sandbox(id).await?;
        // Made before the first look: the content is the benchmark's, not the client's.
        let first = content.chunks().next();
        let own = std::process::id();
        println!("{}", resident(own)?);
        let request =
            WriteRequest { length: Some(content.length), ..WriteRequest::to(sandbox.resolve("moved")?) };
        let body = Body::from_stream(stream::iter(content.chunks().map(Ok)), Some(content.length));
        sandbox.write_with(request, body).await?;
        Check::new(content, None).whole(sandbox.open("moved").await?.body).await?;
        sandbox.delete("moved").await?;
        drop(first);
        println!("{}", peak_of(own)?);
        anyhow::Ok(())
    })
}

/// The one box's agent: the first process of the innermost namespace below the server. Outer ones may have a first process too.
fn agent_below(server: u32) -> Result<u32> {
    let depth = |pid: u32| {
        let pids = field(pid, "NSpid").ok()?;
        let pids: Vec<&str> = pids.split_whitespace().collect();
        (pids.len() > 1 && pids.last() == Some(&"1")).then_some(pids.len())
    };
    let processes = std::fs::read_dir("/proc")?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let firsts = pids.filter_map(|pid| Some((depth(pid)?, pid))).filter(|(_, pid)| descends(*pid, server));
    Ok(firsts.max().context("the agent of the box is not there")?.1)
}

fn descends(mut pid: u32, ancestor: u32) -> bool {
    while pid > 1 {
        if pid == ancestor {
            return true;
        }
        let parent = field(pid, "PPid").ok().and_then(|parent| parent.parse().ok());
        let Some(parent) = parent else { return false };
        pid = parent;
    }
    false
}

fn resident(pid: u32) -> Result<u64> {
    kibibytes(pid, "VmRSS")
}

fn peak_of(pid: u32) -> Result<u64> {
    kibibytes(pid, "VmHWM")
}

/// proc(5): 5 sets the peak to what is held now.
fn forget_peak(pid: u32) -> Result<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").with_context(|| format!("reset the peak of {pid}"))
}

fn kibibytes(pid: u32, name: &str) -> Result<u64> {
    let text = field(pid, name)?;
    let number = text.split_whitespace().next().unwrap_or_default();
    Ok(number.parse::<u64>().with_context(|| format!("read {name} of {pid}"))? << 10)
}

fn field(pid: u32, name: &str) -> Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("{pid} has no {name}"))?.trim().to_owned())
}

impl Memory {
    /// Prints it beside the goals.
    pub(crate) fn print(&self) {
        let moved = format!("resident, {} MiB each way", self.moved_bytes >> 20);
        println!("\n{moved:<36} {:>11} {:>11}  goals", "idle", "peak");
        for held in &self.processes {
            let (idle, peak) = (megabytes(held.idle_bytes), megabytes(held.peak_bytes));
            let goals = match &*held.process {
                "server" => "25 and 40 MB",
                "agent" => "3 MB idle",
                _ => "–",
            };
            println!("  {:<34} {idle:>8.1} MB {peak:>8.1} MB  {goals}", held.process);
        }
    }
}

/// Millions of bytes, as the goals have it.
fn megabytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    let bytes = bytes as f64;
    bytes / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_seen_and_forgotten() {
        let own = std::process::id();
        let before = peak_of(own).expect("a peak");
        let mut large = vec![1_u8; 256 << 20];
        large[7] = 2;
        let high = peak_of(own).expect("a peak");
        assert!(high >= before && high >= 256 << 20, "{high}");
        drop(std::hint::black_box(large));
        forget_peak(own).expect("forgotten");
        assert!(peak_of(own).expect("a peak") + (128 << 20) < high);
        assert!(descends(own, own) && !descends(1, own));
    }
}
