//! The namespaces that the spawner itself lives in.
//!
//! The spawner is PID 1 of a process namespace of its own, so that the kernel ends every box with it, however it ends.
//! And it has a mount namespace of its own, so that the pool's image and the templates are seen by nobody else and go with
//! it. A first process, which the server started, only waits for it; the spawner ends when that one does.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{PidfdFlags, Resource, Rlimit, getrlimit, setrlimit};

use super::serve;
use crate::error::{Step, StepError};
use crate::sys::clone;

/// The spawner's `main`: what an executable does whose first argument is [`SPAWNER_ARGUMENT`](super::SPAWNER_ARGUMENT).
///
/// Call it before any thread is started. It returns when the server has gone.
#[must_use]
pub fn run_spawner() -> ExitCode {
    match enter() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, cause = %error.source, "the spawner ends");
            ExitCode::FAILURE
        }
    }
}

fn enter() -> Result<(), StepError> {
    let socket = take_socket().step("take the server's socket over")?;
    let parent = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
        .step("open the spawner's first process")?;
    let child = clone::child(libc::CLONE_NEWPID | libc::CLONE_NEWNS, None, || match run(&socket, &parent) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(%error, cause = %error.source, "the spawner ends");
            1
        }
    })
    .step("enter the spawner's namespaces")?;
    // The server must see the end of the socket when the child ends, not this process.
    drop(socket);
    match child.wait().step("wait for the spawner")? {
        Some(0) => Ok(()),
        _ => Err(StepError::new("run the spawner to its end", io::Error::from_raw_os_error(libc::ECHILD))),
    }
}

/// `parent` is the first process. It is watched, because a signal at its death (`PR_SET_PDEATHSIG`) would be forgotten by the
/// kernel whenever the spawner acts as somebody else.
fn run(socket: &OwnedFd, parent: &OwnedFd) -> Result<(), StepError> {
    let recursive = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", recursive).step("cut the spawner's mounts off from the host's")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", "/proc", "proc", flags, None).step("mount the spawner's /proc")?;
    allow_descriptors().step("allow the spawner as many descriptors as it may have")?;
    serve::run(socket.as_fd(), parent.as_fd())
}

/// Each box costs the spawner two descriptors, so the usual 1,024 would end at 500 boxes.
fn allow_descriptors() -> io::Result<()> {
    let allowed = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: allowed.maximum, ..allowed })?)
}

/// Takes the socket from standard input, where the server put it, and leaves nothing there.
fn take_socket() -> io::Result<OwnedFd> {
    let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(socket)
}
