//! How the first process of a box comes to be, in numbered steps.
//!
//! The spawner makes everything that needs the host's rights beforehand: overlays, devices, cgroups, the listening
//! socket. The child, root of nothing but its own new namespaces, puts them together, gives up what it does not need and
//! becomes the agent. Each step has a number that the child reports, with the kernel's errno, over a pipe that closes by
//! itself when the agent is executed. All of the start is in this file.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, move_mount, unmount,
};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{Gid, Uid};

use crate::capabilities;
use crate::cgroup::BoxCgroups;
use crate::error::{Step, StepError};
use crate::rootfs::BoxMounts;
use crate::seccomp::Filters;
use crate::sys::box_root::as_box_root;
use crate::sys::clone::{self, Child};
use crate::sys::{exec, ioctl};
use crate::uid_range::{self, UidRange};

/// What a box is started from.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// The host name of the box.
    pub(crate) name: &'a str,
    /// Who its users are to the host.
    pub(crate) range: UidRange,
    /// Its file systems, mounted but not attached anywhere yet.
    pub(crate) mounts: &'a BoxMounts,
    /// A directory to put the new root on. By path, because the child has its own copy of the spawner's mounts.
    pub(crate) staging: &'a Path,
    pub(crate) cgroups: &'a BoxCgroups,
    /// The socket that the agent serves on.
    pub(crate) listener: BorrowedFd<'a>,
    /// The sealed agent.
    pub(crate) agent: BorrowedFd<'a>,
    /// The agent's environment, without which it does not start.
    pub(crate) environment: CString,
    pub(crate) filters: &'a Filters,
}

/// The agent's first descriptor after the standard ones.
pub(crate) const LISTENER: i32 = 3;
/// Where the descriptors of the payload's cgroups begin.
pub(crate) const FIRST_CGROUP: i32 = 4;
/// Descriptors are parked from this number on while the ones below are put in order. Far above what a box needs.
const PARKING: i32 = 256;

/// How many descriptors a program may have until it asks for more: what Linux gives, and what select(2) can take.
const USUAL_DESCRIPTORS: u64 = 1024;

/// Declares the steps once: number, variant, words.
macro_rules! steps {
    ($($number:literal $variant:ident $words:literal;)+) => {
        /// A step of the child.
        #[derive(Debug, Clone, Copy)]
        enum ChildStep { $($variant = $number,)+ }

        /// What a step does, by its number.
        fn words(number: u8) -> &'static str {
            match number { $($number => $words,)+ _ => "start the first process" }
        }
    };
}

steps! {
    1 Wait "wait for the spawner to prepare the box";
    2 BecomeRoot "become root of the box";
    3 Keyring "leave the host's keys behind";
    4 CgroupNamespace "hide the host's cgroups";
    5 HostName "name the box";
    6 Propagation "cut the mounts off from the host's";
    7 Root "put the root file system in place";
    8 Usr "put /usr in place";
    9 Devices "put /dev in place";
    10 Proc "mount /proc";
    11 Mask "mask /proc";
    12 Pivot "enter the root file system";
    13 LeaveHost "let go of the host's files";
    14 Loopback "bring the loopback interface up";
    15 Descriptors "put the descriptors in order";
    16 Session "begin a session";
    17 NoNewPrivileges "forbid new privileges";
    18 Capabilities "give up capabilities";
    19 Seccomp "filter system calls";
    20 Execute "execute the agent";
}

/// How a box's terminals are mounted. The kernel has 4,096 of them for all boxes together, so none may have them all; beyond
/// its share, opening one is ENOSPC.
const TERMINALS: &CStr = c"newinstance,ptmxmode=0666,mode=0620,gid=5,max=256";

/// How a box's shared memory is mounted: as large as container managers make it. What the agent writes there counts against
/// its own memory, not the programs', and may not come near it (`AGENT_MEMORY` of `cgroup`).
const SHARED_MEMORY: &CStr = c"mode=1777,size=64m";

/// Files of /proc that tell of, or act on, the whole machine: hidden behind /dev/null.
const MASKED_FILES: [&str; 10] = [
    "proc/kcore",
    "proc/keys",
    "proc/key-users",
    "proc/latency_stats",
    "proc/timer_list",
    "proc/timer_stats",
    "proc/sched_debug",
    "proc/interrupts",
    "proc/kmsg",
    "proc/kpagecount",
];
/// Directories of /proc of the same kind: hidden behind an empty one.
const MASKED_DIRECTORIES: [&str; 3] = ["proc/acpi", "proc/scsi", "proc/asound"];
/// Parts of /proc that may be read only.
const READ_ONLY: [&str; 5] = ["proc/sys", "proc/bus", "proc/fs", "proc/irq", "proc/sysrq-trigger"];

