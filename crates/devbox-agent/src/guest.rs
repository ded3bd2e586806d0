//! The guest of the box that this process runs in.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use devbox_exec::{Engine, EngineConfig};
use devbox_fs::{BoxRoot, Confinement, FsError, RootOptions};
use devbox_guest::Guest;
use devbox_types::agent::{AgentGreeting, Feature, PROTOCOL, Promise, ProtocolRange};
use devbox_types::{ActingUser, BoxPath, Problem};
use rustix::fs::{CWD, Mode, OFlags};
use tokio::sync::Semaphore;

use crate::unpack::MAX_UNPACKING;
use crate::uploads::Desk;
use crate::work::{MAX_PACKING, Publishing};

/// How a guest is made.
#[derive(Debug)]
pub struct LocalGuestOptions {
    /// The root of its files: `/` in a box, any folder in tests.
    pub root: PathBuf,
    /// Whom calls act as unless they say otherwise.
    pub default_user: ActingUser,
    /// Environment variables of every process.
    pub env: BTreeMap<String, String>,
    /// `cgroup.procs` files, open for writing, of the cgroups that every program is put into.
    pub cgroups: Vec<OwnedFd>,
    /// How paths are confined; `None`: as well as this kernel can.
    pub confinement: Option<Confinement>,
}

impl LocalGuestOptions {
    /// A guest of the files below `root`, as the user that this process runs as.
    #[must_use]
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            default_user: ActingUser::Default,
            env: BTreeMap::new(),
            cgroups: Vec::new(),
            confinement: None,
        }
    }
}

/// The engines behind the contract: files below a root, and processes.
///
/// Must be used within a tokio runtime; see the module `work` for what runs where.
pub struct LocalGuest {
    pub(crate) root: BoxRoot,
    pub(crate) engine: Engine,
    pub(crate) env: BTreeMap<String, String>,
    /// The directory that working directories start from, where that is not `/`.
    pub(crate) directory_root: Option<Arc<OwnedFd>>,
    pub(crate) packing: Arc<Semaphore>,
    pub(crate) unpacking: Arc<Semaphore>,
    pub(crate) publishing: Publishing,
    pub(crate) uploads: Desk,
}

impl LocalGuest {
    /// Opens the root; what an earlier agent left half done there is finished or undone before this returns.
    ///
    /// # Errors
    /// What keeps the root from being opened.
    pub fn open(options: LocalGuestOptions) -> Result<Self, FsError> {
        let LocalGuestOptions { root: path, default_user, env, cgroups, confinement } = options;
        let root = BoxRoot::open(&path, RootOptions { default_user, confinement })?;
        Ok(Self {
            uploads: Desk::new(root.clone()),
            root,
            engine: Engine::new(EngineConfig { cgroups }),
            env,
            directory_root: directory_root(&path)?,
            packing: Arc::new(Semaphore::new(MAX_PACKING)),
            unpacking: Arc::new(Semaphore::new(MAX_UNPACKING)),
            publishing: Publishing::default(),
        })
    }

    /// The processes.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The files.
    #[must_use]
    pub fn root(&self) -> &BoxRoot {
        &self.root
    }

    fn promises(&self) -> Vec<Promise> {
        let mut promises = vec![
            Promise::AtomicReplace,
            Promise::VerifiedWrite,
            Promise::CompareAndSwap,
            Promise::Confinement,
            Promise::BoundedMemory,
        ];
        // Without a journal a batch is all or nothing unless this process is killed in the middle of publishing it.
        if self.root.is_journalled() {
            promises.push(Promise::AllOrNothingBatch);
        }
        promises.sort_unstable();
        promises
    }
}

fn directory_root(path: &Path) -> Result<Option<Arc<OwnedFd>>, FsError> {
    if path == Path::new("/") {
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| FsError::Io {
        step: "open",
        path: BoxPath::root(),
        source: errno.into(),
    })?;
    Ok(Some(Arc::new(opened)))
}

#[async_trait]
impl Guest for LocalGuest {
    async fn greet(&self) -> Result<AgentGreeting, Problem> {
        Ok(AgentGreeting {
            protocol: ProtocolRange { min: PROTOCOL, max: PROTOCOL },
            features: Feature::ALL.map(|feature| feature.as_str().to_owned()).to_vec(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            promises: self.promises(),
        })
    }
}

impl fmt::Debug for LocalGuest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LocalGuest").field("root", &self.root).finish_non_exhaustive()
    }
}
