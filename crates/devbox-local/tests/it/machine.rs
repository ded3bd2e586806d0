//! A data directory with a spawner and a backend over it, and ways to look into its boxes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use devbox_backend::{Backend, Reach};
use devbox_local::{LocalBackend, LocalConfig, PoolChoice, Spawner};
use devbox_types::BoxId;
use devbox_types::devbox::{BoxSpec, Resources};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) struct Machine {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) backend: LocalBackend,
    pub(crate) pool: String,
    pub(crate) spawner: i32,
    /// The process that the server started, which waits for the spawner.
    pub(crate) parent: i32,
}

impl Machine {
    pub(crate) async fn start(pool: PoolChoice) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), |config| config.with_pool(pool)).await
    }

    pub(crate) async fn start_in(
        directory: tempfile::TempDir,
        change: impl FnOnce(LocalConfig) -> LocalConfig,
    ) -> Self {
        let spawner = Spawner::launch(&change(config(directory.path()))).expect("a spawner");
        let pool = spawner.pool().to_owned();
        let parent = i32::try_from(spawner.pid()).expect("a pid");
        let pid = inner(spawner.pid());
        let backend = LocalBackend::connect(spawner).await.expect("a backend");
        Self { directory, backend, pool, spawner: pid, parent }
    }

    pub(crate) async fn create(&self) -> BoxId {
        self.create_with(Resources::default()).await
    }

    pub(crate) async fn create_with(&self, resources: Resources) -> BoxId {
        let id = fresh_id();
        self.backend.create(&id, &spec(resources)).await.expect("a box");
        id
    }

    /// Runs a shell command as the box's root, among the box's programs.
    pub(crate) async fn run(&self, id: &BoxId, command: &str) -> Outcome {
        self.ask(id, &format!("POST /run HTTP/1.1\r\n\r\n{command}")).await
    }

    /// Runs a command that must succeed, and answers its output.
    pub(crate) async fn output(&self, id: &BoxId, command: &str) -> String {
        let outcome = self.run(id, command).await;
        assert_eq!(outcome.status, 0, "{command}: {}", outcome.output);
        outcome.output.trim_end().to_owned()
    }

    /// Sends a request of the stand-in's, and reads the whole answer.
    pub(crate) async fn ask(&self, id: &BoxId, request: &str) -> Outcome {
        let Reach::Transport(transport) = self.backend.reach(id).await.expect("reachable") else {
            panic!("not a transport");
        };
        let mut stream = transport.connect().await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        let (head, output) = answer.split_once("\r\n\r\n").expect("an answer");
        let words = head.lines().next().unwrap_or_default();
        let status = words.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
        Outcome { status, output: output.to_owned() }
    }

    /// The host's pid of a box's first process.
    pub(crate) fn first_pid(&self, id: &BoxId) -> i32 {
        let name = id.as_str();
        let found = processes().into_iter().find(|(_, root)| {
            std::fs::read_to_string(root.join("etc/hostname")).is_ok_and(|host| host.trim() == name)
        });
        found.map(|(pid, _)| pid).expect("a first process")
    }

    /// How many descriptors the spawner holds, but for the user namespaces that it keeps: one for each range of ids it ever
    /// used, and which are free depends on the other boxes of this machine.
    pub(crate) fn spawner_descriptors(&self) -> usize {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.spawner)).expect("descriptors");
        let targets =
            descriptors.flatten().filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok());
        targets.filter(|target| !target.to_string_lossy().starts_with("user:")).count()
    }

    /// How many boxes the pool holds, seen through the spawner, who alone has it mounted.
    pub(crate) fn pool_entries(&self) -> usize {
        let data = self.directory.path().strip_prefix("/").expect("an absolute path");
        let data = Path::new("/proc").join(self.spawner.to_string()).join("root").join(data);
        let boxes = ["plain/boxes", "plain/doomed", "pool/boxes"].map(|folder| data.join(folder));
        boxes.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).map(Iterator::count).sum()
    }

    pub(crate) async fn end(self) -> tempfile::TempDir {
        self.backend.shutdown().await.expect("shut down");
        self.directory
    }
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) output: String,
}

pub(crate) fn config(directory: &Path) -> LocalConfig {
    let agent = std::fs::read(stand_in()).expect("the stand-in");
    let mut config = LocalConfig::new(directory, agent);
    config.program = PathBuf::from(env!("CARGO_BIN_EXE_devbox-local-spawner"));
    config
}

pub(crate) fn spec(resources: Resources) -> BoxSpec {
    BoxSpec { template: "host".to_owned(), env: BTreeMap::new(), resources }
}

pub(crate) fn fresh_id() -> BoxId {
    let mut bits = [0; 10];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").expect("random"), &mut bits)
        .expect("random");
    BoxId::from_random(bits)
}

/// The spawner itself: the only child of the process that the server started.
fn inner(outer: u32) -> i32 {
    let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).expect("children");
    children.trim().parse().expect("one child")
}

/// Every process on the host that is PID 1 of a namespace, with the path of its root.
fn processes() -> Vec<(i32, PathBuf)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("processes") {
        let path = entry.expect("an entry").path();
        let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let first = status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"));
        if first && pid != 1 {
            found.push((pid, path.join("root")));
        }
    }
    found
}

/// Compiles the stand-in once for this run.
fn stand_in() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stand-in-agent");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/agent.c");
        let built = Command::new("cc")
            .args(["-static", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&target)
            .arg(source)
            .status()
            .expect("a C compiler");
        assert!(built.success(), "the stand-in does not compile");
        target
    })
}
