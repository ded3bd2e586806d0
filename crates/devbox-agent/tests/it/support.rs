//! What the tests share.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devbox_agent::{LocalGuest, LocalGuestOptions};
use devbox_guest::Guest;
use devbox_guest::client::GuestClient;
use devbox_guest::transport::StreamTransport;
use devbox_types::agent::{AgentConfig, AgentListen};
use devbox_types::process::{ProcessEvent, ProcessRequest, StdinSource};
use devbox_types::{ActingUser, BoxPath, Grant};
use futures_util::stream::{self, StreamExt as _};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A guest of a new folder, which has a `workspace`.
pub(crate) fn local_guest() -> (TempDir, LocalGuest) {
    let folder = tempfile::tempdir().expect("a folder");
    let guest = LocalGuest::open(LocalGuestOptions::below(folder.path())).expect("a guest");
    let workspace = BoxPath::parse(b"/workspace").expect("a path");
    devbox_agent::workdir::ensure(guest.root(), &workspace).expect("a workspace");
    (folder, guest)
}

/// The agent's binary, serving its standard streams.
pub(crate) struct Agent {
    pub(crate) client: Arc<GuestClient>,
    process: Child,
    _folder: TempDir,
}

impl Agent {
    /// Starts it: as root, as PID 1 of a root that is thrown away; as anybody else, in this one.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let is_root = rustix::process::geteuid().is_root();
        let mut command = if is_root { disposable_box(&folder) } else { Command::new(AGENT) };
        let config = AgentConfig {
            listen: AgentListen::Stdio,
            default_user: if is_root { ActingUser::root() } else { ActingUser::Default },
            workdir: format!("/tmp/devbox-agent-{}", std::process::id()),
            env: [("GREETING".to_owned(), "hello".to_owned())].into(),
            payload_cgroups: Vec::new(),
            init: is_root,
        };
        let config = serde_json::to_string(&config).expect("json");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env(AgentConfig::VARIABLE, config);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("the agent starts");
        let (input, output) = (process.stdin.take().expect("stdin"), process.stdout.take().expect("stdout"));
        let transport = StreamTransport::of_halves(output, input);
        let client = Arc::new(GuestClient::to_agent(Arc::new(transport)));
        Self { client, process, _folder: folder }
    }

    pub(crate) fn guest(&self) -> Arc<dyn Guest> {
        Arc::clone(&self.client) as _
    }

    /// Closes its standard input, and waits for its end.
    pub(crate) async fn end(self) -> ExitStatus {
        let Self { client, mut process, .. } = self;
        drop(client);
        tokio::time::timeout(PATIENCE, process.wait()).await.expect("the agent ends").expect("a status")
    }

    pub(crate) async fn shell(&self, script: &str) -> String {
        shell(&*self.client, &Grant::whole_box(), script).await
    }
}

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_devbox-agent");

/// The capabilities that programs of a box have, the agent's guard, and one that would open every lock.
const BOUNDING_SET: &str = "-all,+sys_ptrace,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,\
    +net_bind_service,+sys_chroot,+mknod,+audit_write,+setfcap,+wake_alarm";

/// Namespaces of its own, over this machine's root an overlay that is gone with them, and the capabilities of a box.
fn disposable_box(folder: &TempDir) -> Command {
    let script = format!(
        "set -e; mount -t tmpfs none \"$1\"; cd \"$1\"; mkdir upper work root; \
         mount -t overlay none -o lowerdir=/,upperdir=upper,workdir=work root; cp \"$2\" root/agent; \
         mount -t proc none root/proc; mount --rbind /dev root/dev; mount -t tmpfs none root/tmp; \
         exec setpriv --no-new-privs --bounding-set {BOUNDING_SET} chroot root /agent"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script, "sh"]);
    command.arg(folder.path()).arg(AGENT);
    command
}

/// What a script says, both streams together.
pub(crate) async fn shell(guest: &dyn Guest, grant: &Grant, script: &str) -> String {
    let request = ProcessRequest {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: Default::default(),
        cwd: None,
        stdin: StdinSource::Null,
        timeout_ms: Some(20_000),
    };
    let mut events = guest.run(grant, request, stream::empty().boxed()).await.expect("a run");
    let mut said = Vec::new();
    while let Some(event) = events.next().await {
        match event.expect("an event") {
            ProcessEvent::Stdout(bytes) | ProcessEvent::Stderr(bytes) => said.extend_from_slice(&bytes),
            ProcessEvent::Started { .. } | ProcessEvent::Exited(_) => (),
        }
    }
    String::from_utf8_lossy(&Bytes::from(said)).into_owned()
}
