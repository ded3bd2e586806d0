//! `cargo xtask bench`: the benchmarks, built as they should be measured.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::{self, cargo, target};
use crate::need::{self, Need};

/// What the manual shows: a folder of figures and pictures for each ground, and what tells it.
const FIGURES: [(&str, &[&str]); 2] = [
    ("docs/performance/overlay", &[]),
    ("docs/performance/tmpfs", &["--folder", "/dev/shm", "--bulk-mib", "64", "--boxes", "0"]),
];

/// What is asked for comes first: `engine` measures the engine alone, `figures` measures what the manual shows; anything
/// else is for `devbox-bench`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    match arguments.split_first() {
        Some((first, rest)) if first == "engine" => engine(rest),
        Some((first, rest)) if first == "figures" => figures(rest),
        _ => measured(arguments),
    }
}

/// What the calls of the engine and the formats of archives cost, without sockets and HTTP. Arguments are criterion's.
fn engine(arguments: &[String]) -> Result<()> {
    let benches = ["bench", "--locked", "--package", "devbox-fs", "--package", "devbox-archive"];
    let mut bench = cargo();
    bench.args(benches).args(["--bench", "engine", "--bench", "archive", "--"]);
    command::run(bench.args(arguments))
}

/// A whole run on each ground, kept and drawn where the manual shows it. Arguments go to both.
fn figures(arguments: &[String]) -> Result<()> {
    for (folder, ground) in FIGURES {
        let json = format!("{folder}/figures.json");
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {folder}"))?;
        let arguments = arguments.iter().map(String::as_str);
        let all: Vec<&str> = ground.iter().copied().chain(["--json", &json]).chain(arguments).collect();
        measured(&all)?;
        command::run(Command::new(released("devbox-bench")).args(["chart", &json, "--output", folder]))?;
    }
    Ok(())
}

/// Builds command and benchmarks in release mode, and runs them with these arguments.
fn measured<A: AsRef<OsStr>>(arguments: &[A]) -> Result<()> {
    need::meet(&[Need::Root, need::COMPILER, need::MKFS_BTRFS])?;
    let packages = ["--package", "devbox", "--package", "devbox-bench"];
    command::run(cargo().args(["build", "--release", "--locked"]).args(packages))?;
    let mut bench = Command::new(released("devbox-bench"));
    command::run(bench.arg("--devbox").arg(released("devbox")).args(arguments))
}

fn released(name: &str) -> PathBuf {
    target().join("release").join(name)
}
