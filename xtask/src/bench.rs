//! `cargo xtask bench`: the benchmarks, built as they should be measured.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::command::{self, cargo, target};
use crate::need::{self, Need};

/// Where the manual keeps its figures and their pictures.
const FIGURES: &str = "docs/performance";

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

/// A whole run, kept and drawn where the manual shows it.
fn figures(arguments: &[String]) -> Result<()> {
    let json = PathBuf::from(FIGURES).join("figures.json");
    let mut all = arguments.iter().map(OsStr::new).collect::<Vec<_>>();
    all.extend([OsStr::new("--json"), json.as_os_str()]);
    measured(&all)?;
    command::run(Command::new(released("devbox-bench")).arg("chart").arg(&json).args(["--output", FIGURES]))
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
