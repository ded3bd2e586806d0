//! The child's side of a start: from clone to execve.
//!
//! This code runs in a copy of a process that may have had other threads, whose locks are copied as they were: it makes
//! system calls and nothing else. No allocation, no lock, no panic.
//!
//! Until `execve` the child keeps every capability the parent has permitted (`PR_SET_KEEPCAPS`), although it has become
//! another user: a process of that user, or box root, which lacks the capability that guards the agent, can therefore
//! neither trace it nor take descriptors out of it while it still holds copies of the agent's. `execve` takes them away.

use std::ffi::{CStr, c_int};
use std::os::fd::RawFd;

use crate::command::{Identity, Prepared};

/// The step at which a child failed, as it goes over the pipe to the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    Session = 1,
    Cgroup = 2,
    Streams = 3,
    Identity = 4,
    Directory = 5,
    Descriptors = 6,
    Execute = 7,
    /// The program is there, what it is to be run by is not.
    Interpreter = 8,
}

impl Step {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        let all = [
            Self::Session,
            Self::Cgroup,
            Self::Streams,
            Self::Identity,
            Self::Directory,
            Self::Descriptors,
            Self::Execute,
            Self::Interpreter,
        ];
        all.into_iter().find(|step| *step as u8 == byte)
    }
}

/// How many bytes a failed child writes: the step, and errno in native byte order.
pub(crate) const FAILURE_LENGTH: usize = 5;

/// All that the child needs. Every descriptor is above 2.
pub(crate) struct Plan<'a> {
    pub(crate) prepared: &'a Prepared,
    pub(crate) identity: Option<&'a Identity>,
    pub(crate) streams: [RawFd; 3],
    pub(crate) cgroups: &'a [RawFd],
    /// The directory from which the working directory is looked up.
    pub(crate) below: Option<RawFd>,
    pub(crate) directory_optional: bool,
    /// Where to report a failure; closed by a successful execve.
    pub(crate) report: RawFd,
}

/// Becomes the program, or reports why not and exits.
///
/// # Safety
/// To be called only in a process that was just cloned without `CLONE_VM`, with all signals blocked.
#[expect(unsafe_code, reason = "between clone and execve there are only system calls")]
pub(crate) unsafe fn become_program(plan: &Plan<'_>) -> ! {
    // SAFETY: this is a fresh single-threaded copy, as the caller promises; the called functions only make system calls.
    unsafe {
        let (step, errno) = match prepare(plan) {
            Ok(()) => execute(plan.prepared),
            Err(failure) => failure,
        };
        let mut message = [0; FAILURE_LENGTH];
        message[0] = step as u8;
        message[1..].copy_from_slice(&errno.to_ne_bytes());
        libc::write(plan.report, message.as_ptr().cast(), message.len());
        libc::_exit(127)
    }
}

/// Everything before execve.
///
/// # Safety
/// As [`become_program`].
#[expect(unsafe_code, reason = "between clone and execve there are only system calls")]
unsafe fn prepare(plan: &Plan<'_>) -> Result<(), (Step, c_int)> {
    // SAFETY: system calls on this process alone, with pointers to values that live across each call.
    unsafe {
        check(Step::Session, libc::setsid())?;
        reset_signals();
        libc::umask(0o022);
        for descriptor in plan.cgroups {
            let written = libc::write(*descriptor, c"0".as_ptr().cast(), 1);
            check(Step::Cgroup, if written == 1 { 0 } else { -1 })?;
        }
        for (target, source) in (0..).zip(plan.streams) {
            check(Step::Streams, libc::dup2(source, target))?;
        }
        be_killed_first();
        if let Some(identity) = plan.identity {
            assume(identity)?;
        }
        enter_directory(plan)?;
        close_on_exec_above_streams()?;
        check(Step::Descriptors, have_usual_descriptors())
    }
}

/// Gives every signal its default action and unblocks it: a Rust program ignores SIGPIPE, which a child would inherit.
///
/// By raw system calls, because the C library refuses to touch the two signals that it uses itself.
///
/// # Safety
/// As [`become_program`].
#[expect(unsafe_code, reason = "between clone and execve there are only system calls")]
unsafe fn reset_signals() {
    /// The kernel's `struct sigaction` on 64-bit machines: handler, flags, restorer, mask. All zero is the default action.
    const DEFAULT_ACTION: [u64; 4] = [0; 4];
    static NONE: u64 = 0;
    const SET_LENGTH: usize = size_of::<u64>();
    // SAFETY: the calls read constants of the size they expect and touch only this process. That SIGKILL and SIGSTOP are
    // refused is as it should be.
    unsafe {
        let nowhere = std::ptr::null_mut::<u64>();
        for signal in 1..=64 {
            libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT_ACTION.as_ptr(), nowhere, SET_LENGTH);
        }
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const NONE, nowhere, SET_LENGTH);
    }
}

/// How much sooner than its parent a program is killed when memory is used up, of 1,000: the agent, which it came from,
/// serves the files of all, and shall be left.
const OOM_SCORE: &CStr = c"300";

