//! The real, static agent on a plain directory, without a server.
//!
//! It runs in a mount namespace of its own, chrooted to the directory, with `/proc` and `/dev` over empty folders of these
//! names in it, and serves HTTP/1.1 on a unix socket that is bound elsewhere. Needs root.

#![expect(unsafe_code, reason = "what a child does between fork and exec has no safe wrapper")]

use std::ffi::{CStr, CString};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::server::{binary, send};
use crate::steps::{Filter, Steps, be_traced, trace};

/// How long an answer may take; generous, because tests share two cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// How an agent is started.
#[derive(Debug, Clone, Default)]
pub struct AgentOptions {
    runs_as: Option<u32>,
    default_user: Option<u32>,
    steps: Option<Steps>,
}

impl AgentOptions {
    /// The folders that an agent's root has for mounts, and that hold nothing.
    pub const MOUNTED: [&str; 2] = ["proc", "dev"];

    /// The whole process runs as this user and group, not as root.
    #[must_use]
    pub fn running_as(self, uid: u32) -> Self {
        Self { runs_as: Some(uid), ..self }
    }

    /// Calls act as this user unless they say otherwise, as they do in a box.
    #[must_use]
    pub fn acting_as(self, uid: u32) -> Self {
        Self { default_user: Some(uid), ..self }
    }

    /// Its steps are counted, and one of them may fail.
    #[must_use]
    pub fn traced(self, steps: &Steps) -> Self {
        Self { steps: Some(steps.clone()), ..self }
    }
}

/// A running agent. Dropping it kills it, as `kill -9` does, and waits for its end.
#[derive(Debug)]
pub struct BareAgent {
    process: Process,
    socket: PathBuf,
    _folder: TempDir,
}

#[derive(Debug)]
enum Process {
    Child(Child),
    Traced { pid: u32, tracer: Option<JoinHandle<()>> },
}

/// The agent under test: `$DEVBOX_AGENT`, or the one that `cargo build` embedded in `devbox`.
///
/// # Errors
/// If it was not built.
pub fn agent_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("DEVBOX_AGENT") {
        return Ok(path.into());
    }
    let target = binary().ancestors().nth(2).context("the binary is in a target directory")?.to_path_buf();
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let path = target.join("agent-build").join(triple).join("agent/devbox-agent");
    anyhow::ensure!(path.exists(), "{} is not there: `cargo build` makes it", path.display());
    Ok(path)
}

impl BareAgent {
    /// Starts an agent on a directory, which gets a `proc` and a `dev`. It may not serve yet, and what an earlier one left may not be
    /// repaired yet: [`Self::wait_until_ready`].
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(root: &Path, options: &AgentOptions) -> Result<Self> {
        let folder = TempDir::with_prefix("devbox-agent-")?;
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket)?;
        let program = std::fs::File::open(agent_binary()?)?;
        for name in AgentOptions::MOUNTED {
            std::fs::create_dir_all(root.join(name))?;
        }
        let user = match (options.default_user, options.runs_as) {
            (Some(uid), _) => format!("\"{uid}\""),
            (None, Some(_)) => "\"\"".to_owned(),
            (None, None) => "\"root\"".to_owned(),
        };
        let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        command.env_clear().env(
            "DEVBOX_AGENT_CONFIG",
            format!(
                r#"{{"listen":{{"descriptor":{}}},"default_user":{user},"workdir":"/"}}"#,
                listener.as_raw_fd()
            ),
        );
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let filter = options.steps.as_ref().map(|_| Filter::new());
        let entry = Entry {
            root: c_string(root)?,
            proc: c_string(&root.join("proc"))?,
            dev: c_string(&root.join("dev"))?,
            uid: options.runs_as,
            listener: listener.into(),
            program: program.into(),
            filter,
        };
        // SAFETY: `enter` makes system calls only, and allocates nothing.
        unsafe { command.pre_exec(move || entry.enter()) };
        let process = match &options.steps {
            None => Process::Child(command.spawn().context("cannot start the agent")?),
            Some(steps) => start_traced(command, steps.clone())?,
        };
        Ok(Self { process, socket, _folder: folder })
    }

    /// The same, and waits until it serves.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn serve(root: &Path, options: &AgentOptions) -> Result<Self> {
        let agent = Self::start(root, options)?;
        agent.wait_until_ready()?;
        Ok(agent)
    }

    /// Waits until it answers: by then, what an earlier one left half done is repaired.
    ///
    /// # Errors
    /// If it ends before.
    pub fn wait_until_ready(&self) -> Result<()> {
        let mut stream = self.connect()?;
        stream.write_all(b"GET /v1/agent HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).context("the agent ended before it served")?;
        if !answer.starts_with(b"HTTP/1.1 200") {
            bail!("the agent does not greet: {:?}", String::from_utf8_lossy(&answer));
        }
        Ok(())
    }

    /// A new connection.
    ///
    /// # Errors
    /// If the agent is gone.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match &self.process {
            Process::Child(child) => child.id(),
            Process::Traced { pid, .. } => *pid,
        }
    }

    /// Asks it to end, as a server does, and waits for that.
    ///
    /// # Errors
    /// If it is gone already.
    pub fn stop(mut self) -> Result<()> {
        send(self.pid(), libc::SIGTERM)?;
        self.reap()?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Those of wait(2).
    pub fn wait(mut self) -> Result<()> {
        self.reap()?;
        Ok(())
    }

    fn reap(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.process {
            Process::Child(child) => Ok(Some(child.wait()?)),
            Process::Traced { tracer, .. } => {
                if let Some(tracer) = tracer.take() {
                    tracer.join().map_err(|_| anyhow::anyhow!("the tracer panicked"))?;
                }
                Ok(None)
            }
        }
    }
}

