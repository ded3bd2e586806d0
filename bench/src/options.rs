//! The command line.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};

use crate::peer::PeerAddress;
use crate::row::Row;

/// Measures floors, the agent alone, the whole path and peers, and verifies what was moved.
#[derive(Debug, Parser)]
#[command(name = "devbox-bench", args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    /// The `devbox` binary to measure; default: the one beside this program.
    #[arg(long, value_name = "FILE")]
    pub(crate) devbox: Option<PathBuf>,
    /// The agent to measure alone; default: the one that the build of `devbox` embedded.
    #[arg(long, value_name = "FILE")]
    pub(crate) agent: Option<PathBuf>,
    /// Measure everything in this folder, boxes in a plain pool, instead of on an overlay on btrfs, which is what boxes
    /// stand on by default. On a tmpfs the disk's speed does not hide what we cost.
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Only the floors and the echo: what this machine can do, without us.
    #[arg(long)]
    pub(crate) floors: bool,
    /// A server of somebody else's to measure in the same run, which is there already. KIND is `envd`, `daytona`,
    /// `devbox-sdk`, `put-get` or `tus`; NAME is what tables call it. DIR is where it stores: the first three are asked to store there, absolute, and without
    /// it where the floors do; of the others it only tells the file system. A token comes from DEVBOX_BENCH_PEER_TOKEN.
    #[arg(long = "peer", value_name = "KIND[:NAME]=URL[,DIR]")]
    pub(crate) peers: Vec<PeerAddress>,
    /// Few rounds and small files: shows that it all works, measures nothing worth keeping.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only subjects whose name contains this text, such as `agent alone`. Repeat it for several.
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Vec<String>,
    /// Only these operations.
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    pub(crate) rows: Vec<Row>,
    /// How often each subject has its turn.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) turns: Option<usize>,
    /// The size of the large files; 0: none. A box in a tmpfs has little room: what its agent writes there counts as the
    /// agent's memory.
    #[arg(long, value_name = "MIB")]
    pub(crate) bulk_mib: Option<u64>,
    /// How many small files a batch, an archive and a listing have; 0: none.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) files: Option<usize>,
    /// How many boxes are made for the time to the first byte.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) boxes: Option<usize>,
    /// Write the figures to this file too, for `compare` and `chart`.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What else this program does. The hidden ones run as processes of their own and are started by the benchmark itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compare two results: multiples of the floor side by side, and which changed by more than noise.
    Compare {
        /// The result to start from.
        before: PathBuf,
        /// The result to compare with it.
        after: PathBuf,
    },
    /// Draw a result: multiples of the floor, speeds of large files, and how latencies are spread.
    Chart {
        /// The result.
        result: PathBuf,
        /// The folder for the pictures (SVG).
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
    },
    /// The plain program that stores files.
    #[command(hide = true)]
    FloorEngine {
        /// Where it listens.
        socket: PathBuf,
        /// Where it stores.
        folder: PathBuf,
    },
    /// The plain program between: TCP in, unix out.
    #[command(hide = true)]
    FloorRelay {
        /// The socket of the engine.
        socket: PathBuf,
    },
    /// The bare HTTP server.
    #[command(hide = true)]
    Echo {
        /// Where it listens.
        socket: PathBuf,
    },
    /// The client whose memory is measured.
    #[command(hide = true)]
    Client {
        /// The server.
        url: String,
        /// The box.
        id: String,
        /// How many bytes it moves each way.
        length: u64,
    },
}

impl Options {
    /// The `devbox` binary to measure.
    pub(crate) fn devbox(&self) -> Result<PathBuf> {
        self.devbox.clone().map_or_else(|| beside("devbox"), Ok)
    }

    /// The agent to measure alone.
    pub(crate) fn agent(&self) -> Result<PathBuf> {
        self.agent.clone().map_or_else(embedded_agent, Ok)
    }
}

fn beside(name: &str) -> Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name(name);
    ensure!(binary.is_file(), "there is no {}: build it, or name another with an option", binary.display());
    Ok(binary)
}

/// The agent as boxes run it: where the build script of `devbox` left it, in `agent-build` beside the profile's folder.
fn embedded_agent() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).context("this program is in no target folder")?;
    let builds = std::fs::read_dir(target.join("agent-build")).into_iter().flatten().flatten();
    let agents = builds.map(|build| build.path().join("agent/devbox-agent"));
    agents.into_iter().find(|agent| agent.is_file()).context("no agent was built here: name one with --agent")
}
