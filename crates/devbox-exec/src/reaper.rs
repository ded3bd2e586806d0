//! Who collects which exit status.
//!
//! A child is entered here under the lock under which it is cloned, so no status can come before there is somebody to
//! take it. It leaves under the same lock when it is reaped; as long as it is here its pid is its own, and may be
//! signalled. Two callers reap: the task of each child, woken by its pidfd, takes that child only; where this process
//! is PID 1, [`Reaper::reap_all`] takes whatever has ended, and hands on what is not an orphan. Either order is right.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, WaitStatus, pidfd_send_signal, waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Exited(i32),
    Killed(i32),
    /// Somebody else in this process waited for it.
    Lost,
}

/// The children whose status nobody has collected yet.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    children: Mutex<HashMap<Pid, oneshot::Sender<Ending>>>,
}

impl Reaper {
    /// Clones a child with `clone`, and enters it before it can end.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        clone: impl FnOnce() -> io::Result<(Pid, OwnedFd)>,
    ) -> io::Result<Child> {
        let mut children = self.lock();
        let (pid, pidfd) = clone()?;
        let (sender, ending) = oneshot::channel();
        let pidfd = watch(pidfd).map_err(|(pidfd, error)| {
            abandon(pid, &pidfd);
            error
        })?;
        children.insert(pid, sender);
        drop(children);
        Ok(Child { pid, pidfd, ending, reaper: Arc::clone(self) })
    }

    /// Calls `signal` while `pid` is certainly that of an unreaped child of ours; otherwise does nothing.
    pub(crate) fn while_unreaped<T>(&self, pid: Pid, signal: impl FnOnce() -> T) -> Option<T> {
        let children = self.lock();
        children.contains_key(&pid).then(signal)
    }

    /// Reaps every child that has ended, ours and orphans. Only for PID 1: it takes the children of everybody in this
    /// process.
    pub(crate) fn reap_all(&self) {
        let mut children = self.lock();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let Some(child) = children.remove(&pid) {
                let _: Result<(), Ending> = child.send(ending_of(status));
            }
        }
    }

    /// Reaps one child of ours, if it has ended and nobody has yet.
    fn reap(&self, pid: Pid) {
        let mut children = self.lock();
        if !children.contains_key(&pid) {
            return;
        }
        let ending = match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(None) | Err(Errno::INTR) => return,
            Ok(Some(status)) => ending_of_id(&status),
            Err(_) => Ending::Lost,
        };
        if let Some(child) = children.remove(&pid) {
            let _: Result<(), Ending> = child.send(ending);
        }
    }

    /// The map is changed by single inserts and removes, so a panic elsewhere cannot leave it half changed.
    fn lock(&self) -> MutexGuard<'_, HashMap<Pid, oneshot::Sender<Ending>>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A child that was started, and will be reaped.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
    ending: oneshot::Receiver<Ending>,
    reaper: Arc<Reaper>,
}

impl Child {
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until it has ended and was reaped.
    ///
    /// # Cancel safety
    /// May be dropped and called again until it has returned once.
    pub(crate) async fn wait(&mut self) -> Ending {
        loop {
            tokio::select! {
                biased;
                ending = &mut self.ending => return ending.unwrap_or(Ending::Lost),
                ready = self.pidfd.readable() => match ready {
                    Ok(mut ready) => {
                        self.reaper.reap(self.pid);
                        ready.clear_ready();
                    }
                    Err(_) => return Ending::Lost,
                },
            }
        }
    }
}

/// Registers a pidfd, which becomes readable when its process has ended.
#[expect(unsafe_code, reason = "AsyncFd has no safe constructor")]
fn watch(pidfd: OwnedFd) -> Result<AsyncFd<OwnedFd>, (OwnedFd, io::Error)> {
    // SAFETY: the descriptor is owned by what registers it, and stays the same and open until that is dropped.
    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }
        .map_err(|failure| failure.into_parts())
}

/// Ends a child that cannot be watched, and reaps it: it is dying, so this does not take long.
fn abandon(pid: Pid, pidfd: &OwnedFd) {
    let _: rustix::io::Result<()> = pidfd_send_signal(pidfd, Signal::KILL);
    let _: rustix::io::Result<Option<WaitIdStatus>> = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
}

fn ending_of(status: WaitStatus) -> Ending {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, Some(signal)) => Ending::Killed(signal),
        (None, None) => Ending::Lost,
    }
}

fn ending_of_id(status: &WaitIdStatus) -> Ending {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, Some(signal)) => Ending::Killed(signal),
        (None, None) => Ending::Lost,
    }
}