impl Drop for BareAgent {
    fn drop(&mut self) {
        let reaped = match &self.process {
            Process::Child(_) => false,
            Process::Traced { tracer, .. } => tracer.is_none(),
        };
        if !reaped {
            // It may have ended by itself; its number is its own until it is waited for.
            let _ = send(self.pid(), libc::SIGKILL);
            let _ = self.reap();
        }
    }
}

fn start_traced(command: Command, steps: Steps) -> Result<Process> {
    let (sender, receiver) = mpsc::channel();
    let tracer = std::thread::Builder::new().name("tracer".to_owned()).spawn(move || {
        trace(command, &steps, |child| {
            // The tracer reaps it, so the child's handle is of no more use than its number.
            let _ = sender.send(child.map(|child| child.id()));
        });
    })?;
    let pid = receiver.recv().context("the tracer ended")?.context("cannot start the agent")?;
    Ok(Process::Traced { pid, tracer: Some(tracer) })
}

fn c_string(path: &Path) -> Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// What the child does before it becomes the agent.
struct Entry {
    root: CString,
    proc: CString,
    dev: CString,
    uid: Option<u32>,
    listener: OwnedFd,
    program: OwnedFd,
    filter: Option<Filter>,
}

impl Entry {
    fn enter(&self) -> io::Result<()> {
        const NOTHING: &CStr = c"none";
        // SAFETY: each call takes numbers, and C strings that live through it.
        unsafe {
            done(libc::unshare(libc::CLONE_NEWNS))?;
            let private = libc::MS_REC | libc::MS_PRIVATE;
            let null = std::ptr::null();
            done(libc::mount(NOTHING.as_ptr(), c"/".as_ptr(), null, private, null.cast()))?;
            done(libc::mount(c"/proc".as_ptr(), self.proc.as_ptr(), null, libc::MS_BIND, null.cast()))?;
            done(libc::mount(c"/dev".as_ptr(), self.dev.as_ptr(), null, libc::MS_BIND, null.cast()))?;
            done(libc::chroot(self.root.as_ptr()))?;
            done(libc::chdir(c"/".as_ptr()))?;
            if let Some(uid) = self.uid {
                done(libc::setgroups(0, null.cast()))?;
                done(libc::setresgid(uid, uid, uid))?;
                done(libc::setresuid(uid, uid, uid))?;
            }
        }
        stay_open(self.listener.as_raw_fd())?;
        stay_open(self.program.as_raw_fd())?;
        self.filter.as_ref().map_or(Ok(()), be_traced)
    }
}

fn stay_open(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFD takes a number.
    done(unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) })
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