/// Starts the first process of a box. When it answers, the agent has been executed.
///
/// # Errors
/// The step that failed, on either side; the child is then gone.
pub(crate) fn start(parts: &Parts<'_>) -> Result<Child, StepError> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("make a pipe");
    let (go_read, go_write) = pipe()?;
    let (report_read, low) = pipe()?;
    // Out of the way of the numbers that step 15 gives out.
    let report_write = rustix::io::fcntl_dupfd_cloexec(&low, PARKING).step("make a pipe")?;
    drop(low);
    let namespaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWNET;
    let cgroup = parts.cgroups.start_in.as_ref().map(AsFd::as_fd);
    let body = || {
        let (step, error) = become_agent(parts, &go_read);
        let report = [step as u8].into_iter().chain(error.to_le_bytes());
        // Nobody is left to be told if the spawner does not read any more.
        let _unread = rustix::io::write(&report_write, &report.collect::<Vec<_>>());
        1
    };
    let child = as_box_root(parts.range.first(), || clone::child(namespaces, cgroup, body))
        .step("make the first process")?;
    drop(report_write);
    let prepared = uid_range::write_maps(child.pid, parts.range)
        .step("map the users of the box")
        .and_then(|()| parts.cgroups.enter(child.pid).step("limit the box"))
        .and_then(|()| forget_oom_score(child.pid).step("let the box be killed when memory is used up"))
        .and_then(|()| rustix::io::write(&go_write, b"g").step("let the first process go"))
        .and_then(|_| heard(&report_read));
    if let Err(error) = prepared {
        child.kill();
        child.wait().step("wait for the first process")?;
        return Err(error);
    }
    Ok(child)
}

/// Gives the first process of a box the score that processes have unless told otherwise, whatever the server was given: a
/// service manager may have exempted the server, and a box must not be. Its programs add to it themselves, and may come
/// back to this one, not below.
fn forget_oom_score(pid: Pid) -> io::Result<()> {
    std::fs::write(format!("/proc/{}/oom_score_adj", pid.as_raw_pid()), "0")
}

/// Reads the child's report: nothing, once the agent has been executed.
fn heard(report: &OwnedFd) -> Result<(), StepError> {
    let mut bytes = [0_u8; 5];
    let read = rustix::io::retry_on_intr(|| rustix::io::read(report, &mut bytes))
        .step("hear from the first process")?;
    if read == 0 {
        return Ok(());
    }
    let [number, errno @ ..] = bytes;
    let source = io::Error::from_raw_os_error(i32::from_le_bytes(errno));
    Err(StepError::new(format!("{} (step {number} of a start)", words(number)), source))
}

/// Runs the steps; comes back only with the one that failed, and errno.
fn become_agent(parts: &Parts<'_>, go: &OwnedFd) -> (ChildStep, i32) {
    let mut step = ChildStep::Wait;
    let error = match steps(parts, go, &mut step) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    (step, error.raw_os_error().unwrap_or(libc::EIO))
}

