//! What the local backend is told at its start.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the files of boxes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolChoice {
    /// `btrfs` if it can be had, else `plain`.
    #[default]
    Auto,
    /// Subvolumes of btrfs: of the data directory if it is on btrfs, else of a sparse image mounted from it.
    Btrfs,
    /// Plain directories.
    Plain,
}

/// What the local backend is told at its start.
#[derive(Clone)]
pub struct LocalConfig {
    /// The executable that becomes the spawner when its first argument is [`SPAWNER_ARGUMENT`](crate::SPAWNER_ARGUMENT).
    pub program: PathBuf,
    /// The static agent binary that becomes PID 1 of every box.
    pub agent: Cow<'static, [u8]>,
    /// Everything else, as the spawner gets it.
    pub settings: Settings,
}

/// The part of the configuration that the spawner gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The directory of boxes, records and pool; made if it is missing. One spawner at a time.
    pub data_dir: PathBuf,
    /// Who may open the agents' sockets: the user that the server runs as.
    pub server_uid: u32,
    /// The group of the agents' sockets.
    pub server_gid: u32,
    /// Where the files of boxes are kept.
    pub pool: PoolChoice,
    /// The `/usr` that the `host` template shows.
    pub host_usr: PathBuf,
    /// Whether to spare every move of a process between cgroups a grace period of the kernel (about 10 ms after idle).
    /// It makes fork and exit on the whole machine a little dearer while the spawner runs.
    pub favor_dynamic_cgroups: bool,
}

impl LocalConfig {
    /// The defaults: this executable, sockets for the current user, pool `auto`, the machine's own `/usr`.
    pub fn new(data_dir: impl Into<PathBuf>, agent: impl Into<Cow<'static, [u8]>>) -> Self {
        Self {
            program: PathBuf::from("/proc/self/exe"),
            agent: agent.into(),
            settings: Settings {
                data_dir: data_dir.into(),
                server_uid: rustix::process::getuid().as_raw(),
                server_gid: rustix::process::getgid().as_raw(),
                pool: PoolChoice::Auto,
                host_usr: PathBuf::from("/usr"),
                favor_dynamic_cgroups: true,
            },
        }
    }

    /// Names the user and group that the server will run as.
    #[must_use]
    pub fn with_server_user(mut self, uid: u32, gid: u32) -> Self {
        self.settings.server_uid = uid;
        self.settings.server_gid = gid;
        self
    }

    /// Chooses where the files of boxes are kept.
    #[must_use]
    pub fn with_pool(mut self, pool: PoolChoice) -> Self {
        self.settings.pool = pool;
        self
    }
}

impl fmt::Debug for LocalConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LocalConfig")
            .field("program", &self.program)
            .field("agent_bytes", &self.agent.len())
            .field("settings", &self.settings)
            .finish()
    }
}
