//! `cargo xtask bench`: the benchmarks, built as they should be measured.

use anyhow::Result;

use crate::command::{self, cargo, target};
use crate::need::{self, Need};

/// Builds command and benchmarks in release mode, and runs them with these arguments.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    need::meet(&[Need::Root, need::COMPILER, need::MKFS_BTRFS])?;
    command::run(cargo().args([
        "build",
        "--release",
        "--locked",
        "--package",
        "devbox",
        "--package",
        "devbox-bench",
    ]))?;
    let release = target().join("release");
    let mut bench = std::process::Command::new(release.join("devbox-bench"));
    command::run(bench.arg("--devbox").arg(release.join("devbox")).args(arguments))
}
