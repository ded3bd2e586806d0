//! The second cargo, which builds the agent.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::{Result, dependencies, variable};

/// What the second cargo may see of our environment, by name or (with a final `*`) by beginning. Everything else is
/// ours alone: flags, wrappers, linkers and features of the first cargo would change the agent, or build it again.
const ENVIRONMENT: [&str; 19] = [
    "PATH",
    "HOME",
    "USER",
    "TMPDIR",
    "RUSTC",
    "RUSTUP_*",
    "CARGO_HOME",
    "CARGO_HTTP_*",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_*",
    "CARGO_REGISTRIES_*",
    "CARGO_REGISTRY_*",
    "CARGO_SOURCE_*",
    "CARGO_TERM_*",
    "SSL_CERT_*",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
];

/// Builds the agent and says where it is.
pub(crate) fn build() -> Result<PathBuf> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = manifest.ancestors().nth(2).ok_or("this crate is not in its workspace")?;
    let target = format!("{}-unknown-linux-gnu", variable("CARGO_CFG_TARGET_ARCH")?.display());
    let target_directory = target_directory()?;

    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(workspace)
        .args([
            "build",
            "--locked",
            "--profile",
            "agent",
            "--package",
            "devbox-agent",
            "--bin",
            "devbox-agent",
        ])
        .args(["--target", &target, "--target-dir"])
        .arg(&target_directory)
        .env_clear()
        .envs(env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_passed_on)))
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    let status = cargo.status().map_err(|error| format!("cannot run {cargo:?}: {error}"))?;
    if !status.success() {
        return Err(format!(
            "the agent could not be built ({status}); its messages are above. Set DEVBOX_AGENT_BIN to a ready agent, \
             or DEVBOX_AGENT_STUB=1 to go without one"
        )
        .into());
    }

    let agent = target_directory.join(target).join("agent/devbox-agent");
    let listing = fs::read_to_string(agent.with_extension("d"))?;
    for path in dependencies::watched(&listing, workspace) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    Ok(agent)
}

/// `target/agent-build`, from `target/PROFILE/build/devbox-HASH/out`. It cannot be the first cargo's own directory: that
/// one is locked while we run.
fn target_directory() -> Result<PathBuf> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let outer: &Path = out.ancestors().nth(4).ok_or("OUT_DIR is not inside a target directory")?;
    Ok(outer.join("agent-build"))
}

fn is_passed_on(name: &str) -> bool {
    ENVIRONMENT.iter().any(|known| match known.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == *known,
    })
}
