//! Builds the agent and embeds it, so that `cargo build` alone gives a working `devbox`.
//!
//! The agent is a program of its own: static, for size, for the machine that `devbox` is built for. So a second cargo
//! builds it here, with its own target directory (`agent-build`, beside the profile's own, shared by all profiles) and a
//! clean environment. It runs again only if a file that the agent was made from has changed.
//!
//! | variable | meaning |
//! |---|---|
//! | `DEVBOX_AGENT_BIN` | a ready agent to embed; nothing is built |
//! | `DEVBOX_AGENT_STUB` | anything but empty: embed nothing, and have `devbox serve` refuse |
//!
//! Under clippy nothing is embedded either: it is recognised by the wrapper that it puts around rustc. `cargo check`
//! cannot be told from `cargo build` here; it builds the agent once, or is told not to with `DEVBOX_AGENT_STUB=1`.

#![expect(clippy::print_stdout, reason = "cargo reads what a build script prints")]

mod dependencies;
mod nested;

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs};

use sha2::{Digest as _, Sha256};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    for variable in ["DEVBOX_AGENT_BIN", "DEVBOX_AGENT_STUB", "RUSTC_WORKSPACE_WRAPPER"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    println!("cargo:rerun-if-changed=build");
    let agent = if is_stub() { Vec::new() } else { agent()? };
    let out = PathBuf::from(variable("OUT_DIR")?);
    write_if_changed(&out.join("agent.bin"), &agent)?;
    println!("cargo:rustc-env=DEVBOX_AGENT_SHA256={}", hex(&Sha256::digest(&agent)));
    Ok(())
}

fn is_stub() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let wrapper = env::var_os("RUSTC_WORKSPACE_WRAPPER").unwrap_or_default();
    let is_clippy = Path::new(&wrapper).file_stem().is_some_and(|name| name == "clippy-driver");
    !is_set("DEVBOX_AGENT_BIN") && (is_set("DEVBOX_AGENT_STUB") || is_clippy)
}

fn agent() -> Result<Vec<u8>> {
    let path = match env::var_os("DEVBOX_AGENT_BIN").filter(|path| !path.is_empty()) {
        Some(path) => {
            println!("cargo:rerun-if-changed={}", Path::new(&path).display());
            PathBuf::from(path)
        }
        None => nested::build()?,
    };
    let agent =
        fs::read(&path).map_err(|error| format!("cannot read the agent {}: {error}", path.display()))?;
    if !agent.starts_with(b"\x7fELF") {
        return Err(format!("{} is no ELF program", path.display()).into());
    }
    Ok(agent)
}

/// Keeps the time of an unchanged file, so that nothing is compiled again for it.
fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    Ok(fs::write(path, bytes)?)
}

fn variable(name: &str) -> Result<OsString> {
    env::var_os(name).ok_or_else(|| format!("cargo did not set {name}").into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
