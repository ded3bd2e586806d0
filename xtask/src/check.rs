//! Checks of the source as a whole.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::{self, cargo};
use crate::need::{self, Need};
use crate::{generate, graph, tools};

/// All of them, as a developer wants them before a commit.
pub(crate) fn run() -> Result<()> {
    format()?;
    graph::check()?;
    clippy()?;
    need::meet(&[Need::CargoDeny])?;
    deny()?;
    generate::check()
}

/// rustfmt changes nothing.
pub(crate) fn format() -> Result<()> {
    command::run(cargo().args(["fmt", "--all", "--check"])).context("run `cargo fmt --all`")
}

/// No lint speaks up, in code or tests.
pub(crate) fn clippy() -> Result<()> {
    command::run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

/// Layering, licences and sources, from `deny.toml`. Advisories are not asked for: their database is a git repository
/// on the network, and the tests run offline.
pub(crate) fn deny() -> Result<()> {
    let binary = tools::deny().context("cargo-deny is not installed")?;
    command::run(Command::new(binary).args([
        "--offline",
        "--all-features",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))
}
