//! The parent's side of a start: pipes, clone, and the child's report.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use crate::child::{FAILURE_LENGTH, Plan, Step, become_program};
use crate::command::{Command, Identity, Prepared, Stdin};
use crate::error::ExecError;
use crate::reaper::{Child, Reaper};

/// A child between clone and execve, and our ends of its pipes.
pub(crate) struct Spawned {
    pub(crate) child: Child,
    pub(crate) stdin: Option<pipe::Sender>,
    pub(crate) stdout: pipe::Receiver,
    pub(crate) stderr: pipe::Receiver,
    pub(crate) report: Report,
}

/// Where a child says that it could not become the program. Closed without a word, it has.
pub(crate) struct Report {
    pipe: pipe::Receiver,
}

/// Clones a child on its way to the program. Takes as long as a fork and does not wait for the child.
pub(crate) fn spawn(
    command: &Command,
    prepared: &Prepared,
    cgroups: &[OwnedFd],
    reaper: &Arc<Reaper>,
) -> Result<Spawned, ExecError> {
    let failed = |step| move |source| failure(step, source);
    let owner = command.identity.as_ref();
    let (stdin, our_stdin) = match command.stdin {
        Stdin::Null => (null_device().map_err(failed("open /dev/null"))?, None),
        Stdin::Bytes(_) | Stdin::Stream => {
            let (theirs, ours) = pipe_for(owner).map_err(failed("make a pipe"))?;
            (theirs, Some(ours))
        }
    };
    let (our_stdout, stdout) = pipe_for(owner).map_err(failed("make a pipe"))?;
    let (our_stderr, stderr) = pipe_for(owner).map_err(failed("make a pipe"))?;
    let (our_report, report) = pipe_for(None).map_err(failed("make a pipe"))?;
    // All that may fail here does so before there is a child.
    let our_stdin = our_stdin.map(sender).transpose().map_err(failed("watch a pipe"))?;
    let our_stdout = receiver(our_stdout).map_err(failed("watch a pipe"))?;
    let our_stderr = receiver(our_stderr).map_err(failed("watch a pipe"))?;
    let report_pipe = receiver(our_report).map_err(failed("watch a pipe"))?;
    let cgroups: Vec<_> = cgroups.iter().map(|cgroup| cgroup.as_raw_fd()).collect();
    let plan = Plan {
        prepared,
        identity: owner,
        streams: [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()],
        cgroups: &cgroups,
        below: command.directory.below.as_ref().map(|below| below.as_raw_fd()),
        directory_optional: command.directory.optional,
        report: report.as_raw_fd(),
    };
    let child = reaper.spawn(|| clone_child(&plan)).map_err(failed("start a process"))?;
    Ok(Spawned {
        child,
        stdin: our_stdin,
        stdout: our_stdout,
        stderr: our_stderr,
        report: Report { pipe: report_pipe },
    })
}

impl Report {
    /// Waits until the child has become the program, or says why it has not.
    pub(crate) async fn outcome(mut self, command: &Command) -> Result<(), ExecError> {
        let mut message = [0; FAILURE_LENGTH];
        match self.pipe.read_exact(&mut message).await {
            Err(_) => Ok(()),
            Ok(_) => {
                let [step, errno @ ..] = message;
                Err(child_failure(Step::from_byte(step), i32::from_ne_bytes(errno), command))
            }
        }
    }
}

/// Clones this process. In the child it does not return.
#[expect(unsafe_code, reason = "clone with CLONE_PIDFD has no safe wrapper")]
fn clone_child(plan: &Plan<'_>) -> io::Result<(Pid, OwnedFd)> {
    let mut pidfd: c_int = -1;
    let blocked = BlockedSignals::new()?;
    let flags = libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and with a null stack this is a fork; the kernel writes the pidfd where it is told to.
    // The legacy call, not clone3: seccomp filters that have to see the flags refuse clone3.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, &raw mut pidfd, 0_usize, 0_usize) };
    if pid == 0 {
        // SAFETY: we are the child, a copy with one thread, and all signals are blocked.
        unsafe { become_program(plan) }
    }
    let error = io::Error::last_os_error();
    drop(blocked);
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).filter(|_| pid > 0).ok_or(error)?;
    // SAFETY: a successful clone with CLONE_PIDFD has made this descriptor, and nobody else owns it.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// All signals blocked in this thread: a handler must not run in the child, on its copy of our state.
struct BlockedSignals {
    before: libc::sigset_t,
}