/// Writes [`OOM_SCORE`]. Anybody may raise his own; where there is no /proc, it stays the parent's.
///
/// # Safety
/// As [`become_program`].
#[expect(unsafe_code, reason = "between clone and execve there are only system calls")]
unsafe fn be_killed_first() {
    // SAFETY: system calls on this process alone, with constant strings.
    unsafe {
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file != -1 {
            libc::write(file, OOM_SCORE.as_ptr().cast(), OOM_SCORE.count_bytes());
            libc::close(file);
        }
    }
}

/// How many descriptors a program may have until it asks for more: what Linux gives, and what select(2) can take.
const USUAL_DESCRIPTORS: libc::rlim_t = 1024;

/// Goes back to the usual limit of descriptors, whatever the parent has taken for itself.
///
/// # Safety
/// As [`become_program`].
#[expect(unsafe_code, reason = "between clone and execve there are only system calls")]
unsafe fn have_usual_descriptors() -> c_int {
    // SAFETY: system calls on this process alone, with a structure of plain numbers that lives across them.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == -1 {
            return -1;
        }
        limit.rlim_cur = limit.rlim_max.min(USUAL_DESCRIPTORS);
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    }
}

/// Becomes the user, by raw system calls: the C library's wrappers would signal threads that do not exist here.
///
/// # Safety
/// As [`become_program`].
#[expect(unsafe_code, reason = "between clone and execve there are only system calls")]
unsafe fn assume(identity: &Identity) -> Result<(), (Step, c_int)> {
    let Identity { uid, gid, groups } = identity;
    // SAFETY: system calls on this process alone; the group list is valid for its length.
    unsafe {
        check_long(Step::Identity, libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        check_long(Step::Identity, libc::syscall(libc::SYS_setresgid, *gid, *gid, *gid))?;
        check(Step::Identity, libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
        check_long(Step::Identity, libc::syscall(libc::SYS_setresuid, *uid, *uid, *uid))
    }
}

/// Enters the working directory as the user.
///
/// # Safety
/// As [`become_program`].
#[expect(unsafe_code, reason = "between clone and execve there are only system calls")]
unsafe fn enter_directory(plan: &Plan<'_>) -> Result<(), (Step, c_int)> {
    let path = plan.prepared.directory.as_ptr();
    // SAFETY: system calls on this process alone; the path is a C string.
    unsafe {
        let root = match plan.below {
            Some(below) => libc::fchdir(below),
            None => libc::chdir(c"/".as_ptr()),
        };
        check(Step::Directory, root)?;
        let entered = check(Step::Directory, libc::chdir(path));
        if plan.directory_optional { Ok(()) } else { entered }
    }
}

/// Leaves only the standard streams open across execve, whatever the parent had.
///
/// # Safety
/// As [`become_program`].
#[expect(unsafe_code, reason = "between clone and execve there are only system calls")]
unsafe fn close_on_exec_above_streams() -> Result<(), (Step, c_int)> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: system calls on this process alone. Descriptors that are not open are refused with EBADF, harmlessly.
    unsafe {
        let flags = libc::CLOSE_RANGE_CLOEXEC;
        if libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, flags) == 0 {
            return Ok(());
        }
        // Linux before 5.11: one by one, as far as descriptors may go.
        let mut limit: libc::rlimit = std::mem::zeroed();
        check(Step::Descriptors, libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit))?;
        let end = c_int::try_from(limit.rlim_cur).unwrap_or(c_int::MAX);
        for descriptor in 3..end {
            libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        Ok(())
    }
}

/// Tries each place where the program may be; returns the failure that says most.
///
/// # Safety
/// As [`become_program`].
#[expect(unsafe_code, reason = "between clone and execve there are only system calls")]
unsafe fn execute(prepared: &Prepared) -> (Step, c_int) {
    let mut denied = false;
    for candidate in &prepared.candidates {
        // SAFETY: path and arrays are NULL-terminated and live in `prepared`.
        unsafe { libc::execve(candidate.as_ptr(), prepared.argv.as_ptr(), prepared.envp.as_ptr()) };
        match errno() {
            libc::EACCES => denied = true,
            libc::ENOTDIR => (),
            libc::ENOENT => {
                // SAFETY: the path is a C string.
                if unsafe { libc::access(candidate.as_ptr(), libc::F_OK) } == 0 {
                    return (Step::Interpreter, libc::ENOENT);
                }
            }
            other => return (Step::Execute, other),
        }
    }
    (Step::Execute, if denied { libc::EACCES } else { libc::ENOENT })
}

fn check(step: Step, result: c_int) -> Result<(), (Step, c_int)> {
    if result == -1 { Err((step, errno())) } else { Ok(()) }
}

fn check_long(step: Step, result: libc::c_long) -> Result<(), (Step, c_int)> {
    if result == -1 { Err((step, errno())) } else { Ok(()) }
}

#[expect(unsafe_code, reason = "std's last_os_error is not documented to be async-signal-safe")]
fn errno() -> c_int {
    // SAFETY: the location is this thread's own and always valid.
    unsafe { *libc::__errno_location() }
}
