//! The server's side of starting a spawner.

use std::fmt;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use devbox_types::{Coded, ErrorCode};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

use super::SPAWNER_ARGUMENT;
use super::boxes::LOCK_STEP;
use super::channel;
use super::protocol::{Answer, Call, Failure, Ready, Reply, Request};
use crate::config::LocalConfig;
use crate::error::{Step, StepError};

/// Why no spawner could be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// This process may not do what a spawner has to.
    #[error("the local backend must be started as root")]
    NotRoot,
    /// A step on this side failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// Another server uses the data directory.
    #[error("another server uses the data directory")]
    InUse,
    /// The spawner could not do its part; its log says more.
    #[error("the spawner cannot {step}")]
    Spawner {
        /// Which step of it failed.
        step: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The spawner ended, or answered something else than was asked.
    #[error("the spawner ended before it was ready")]
    Ended,
}

impl Coded for LaunchError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::InUse => ErrorCode::Busy,
            Self::NotRoot => ErrorCode::PermissionDenied,
            Self::Step(_) | Self::Spawner { .. } | Self::Ended => ErrorCode::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::InUse => {
                Some("stop the other server, or choose another directory with --data-dir".to_owned())
            }
            Self::NotRoot | Self::Step(_) | Self::Spawner { .. } | Self::Ended => None,
        }
    }
}

/// A running spawner. Dropping it ends the spawner, and with it every box.
pub struct Spawner {
    pub(crate) socket: OwnedFd,
    pub(crate) child: Child,
    pub(crate) ready: Ready,
    pub(crate) sockets: OwnedFd,
}

/// How the log is written: of the environment the spawner keeps this, so that both write one log.
const LOG_VARIABLES: [&str; 2] = ["DEVBOX_LOG", "DEVBOX_LOG_FORMAT"];

impl Spawner {
    /// Starts the spawner: a second process of this executable that keeps root's rights, while the caller gives them up.
    ///
    /// Call it as root, before a runtime or any thread is started. It returns when the spawner has cleared what an
    /// earlier one left behind and is ready to make boxes.
    ///
    /// # Errors
    /// Each names the step that failed; nothing is left running then.
    pub fn launch(config: &LocalConfig) -> Result<Self, LaunchError> {
        if !rustix::process::geteuid().is_root() {
            return Err(LaunchError::NotRoot);
        }
        let agent = sealed(&config.agent).step("seal the agent in memory")?;
        let (socket, theirs) = channel::pair().step("make the spawner's socket")?;
        let mut child = Command::new(&config.program)
            .arg(SPAWNER_ARGUMENT)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(LOG_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .step("start the spawner")?;
        match greet(&socket, config, &agent) {
            Ok((ready, sockets)) => Ok(Self { socket, child, ready, sockets }),
            Err(error) => {
                drop(socket);
                if let Err(error) = child.wait() {
                    tracing::warn!(%error, "cannot wait for the spawner");
                }
                Err(error)
            }
        }
    }

    /// The process that was started; the spawner itself is its only child. Either's end is the end of every box.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Which pool was chosen: `btrfs` or `plain`.
    #[must_use]
    pub fn pool(&self) -> &str {
        &self.ready.pool
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Spawner").field("pid", &self.child.id()).field("ready", &self.ready).finish()
    }
}

fn greet(socket: &OwnedFd, config: &LocalConfig, agent: &OwnedFd) -> Result<(Ready, OwnedFd), LaunchError> {
    let hello = Request { sequence: 0, call: Call::Hello(config.settings.clone()) };
    channel::send(socket.as_fd(), &hello, &[agent.as_fd()]).step("greet the spawner")?;
    let reply = channel::receive::<Reply>(socket.as_fd()).step("hear from the spawner")?;
    let Some((reply, mut descriptors)) = reply else { return Err(LaunchError::Ended) };
    match (reply.outcome, descriptors.pop()) {
        (Ok(Answer::Ready(ready)), Some(sockets)) => Ok((ready, sockets)),
        (Err(Failure::Step { step, errno: libc::EWOULDBLOCK }), _) if step == LOCK_STEP => {
            Err(LaunchError::InUse)
        }
        (Err(Failure::Step { step, errno }), _) => {
            Err(LaunchError::Spawner { step, source: io::Error::from_raw_os_error(errno) })
        }
        (Err(Failure::Full(_)), _) => Err(LaunchError::Spawner {
            step: "make its pool".to_owned(),
            source: io::Error::from(io::ErrorKind::StorageFull),
        }),
        _ => Err(LaunchError::Ended),
    }
}

/// Puts a program into memory that nobody can change any more, and that is not open for writing: what is may not be
/// executed (ETXTBSY).
fn sealed(program: &[u8]) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("devbox-agent", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(program)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}
