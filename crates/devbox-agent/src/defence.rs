//! What keeps box root from becoming its agent: two independent locks.
//!
//! To trace a process, read its memory or take its descriptors (ptrace, `/proc/PID/mem`, `/proc/PID/fd`, `pidfd_getfd`,
//! `process_vm_readv`) the kernel asks `__ptrace_may_access`. Box root has the agent's uid, so it passes unless one of these
//! holds, each of which is enough against whoever lacks CAP_SYS_PTRACE in the box's user namespace, as all box programs do:
//!
//! 1. The agent is not dumpable ([`hide`]): its first act. A thread that changes its file system user, as file calls do, is
//!    given what the sysctl `fs.suid_dumpable` says: 0 or 2, which lock alike; a machine set to 1, for debugging programs
//!    that change users, has the second lock only.
//! 2. The agent is permitted a capability that the other is not ([`keep_guard`]), by `cap_ptrace_access_check`. Which one
//!    does not matter; CAP_WAKE_ALARM is asked for first because it can do nothing at all in a user namespace. Whoever
//!    starts the agent leaves it in the agent's bounding set, beside what programs may have. The agent takes it out of its
//!    own bounding, inheritable and ambient sets before it has any other thread, so no program that it ever starts can have
//!    it; until that program's `execve` the child itself keeps it permitted, and is as guarded as the agent.
//!
//! CAP_SYS_PTRACE opens both, so it leaves the bounding set with the guard, whatever the agent was started with.
//!
//! Debuggers stay usable on all other processes of the box.

use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// Capabilities that may be the guard, in order of preference. What programs of a box may need is not among them, but for
/// the last, which container runtimes grant and few programs know.
const GUARDS: [CapabilitySet; 3] =
    [CapabilitySet::WAKE_ALARM, CapabilitySet::SYS_PTRACE, CapabilitySet::AUDIT_WRITE];

/// Why this process is not defended.
#[derive(Debug, thiserror::Error)]
pub enum DefenceError {
    /// The kernel refused.
    #[error("cannot {step}")]
    Refused {
        /// What was refused.
        step: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// None of the guard capabilities is permitted.
    #[error("none of CAP_WAKE_ALARM, CAP_SYS_PTRACE and CAP_AUDIT_WRITE is permitted to the agent")]
    NoGuard,
}

/// The first lock: nobody without CAP_SYS_PTRACE may look into this process. No core is dumped either.
pub fn hide() -> Result<(), DefenceError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(refused("become undumpable"))
}

/// The second lock: keeps a capability that no child can ever have. To be called before there is another thread, because
/// capability sets belong to threads.
pub fn keep_guard() -> Result<(), DefenceError> {
    let mut sets = capabilities(None).map_err(refused("read the capabilities"))?;
    let guard = GUARDS.into_iter().find(|guard| sets.permitted.contains(*guard));
    let guard = guard.ok_or(DefenceError::NoGuard)?;
    rustix::thread::clear_ambient_capability_set().map_err(refused("clear the ambient capabilities"))?;
    for capability in [guard, CapabilitySet::SYS_PTRACE] {
        rustix::thread::remove_capability_from_bounding_set(capability)
            .map_err(refused("take the guard out of the bounding set"))?;
    }
    sets.inheritable = CapabilitySet::empty();
    set_capabilities(None, sets).map_err(refused("clear the inheritable capabilities"))
}

/// Marks every descriptor but the standard ones close-on-exec, whoever left it open.
#[expect(unsafe_code, reason = "rustix has no close_range")]
pub fn close_on_exec() -> Result<(), DefenceError> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: the call closes nothing; it sets a flag on descriptors of this process.
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    let error = io::Error::last_os_error();
    match (done, error.raw_os_error()) {
        (0, _) => Ok(()),
        // Before Linux 5.11: the process engine does it in every child.
        (_, Some(libc::ENOSYS | libc::EINVAL)) => Ok(()),
        _ => Err(DefenceError::Refused { step: "mark descriptors close-on-exec", source: error }),
    }
}

fn refused(step: &'static str) -> impl Fn(rustix::io::Errno) -> DefenceError {
    move |errno| DefenceError::Refused { step, source: errno.into() }
}
