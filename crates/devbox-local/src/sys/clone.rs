//! Making processes in new namespaces: clone3(2), without sharing memory.

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::{Pid, WaitId, WaitIdOptions};

/// What clone3(2) takes, up to version 2 of it.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A child process.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
}

impl Child {
    /// Kills it.
    pub(crate) fn kill(&self) {
        // The only failure is that it has ended already.
        let _ended = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
    }

    /// Waits until it ends, and collects it. Answers its exit status, or `None` if a signal ended it.
    pub(crate) fn wait(&self) -> io::Result<Option<i32>> {
        use std::os::fd::AsFd;
        let id = WaitId::PidFd(self.pidfd.as_fd());
        let status =
            rustix::io::retry_on_intr(|| rustix::process::waitid(id.clone(), WaitIdOptions::EXITED))?;
        Ok(status.and_then(|status| status.exit_status()))
    }
}

/// Makes a child in the new namespaces that `flags` (`CLONE_NEW…`) name; it runs `body` and ends with its result.
///
/// Only for a process with one thread: the child has a copy of the memory, in which no other thread can hold a lock.
///
/// # Errors
/// What clone3(2) says.
pub(crate) fn child(
    flags: libc::c_int,
    cgroup: Option<BorrowedFd<'_>>,
    body: impl FnOnce() -> i32,
) -> io::Result<Child> {
    let mut pidfd: RawFd = -1;
    let mut arguments = CloneArguments {
        flags: u64::from((flags | libc::CLONE_PIDFD).cast_unsigned()),
        pidfd: std::ptr::from_mut(&mut pidfd).addr() as u64,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        ..CloneArguments::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    #[expect(unsafe_code, reason = "clone3 has no safe wrapper")]
    // SAFETY: the structure is of the size given and outlives the call; no memory is shared (no CLONE_VM), no stack is
    // named, so the child goes on from here on its own copy, as after fork(2). The process has one thread, by contract.
    let pid = super::checked(unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArguments>())
    })?;
    if pid == 0 {
        let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(101);
        leave(status);
    }
    #[expect(unsafe_code, reason = "the kernel hands the pidfd out as a number")]
    // SAFETY: clone3 succeeded with CLONE_PIDFD, so this is a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
    Ok(Child { pid, pidfd })
}

/// `CLONE_INTO_CGROUP`; too wide for the type that libc gives its flags.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Ends a child without running what its parent registered to run at exit.
fn leave(status: i32) -> ! {
    #[expect(unsafe_code, reason = "_exit has no safe wrapper")]
    // SAFETY: it only ends this process, whose memory nobody shares.
    unsafe {
        libc::_exit(status)
    }
}
