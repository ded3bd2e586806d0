//! Limits: one cgroup per box, with the agent and its programs apart in it.
//!
//! `devbox/INSTANCE/ID/payload` bears the limits of the box; `devbox/INSTANCE/ID/agent` has a small reserve of its own,
//! so that a box whose programs are at their limit, or frozen, still answers for its files.
//!
//! | module | subject |
//! |---|---|
//! | [`v1`] | a hierarchy per controller |
//! | [`v2`] | one hierarchy |
//! | [`hierarchy`] | which of them this machine has |

mod hierarchy;
mod v1;
mod v2;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use devbox_types::devbox::Resources;
use rustix::process::Pid;

use crate::error::{Step, StepError};

/// What the agent of a box has beyond what its programs may use: they cannot take it from it. Where the programs have no
/// limit, the agent has this one.
const AGENT_MEMORY: u64 = 256 << 20;
/// Threads of the agent.
const AGENT_PIDS: u32 = 256;
/// Processes and threads of a box for which nothing else was asked: a fork bomb must not fill the host's table.
const DEFAULT_PIDS: u32 = 4096;
/// The period that processor time is shared out in.
const CPU_PERIOD_MICROSECONDS: u64 = 100_000;

/// The limits of memory of a box: of the whole, of its agent, of its programs.
///
/// Page cache counts as the memory of whoever reads or writes a file first, and most of it is the agent's. With a limit of
/// its own of [`AGENT_MEMORY`] it read a file of 512 MiB from the disk that it had just written, and waited for the disk
/// as it wrote. So it may use what its programs leave free; together they are bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MemoryLimits {
    whole: Option<u64>,
    agent: Option<u64>,
    payload: Option<u64>,
}

impl MemoryLimits {
    fn of(resources: &Resources) -> Self {
        match resources.memory_bytes {
            None => Self { whole: None, agent: Some(AGENT_MEMORY), payload: None },
            Some(bytes) => {
                Self { whole: Some(bytes.saturating_add(AGENT_MEMORY)), agent: None, payload: Some(bytes) }
            }
        }
    }
}

/// How long a cgroup whose processes were killed is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The cgroups of one data directory.
#[derive(Debug)]
pub(crate) struct Cgroups {
    kind: Kind,
    instance: String,
}

#[derive(Debug)]
enum Kind {
    V1(v1::Hierarchies),
    V2(v2::Hierarchy),
    /// This machine lets us make none.
    None,
}

/// The cgroups of one box, ready for its first process.
#[derive(Debug, Default)]
pub(crate) struct BoxCgroups {
    /// `cgroup.procs` files of the agent's part, to write the first process to.
    agent_procs: Vec<PathBuf>,
    /// The directory to start the first process in, where the kernel can do that (v2).
    pub(crate) start_in: Option<OwnedFd>,
    /// `cgroup.procs` files of the programs' part, open for writing: the kernel checks who opened them, so the agent can
    /// move its children in without any right on the host.
    pub(crate) payload_procs: Vec<OwnedFd>,
}

impl Cgroups {
    /// Finds the hierarchies, and clears what an earlier spawner of this instance left in them.
    pub(crate) fn open(instance: String) -> Result<Self, StepError> {
        let kind = match hierarchy::find().step("read the table of mounts")? {
            Some(hierarchy::Found::V1(controllers)) => Kind::V1(v1::Hierarchies::new(controllers)),
            Some(hierarchy::Found::V2(root)) => Kind::V2(v2::Hierarchy::new(root)),
            None => Kind::None,
        };
        let cgroups = Self { kind, instance };
        cgroups.sweep().step("clear the cgroups of an earlier run")?;
        Ok(cgroups)
    }

    /// Whether cpu, memory and processes can all be limited.
    pub(crate) fn limit(&self) -> bool {
        match &self.kind {
            Kind::V1(hierarchies) => hierarchies.limit(),
            Kind::V2(hierarchy) => hierarchy.limit(),
            Kind::None => false,
        }
    }

    /// Makes the cgroups of a box and sets its limits.
    pub(crate) fn create(&self, id: &str, resources: &Resources) -> Result<BoxCgroups, StepError> {
        let made = match &self.kind {
            Kind::V1(hierarchies) => hierarchies.create(&self.instance, id, resources),
            Kind::V2(hierarchy) => hierarchy.create(&self.instance, id, resources),
            Kind::None => Ok(BoxCgroups::default()),
        };
        if made.is_err()
            && let Err(error) = self.remove(id)
        {
            tracing::warn!(box_id = id, %error, "cannot remove the cgroups of a box that was not made");
        }
        made
    }

    /// Removes the cgroups of a box whose processes were killed.
    pub(crate) fn remove(&self, id: &str) -> io::Result<()> {
        for folder in self.folders() {
            remove_tree(&folder.join(id))?;
        }
        Ok(())
    }

    /// Removes those of every box, and the instance's own.
    pub(crate) fn sweep(&self) -> io::Result<()> {
        for folder in self.folders() {
            remove_tree(&folder)?;
        }
        Ok(())
    }

    /// The directory of this instance in each hierarchy.
    fn folders(&self) -> Vec<PathBuf> {
        match &self.kind {
            Kind::V1(hierarchies) => hierarchies.folders(&self.instance),
            Kind::V2(hierarchy) => vec![hierarchy.folder(&self.instance)],
            Kind::None => Vec::new(),
        }
    }
}

impl BoxCgroups {
    /// Puts the first process of a box where it belongs, unless it was started there.
    pub(crate) fn enter(&self, process: Pid) -> io::Result<()> {
        for procs in &self.agent_procs {
            std::fs::write(procs, process.as_raw_pid().to_string())?;
        }
        Ok(())
    }
}

/// Removes a cgroup and those below it. Kernel files in them are no obstacle; a process that is still dying is waited for.
fn remove_tree(folder: &Path) -> io::Result<()> {
    let children = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        children => children?,
    };
    for child in children {
        let child = child?;
        if child.file_type()?.is_dir() {
            remove_tree(&child.path())?;
        }
    }
    let step = Duration::from_millis(2);
    let mut waited = Duration::ZERO;
    loop {
        match std::fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && waited < PATIENCE => {
                std::thread::sleep(step);
                waited += step;
            }
            removed => return removed,
        }
    }
}

fn set(folder: &Path, file: &str, value: impl ToString) -> Result<(), StepError> {
    std::fs::write(folder.join(file), value.to_string()).step(format!("set the limit {file}"))
}

fn open_procs(folder: &Path) -> Result<OwnedFd, StepError> {
    let file = std::fs::File::options().write(true).open(folder.join("cgroup.procs"));
    Ok(file.step("open a cgroup for the agent")?.into())
}
