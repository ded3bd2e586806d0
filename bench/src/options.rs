//! The command line.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

/// Measures floors, the agent alone and the whole path, and verifies what was moved.
#[derive(Debug, Parser)]
#[command(name = "devbox-bench")]
pub(crate) struct Options {
    /// The `devbox` binary to measure; default: the one beside this program.
    #[arg(long, value_name = "FILE")]
    pub(crate) devbox: Option<PathBuf>,
    /// The agent to measure alone; default: the one beside this program.
    #[arg(long, value_name = "FILE")]
    pub(crate) agent: Option<PathBuf>,
    /// Measure floors and agent in this folder instead of an overlay on btrfs, which is what boxes stand on. Figures of
    /// the whole path have then no floor of their own file system beside them.
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Only the floors and the echo: what this machine can do, without us.
    #[arg(long)]
    pub(crate) floors: bool,
    /// Few rounds and small files: shows that it all works, measures nothing worth keeping.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write the figures to this file too.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The parts that run as processes of their own; started by the benchmark itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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
}

impl Options {
    /// The `devbox` binary to measure.
    pub(crate) fn devbox(&self) -> Result<PathBuf> {
        self.devbox.clone().map_or_else(|| beside("devbox"), Ok)
    }

    /// The agent to measure alone.
    pub(crate) fn agent(&self) -> Result<PathBuf> {
        self.agent.clone().map_or_else(|| beside("devbox-agent"), Ok)
    }
}

fn beside(name: &str) -> Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name(name);
    ensure!(binary.is_file(), "there is no {}: build it, or name another with an option", binary.display());
    Ok(binary)
}