fn steps(parts: &Parts<'_>, go: &OwnedFd, step: &mut ChildStep) -> io::Result<std::convert::Infallible> {
    // 1. Wait until the spawner has mapped the users and set the limits.
    if rustix::io::retry_on_intr(|| rustix::io::read(go, &mut [0_u8; 1]))? == 0 {
        return Err(Errno::PIPE.into());
    }

    // 2. Become root of the new user namespace: until now this process has some of the spawner's ids, which are nobody's here.
    *step = ChildStep::BecomeRoot;
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;

    // 3. A new session keyring: the old one may hold keys of whoever started the server.
    *step = ChildStep::Keyring;
    match exec::new_session_keyring() {
        Err(error) if error.raw_os_error() != Some(libc::ENOSYS) => return Err(error),
        _ => {}
    }

    // 4. Only now, in its cgroup, so that /proc/self/cgroup begins here and does not tell the host's names.
    *step = ChildStep::CgroupNamespace;
    cgroup_namespace()?;

    // 5. Name.
    *step = ChildStep::HostName;
    rustix::system::sethostname(parts.name.as_bytes())?;

    // 6. Nothing that is mounted from here on is seen outside, nor the reverse.
    *step = ChildStep::Propagation;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;

    // 7. The root, on the spawner's staging directory, and there we go.
    *step = ChildStep::Root;
    attach(parts.mounts.root.as_fd(), parts.staging)?;
    rustix::process::chdir(parts.staging)?;

    // 8. /usr.
    *step = ChildStep::Usr;
    attach(parts.mounts.usr.as_fd(), "usr")?;

    // 9. /dev: read-only devices from the spawner, and what each box has of its own.
    *step = ChildStep::Devices;
    attach(parts.mounts.devices.as_fd(), "dev")?;
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("devpts", "dev/pts", "devpts", quiet, TERMINALS)?;
    mount("tmpfs", "dev/shm", "tmpfs", quiet | MountFlags::NODEV, SHARED_MEMORY)?;
    mount("mqueue", "dev/mqueue", "mqueue", quiet | MountFlags::NODEV, None)?;

    // 10. /proc of the new process namespace.
    *step = ChildStep::Proc;
    mount("proc", "proc", "proc", quiet | MountFlags::NODEV, None)?;

    // 11. Masks over it.
    *step = ChildStep::Mask;
    mask(quiet | MountFlags::NODEV)?;

    // 12. Make it the root, the old root below it,
    *step = ChildStep::Pivot;
    rustix::process::pivot_root(".", ".")?;

    // 13. and let go of the old root with everything in it.
    *step = ChildStep::LeaveHost;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;

    // 14. A network of one interface.
    *step = ChildStep::Loopback;
    ioctl::loopback_up()?;

    // 15. Standard descriptors on /dev/null, the listener, the cgroups; everything else closes at the execution.
    *step = ChildStep::Descriptors;
    let agent = order_descriptors(parts)?;

    // 16. A session and a file mode mask of its own; as many descriptors as programs expect, not as the spawner needs.
    *step = ChildStep::Session;
    rustix::process::setsid()?;
    let allowed = getrlimit(Resource::Nofile);
    let usual = allowed.maximum.map_or(USUAL_DESCRIPTORS, |most| most.min(USUAL_DESCRIPTORS));
    setrlimit(Resource::Nofile, Rlimit { current: Some(usual), ..allowed })?;
    rustix::process::umask(Mode::from_raw_mode(0o022));

    // 17. Nothing executed in the box gains what it did not have.
    *step = ChildStep::NoNewPrivileges;
    rustix::thread::set_no_new_privs(true)?;

    // 18. Keep what container managers leave to root in a box.
    *step = ChildStep::Capabilities;
    capabilities::reduce()?;

    // 19. Last before the execution, which the filters allow.
    *step = ChildStep::Seccomp;
    parts.filters.apply().map_err(|error| match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
        other => io::Error::other(other),
    })?;

    // 20. Become the agent.
    *step = ChildStep::Execute;
    Err(exec::execute(agent.as_fd(), &[c"devbox-agent".to_owned()], std::slice::from_ref(&parts.environment)))
}

fn cgroup_namespace() -> io::Result<()> {
    use rustix::thread::UnshareFlags;
    #[expect(unsafe_code, reason = "unshare is unsafe for callers that share descriptors between threads")]
    // SAFETY: this process has one thread, and unshares nothing that another could rely on.
    match unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) } {
        // A kernel without cgroup namespaces.
        Err(Errno::INVAL) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Attaches a detached mount.
fn attach(tree: BorrowedFd<'_>, place: impl rustix::path::Arg) -> io::Result<()> {
    Ok(move_mount(tree, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn mask(flags: MountFlags) -> io::Result<()> {
    for file in MASKED_FILES {
        if_there(mount_bind("dev/null", file))?;
    }
    for directory in MASKED_DIRECTORIES {
        if_there(mount("tmpfs", directory, "tmpfs", flags | MountFlags::RDONLY, c"size=0,mode=0755"))?;
    }
    for path in READ_ONLY {
        match mount_bind(path, path) {
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => mount_remount(path, flags | MountFlags::BIND | MountFlags::RDONLY, c"")?,
        }
    }
    Ok(())
}

/// What this kernel does not have need not be masked.
fn if_there(masked: rustix::io::Result<()>) -> io::Result<()> {
    match masked {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Puts every descriptor at its number, marks the rest to be closed, and answers that of the agent.
fn order_descriptors(parts: &Parts<'_>) -> io::Result<OwnedFd> {
    let park = |descriptor: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(descriptor, PARKING);
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let null = park(null.as_fd())?;
    let agent = park(parts.agent)?;
    let mut wanted = vec![null.try_clone()?, null.try_clone()?, null, park(parts.listener)?];
    for procs in &parts.cgroups.payload_procs {
        wanted.push(park(procs.as_fd())?);
    }
    mark_all_closing()?;
    for (number, descriptor) in (0..).zip(&wanted) {
        place(descriptor, number)?;
    }
    // Their numbers are the box's now; the process ends by an execution or with an error.
    std::mem::forget(wanted);
    Ok(agent)
}

fn place(descriptor: &OwnedFd, number: i32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "a descriptor is put at a number that somebody else may own")]
    // SAFETY: whoever owns this number in this process never runs again: the process is about to be executed over. The
    // owned wrapper is forgotten, so the number stays open.
    let mut target = std::mem::ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
    Ok(rustix::io::dup2(descriptor, &mut target)?)
}

/// Marks every descriptor to be closed when a program is executed.
fn mark_all_closing() -> io::Result<()> {
    #[expect(unsafe_code, reason = "close_range has no safe wrapper")]
    // SAFETY: with CLOEXEC it closes nothing now.
    let answer =
        unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
