//! Pinned tools that are no part of a Debian system: cargo-deny, the Python environment of the tests, the tus client.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::Result;

use crate::command::{cargo, on_path, run, target};
use crate::need::install_package;

const DENY_VERSION: &str = "0.20.2";
/// What the Python environment holds, pinned; a change of these files makes it anew.
const PYTHON_PACKAGES: [&str; 2] = ["sdk/python/requirements-dev.txt", "tests/tus/requirements.txt"];
/// The client that runs with Node.js, pinned with all that it needs.
const TUS_CLIENT: &str = "tests/tus";

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
    let wanted = wanted_packages();
    wanted.is_ok_and(|wanted| fs::read(stamp()).is_ok_and(|made_with| made_with == wanted))
}

fn wanted_packages() -> io::Result<Vec<u8>> {
    let lists = PYTHON_PACKAGES.map(fs::read).into_iter().collect::<io::Result<Vec<_>>>()?;
    Ok(lists.concat())
}

/// Makes the environment and installs the pinned packages with pip.
pub(crate) fn make_python_environment() -> Result<()> {
    let lists = PYTHON_PACKAGES.join(" and ");
    eprintln!("→ making a Python environment in target/venv with what {lists} list");
    let make = || run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment()));
    // Debian's python3 comes without venv; others bring it along.
    make().or_else(|_| install_package("python3 -m venv", "python3-venv").and_then(|()| make()))?;
    let mut install = Command::new(python());
    install.args(["-m", "pip", "install", "--quiet"]);
    for list in PYTHON_PACKAGES {
        install.args(["--requirement", list]);
    }
    run(&mut install)?;
    fs::write(stamp(), wanted_packages()?)?;
    Ok(())
}

/// Where the tus client is installed, and what drives it lies beside it: Node.js looks for packages from there.
fn tus_client() -> PathBuf {
    target().join("tus")
}

/// Whether the pinned tus client is installed.
pub(crate) fn tus_client_is_ready() -> bool {
    let wanted = fs::read(Path::new(TUS_CLIENT).join("package-lock.json"));
    let stamp = fs::read(tus_client().join("installed.json"));
    wanted.is_ok_and(|wanted| stamp.is_ok_and(|stamp| stamp == wanted))
}

/// Installs the pinned tus client with npm; no package's own scripts are run.
pub(crate) fn install_tus_client() -> Result<()> {
    eprintln!("→ installing the tus client of {TUS_CLIENT}/package-lock.json into target/tus");
    let (from, to) = (Path::new(TUS_CLIENT), tus_client());
    fs::create_dir_all(&to)?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(from.join(name), to.join(name))?;
    }
    let mut npm = Command::new("npm");
    run(npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&to))?;
    // Written last, so that a half-made one is made again.
    fs::copy(from.join("package-lock.json"), to.join("installed.json"))?;
    Ok(())
}

/// Puts what drives the tus client where the client is.
pub(crate) fn place_tus_driver() -> Result<()> {
    fs::copy(Path::new(TUS_CLIENT).join("client.mjs"), tus_client().join("client.mjs"))?;
    Ok(())
}