impl BlockedSignals {
    #[expect(unsafe_code, reason = "signal masks have no safe wrapper")]
    fn new() -> io::Result<Self> {
        // SAFETY: signal sets are plain data, filled in before use; only this thread's mask changes.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            match libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) {
                0 => Ok(Self { before }),
                errno => Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }
}

impl Drop for BlockedSignals {
    #[expect(unsafe_code, reason = "signal masks have no safe wrapper")]
    fn drop(&mut self) {
        // SAFETY: the mask is the one this thread had; restoring it cannot fail.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut());
        }
    }
}

/// A pipe: its reading and its writing end. It belongs to the user, who may then open `/dev/stdout` by name.
fn pipe_for(owner: Option<&Identity>) -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    if let Some(identity) = owner {
        let uid = rustix::fs::Uid::from_raw(identity.uid);
        let gid = rustix::fs::Gid::from_raw(identity.gid);
        // Without CAP_CHOWN the pipe stays ours, and only opening it by name fails.
        let _: rustix::io::Result<()> = rustix::fs::fchown(&read, Some(uid), Some(gid));
    }
    Ok((above_streams(read)?, above_streams(write)?))
}

fn null_device() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    above_streams(rustix::fs::open("/dev/null", flags, Mode::empty())?)
}

/// Moves a descriptor out of the way of 0, 1 and 2, over which the child puts its streams.
fn above_streams(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    const FIRST_FREE: c_int = 3;
    if descriptor.as_raw_fd() >= FIRST_FREE {
        return Ok(descriptor);
    }
    Ok(fcntl_dupfd_cloexec(&descriptor, FIRST_FREE)?)
}

fn sender(end: OwnedFd) -> io::Result<pipe::Sender> {
    set_nonblocking(&end)?;
    pipe::Sender::from_owned_fd(end)
}

fn receiver(end: OwnedFd) -> io::Result<pipe::Receiver> {
    set_nonblocking(&end)?;
    pipe::Receiver::from_owned_fd(end)
}

fn set_nonblocking(end: &OwnedFd) -> io::Result<()> {
    // Each end of a pipe is an open file of its own, so the program's end stays blocking.
    let end: BorrowedFd<'_> = std::os::fd::AsFd::as_fd(end);
    Ok(rustix::io::ioctl_fionbio(end, true)?)
}

/// A failure in this process.
fn failure(step: &'static str, source: io::Error) -> ExecError {
    match source.raw_os_error() {
        Some(libc::EAGAIN) => ExecError::Exhausted { limit: "processes are", source },
        Some(libc::ENOMEM) => ExecError::Exhausted { limit: "memory is", source },
        Some(libc::EMFILE | libc::ENFILE) => ExecError::Exhausted { limit: "file descriptors are", source },
        _ => ExecError::Io { step, source },
    }
}

/// A failure in the child.
fn child_failure(step: Option<Step>, errno: c_int, command: &Command) -> ExecError {
    let source = io::Error::from_raw_os_error(errno);
    let program = || command.argv.first().cloned().unwrap_or_default();
    match (step, errno) {
        (Some(Step::Execute), libc::ENOENT) => {
            let program = program();
            ExecError::NoSuchProgram { searched: !program.contains('/'), program }
        }
        (Some(Step::Execute), libc::EACCES | libc::EPERM) => ExecError::NotExecutable { program: program() },
        (Some(Step::Execute), libc::ENOEXEC | libc::EINVAL | libc::ELIBBAD) => {
            ExecError::BadFormat { program: program() }
        }
        (Some(Step::Execute), libc::E2BIG) => ExecError::TooLong,
        (Some(Step::Interpreter), _) => ExecError::NoInterpreter { program: program() },
        (Some(Step::Directory), _) => {
            let path = String::from_utf8_lossy(&command.directory.path);
            ExecError::Directory { path: format!("/{}", path.trim_start_matches('/')), source }
        }
        (Some(Step::Identity), libc::EAGAIN) => failure("become the user", source),
        (Some(Step::Identity), _) => {
            ExecError::Identity { uid: command.identity.as_ref().map_or(0, |identity| identity.uid), source }
        }
        (Some(Step::Session), _) => failure("begin a session", source),
        (Some(Step::Cgroup), _) => failure("join the cgroup of the box's programs", source),
        (Some(Step::Streams), _) => failure("place the standard streams", source),
        (Some(Step::Descriptors), _) => failure("close descriptors", source),
        (Some(Step::Execute), _) => failure("execute the program", source),
        (None, _) => ExecError::Io { step: "understand the child's report", source },
    }
}
