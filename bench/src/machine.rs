//! Where the figures were measured.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// The machine, as far as it matters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) processor: String,
    /// How many of them this process may use.
    pub(crate) processors: usize,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// Load average of the last minute when the run began: other work beside it spoils figures.
    pub(crate) load: f64,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let name = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let name = name.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name);
        let load = read("/proc/loadavg");
        Self {
            processor: name.to_owned(),
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default(),
        }
    }
}

/// The commit of the source tree, with `+` if something in it was changed; `unknown` where there is no git.
pub(crate) fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(arguments).output();
        let output = output.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    if changed.is_none_or(|changed| changed.is_empty()) { commit } else { commit + "+" }
}

/// The name of the file system that a folder is on.
pub(crate) fn file_system(folder: &Path) -> Result<String> {
    let found = rustix::fs::statfs(folder).with_context(|| format!("look at {}", folder.display()))?;
    Ok(name(found.f_type).to_owned())
}

/// Names of magic numbers, from statfs(2).
fn name(magic: i64) -> &'static str {
    match magic {
        0x0102_1994 => "tmpfs",
        0x9123_683E => "btrfs",
        0x794C_7630 => "overlay",
        0x5846_5342 => "xfs",
        0xEF53 => "ext4",
        _ => "unknown",
    }
}
