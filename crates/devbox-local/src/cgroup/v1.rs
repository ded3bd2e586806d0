//! cgroup version 1: a hierarchy per controller.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use devbox_types::devbox::Resources;

use super::{AGENT_PIDS, BoxCgroups, CPU_PERIOD_MICROSECONDS, DEFAULT_PIDS, MemoryLimits, open_procs, set};
use crate::error::{Step, StepError};

/// The hierarchies that we use, by controller.
#[derive(Debug)]
pub(super) struct Hierarchies {
    controllers: BTreeMap<String, PathBuf>,
}

impl Hierarchies {
    pub(super) fn new(controllers: BTreeMap<String, PathBuf>) -> Self {
        Self { controllers }
    }

    pub(super) fn limit(&self) -> bool {
        ["cpu", "memory", "pids"].iter().all(|controller| self.controllers.contains_key(*controller))
    }

    /// The directory of an instance in each hierarchy. Two controllers may share one.
    pub(super) fn folders(&self, instance: &str) -> Vec<PathBuf> {
        let mut folders: Vec<_> =
            self.controllers.values().map(|mount| mount.join("devbox").join(instance)).collect();
        folders.sort();
        folders.dedup();
        folders
    }

    pub(super) fn create(
        &self,
        instance: &str,
        id: &str,
        resources: &Resources,
    ) -> Result<BoxCgroups, StepError> {
        let mut made = BoxCgroups::default();
        for folder in self.folders(instance) {
            let folder = folder.join(id);
            for part in ["agent", "payload"] {
                fs::create_dir_all(folder.join(part)).step("make a cgroup")?;
            }
            made.agent_procs.push(folder.join("agent/cgroup.procs"));
            made.payload_procs.push(open_procs(&folder.join("payload"))?);
        }
        for (controller, mount) in &self.controllers {
            let folder = mount.join("devbox").join(instance).join(id);
            limit(controller, &folder, resources)?;
        }
        Ok(made)
    }
}

fn limit(controller: &str, folder: &Path, resources: &Resources) -> Result<(), StepError> {
    let (agent, payload) = (&folder.join("agent"), &folder.join("payload"));
    match controller {
        "memory" => {
            let limits = MemoryLimits::of(resources);
            limit_memory(folder, limits.whole)?;
            limit_memory(agent, limits.agent)?;
            limit_memory(payload, limits.payload)
        }
        "pids" => {
            set(agent, "pids.max", AGENT_PIDS)?;
            set(payload, "pids.max", resources.pids.unwrap_or(DEFAULT_PIDS))
        }
        "cpu" => resources.cpu_millis.map_or(Ok(()), |millis| {
            set(payload, "cpu.cfs_period_us", CPU_PERIOD_MICROSECONDS)?;
            set(payload, "cpu.cfs_quota_us", u64::from(millis) * CPU_PERIOD_MICROSECONDS / 1000)
        }),
        _ => Ok(()),
    }
}

/// Limits memory, and memory with swap to the same, where the kernel counts swap.
fn limit_memory(folder: &Path, bytes: Option<u64>) -> Result<(), StepError> {
    let Some(bytes) = bytes else { return Ok(()) };
    set(folder, "memory.limit_in_bytes", bytes)?;
    let with_swap = "memory.memsw.limit_in_bytes";
    if folder.join(with_swap).exists() { set(folder, with_swap, bytes) } else { Ok(()) }
}
