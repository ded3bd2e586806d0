//! Pinned tools that are no part of a Debian system: cargo-deny, and the Python environment of the SDK's tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::command::{cargo, on_path, run, target};
use crate::need::install_package;

const DENY_VERSION: &str = "0.20.2";
/// What the Python environment holds, pinned; a change of this file makes it anew.
const PYTHON_PACKAGES: &str = "sdk/python/requirements-dev.txt";

/// The pinned cargo-deny, where it is.
pub(crate) fn deny() -> Option<PathBuf> {
    let own = target().join("tools/bin/cargo-deny");
    [Some(own), on_path("cargo-deny")].into_iter().flatten().find(|binary| has_pinned_version(binary))
}

fn has_pinned_version(binary: &Path) -> bool {
    let output = Command::new(binary).arg("--version").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim().ends_with(DENY_VERSION))
}

/// Compiles cargo-deny below `target/tools`: about three minutes on two cores, once.
pub(crate) fn install_deny() -> Result<()> {
    eprintln!(
        "→ cargo-deny {DENY_VERSION} is missing: compiling it into target/tools (about three minutes, once)"
    );
    let root = target().join("tools");
    run(cargo().args(["install", "cargo-deny", "--locked", "--version", DENY_VERSION, "--root"]).arg(root))
}

/// The interpreter of the environment in which the SDK is tested.
pub(crate) fn python() -> PathBuf {
    environment().join("bin/python")
}

fn environment() -> PathBuf {
    target().join("venv")
}

/// Says what the environment was made with; written last, so that a half-made one is made again.
fn stamp() -> PathBuf {
    environment().join("devbox-packages.txt")
}

/// Whether the environment is there and holds the pinned packages.
pub(crate) fn python_environment_is_ready() -> bool {
    let wanted = std::fs::read(PYTHON_PACKAGES);
    wanted.is_ok_and(|wanted| std::fs::read(stamp()).is_ok_and(|made_with| made_with == wanted))
}

/// Makes the environment and installs the pinned packages with pip.
pub(crate) fn make_python_environment() -> Result<()> {
    eprintln!("→ making a Python environment in target/venv with what {PYTHON_PACKAGES} lists");
    let make = || run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment()));
    // Debian's python3 comes without venv; others bring it along.
    make().or_else(|_| install_package("python3 -m venv", "python3-venv").and_then(|()| make()))?;
    run(Command::new(python()).args(["-m", "pip", "install", "--quiet", "--requirement", PYTHON_PACKAGES]))?;
    std::fs::copy(PYTHON_PACKAGES, stamp())?;
    Ok(())
}
