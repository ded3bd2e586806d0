//! cgroup version 2: one hierarchy.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use devbox_types::devbox::Resources;
use rustix::fs::{Mode, OFlags};

use super::{AGENT_PIDS, BoxCgroups, CPU_PERIOD_MICROSECONDS, DEFAULT_PIDS, MemoryLimits, open_procs, set};
use crate::error::{Step, StepError};

/// The controllers that are handed down to boxes.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// The one hierarchy.
#[derive(Debug)]
pub(super) struct Hierarchy {
    root: PathBuf,
}

impl Hierarchy {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn limit(&self) -> bool {
        let listed = fs::read_to_string(self.root.join("cgroup.controllers")).unwrap_or_default();
        CONTROLLERS.iter().all(|controller| listed.split_whitespace().any(|found| found == *controller))
    }

    pub(super) fn folder(&self, instance: &str) -> PathBuf {
        self.root.join("devbox").join(instance)
    }

    pub(super) fn create(
        &self,
        instance: &str,
        id: &str,
        resources: &Resources,
    ) -> Result<BoxCgroups, StepError> {
        let folder = self.folder(instance).join(id);
        let (agent, payload) = (folder.join("agent"), folder.join("payload"));
        fs::create_dir_all(&folder).step("make a cgroup")?;
        let above = [self.root.clone(), self.root.join("devbox"), self.folder(instance), folder.clone()];
        for parent in above {
            hand_down(&parent)?;
        }
        fs::create_dir_all(&agent).step("make a cgroup")?;
        fs::create_dir_all(&payload).step("make a cgroup")?;
        if self.limit() {
            limit(&folder, resources)?;
        }
        Ok(BoxCgroups {
            agent_procs: Vec::new(),
            start_in: Some(open_folder(&agent)?),
            payload_procs: vec![open_procs(&payload)?],
        })
    }
}

/// Lets the children of a cgroup have the controllers that it has itself.
fn hand_down(folder: &Path) -> Result<(), StepError> {
    let available =
        fs::read_to_string(folder.join("cgroup.controllers")).step("read a cgroup's controllers")?;
    for controller in CONTROLLERS {
        if available.split_whitespace().any(|found| found == controller) {
            set(folder, "cgroup.subtree_control", format!("+{controller}"))?;
        }
    }
    Ok(())
}

fn limit(folder: &Path, resources: &Resources) -> Result<(), StepError> {
    let (agent, payload) = (&folder.join("agent"), &folder.join("payload"));
    let limits = MemoryLimits::of(resources);
    limit_memory(folder, limits.whole)?;
    limit_memory(agent, limits.agent)?;
    limit_memory(payload, limits.payload)?;
    set(agent, "pids.max", AGENT_PIDS)?;
    set(payload, "pids.max", resources.pids.unwrap_or(DEFAULT_PIDS))?;
    if let Some(millis) = resources.cpu_millis {
        let quota = u64::from(millis) * CPU_PERIOD_MICROSECONDS / 1000;
        set(payload, "cpu.max", format!("{quota} {CPU_PERIOD_MICROSECONDS}"))?;
    }
    Ok(())
}

fn limit_memory(folder: &Path, bytes: Option<u64>) -> Result<(), StepError> {
    let Some(bytes) = bytes else { return Ok(()) };
    set(folder, "memory.max", bytes)?;
    if folder.join("memory.swap.max").exists() { set(folder, "memory.swap.max", 0) } else { Ok(()) }
}

fn open_folder(folder: &Path) -> Result<OwnedFd, StepError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::empty()).step("open a cgroup")
}
