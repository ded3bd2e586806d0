//! ptrace(2) and registers.

#![expect(unsafe_code, reason = "ptrace has no safe wrapper")]

use std::ffi::{c_int, c_long, c_uint, c_ulong, c_void};
use std::io;
use std::mem::MaybeUninit;

use libc::pid_t;

use super::filter::Filter;

/// A system call that a thread is about to make.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entered {
    pub(super) number: c_long,
    pub(super) arguments: [u64; 6],
}

/// What wait(2) tells of a traced thread.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// It stopped: the signal, and what ptrace calls the event.
    Stopped { thread: pid_t, signal: c_int, event: c_int },
    /// It is gone.
    Gone { thread: pid_t },
}

/// Makes the caller, which is about to execute another program, stop at its steps, for the thread that forked it.
///
/// Allocates nothing: it runs between fork and exec.
pub(crate) fn be_traced(filter: &Filter) -> io::Result<()> {
    let program = filter.program();
    // SAFETY: PTRACE_TRACEME takes no pointer.
    check(unsafe { libc::ptrace(libc::PTRACE_TRACEME) })?;
    // SAFETY: four numbers.
    check_int(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    let mode = c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: the program is complete, and lives through the call, which copies it.
    check_int(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program, 0, 0) })
}

/// Has a stopped process, and all threads and children that it will have, stop at steps, and die with the tracer.
pub(super) fn set_options(process: pid_t) -> io::Result<()> {
    let options = libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACESECCOMP
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACESYSGOOD;
    request(libc::PTRACE_SETOPTIONS, process, 0, usize::try_from(options).unwrap_or(0))
}

/// Waits for a thread that this thread traces.
pub(super) fn wait() -> io::Result<Event> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for an int.
        let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        match thread {
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            thread if libc::WIFSTOPPED(status) => {
                return Ok(Event::Stopped { thread, signal: libc::WSTOPSIG(status), event: status >> 16 });
            }
            thread => return Ok(Event::Gone { thread }),
        }
    }
}

/// Lets a thread go on, with a signal or 0.
pub(super) fn go_on(thread: pid_t, signal: c_int) -> io::Result<()> {
    request(libc::PTRACE_CONT, thread, 0, usize::try_from(signal).unwrap_or(0))
}

/// Lets a thread go on to the end of the system call that it is in.
pub(super) fn go_on_to_exit(thread: pid_t) -> io::Result<()> {
    request(libc::PTRACE_SYSCALL, thread, 0, 0)
}

/// The call that a thread is about to make, which the filter stopped.
pub(super) fn entered(thread: pid_t) -> io::Result<Entered> {
    let mut told = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let size = size_of::<libc::ptrace_syscall_info>();
    // SAFETY: the kernel writes at most `size` bytes, which is what is there.
    let length = unsafe {
        libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, size as *mut c_void, told.as_mut_ptr())
    };
    check(length)?;
    // SAFETY: every field is a number, zeroed above, so any bytes are a value.
    let told = unsafe { told.assume_init() };
    if told.op != libc::PTRACE_SYSCALL_INFO_SECCOMP {
        return Err(io::Error::other("the thread is not at a system call"));
    }
    // SAFETY: `op` says that this is the field that was filled.
    let call = unsafe { told.u.seccomp };
    Ok(Entered { number: c_long::try_from(call.nr).unwrap_or(-1), arguments: call.args })
}

/// Reads a word of a stopped thread's memory.
pub(super) fn peek(thread: pid_t, address: u64) -> io::Result<u64> {
    let mut word = [0; 8];
    read(thread, address, &mut word)?;
    Ok(u64::from_ne_bytes(word))
}

/// Reads memory of a stopped thread, and returns how much could be read.
pub(super) fn read(thread: pid_t, address: u64, into: &mut [u8]) -> io::Result<usize> {
    use std::os::unix::fs::FileExt as _;
    std::fs::File::open(format!("/proc/{thread}/mem"))?.read_at(into, address)
}

fn request(request: c_uint, thread: pid_t, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: the requests made here take numbers in these places, no addresses.
    check(unsafe { libc::ptrace(request, thread, address as *mut c_void, data as *mut c_void) })
}

fn check(result: c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn check_int(result: c_int) -> io::Result<()> {
    check(c_long::from(result))
}

pub(super) use registers::{fail, set_third};

#[cfg(target_arch = "x86_64")]
mod registers {
    use super::{io, pid_t, request};

    /// Has the call that a thread is about to make fail, undone.
    pub(in super::super) fn fail(thread: pid_t, errno: i32) -> io::Result<()> {
        // A call of number -1 is skipped, and what is in RAX is its result.
        poke(thread, libc::ORIG_RAX, -1)?;
        poke(thread, libc::RAX, -i64::from(errno))
    }

    /// Sets the third argument of the call that a thread is in.
    pub(in super::super) fn set_third(thread: pid_t, value: u64) -> io::Result<()> {
        poke(thread, libc::RDX, value.cast_signed())
    }

    fn poke(thread: pid_t, register: i32, value: i64) -> io::Result<()> {
        let place = usize::try_from(register).unwrap_or(0) * size_of::<u64>();
        request(libc::PTRACE_POKEUSER, thread, place, usize::try_from(value.cast_unsigned()).unwrap_or(0))
    }
}

#[cfg(target_arch = "aarch64")]
mod registers {
    use super::{check, io, pid_t};

    /// `NT_ARM_SYSTEM_CALL` of linux/elf.h: the number of the call that a thread is about to make.
    const SYSTEM_CALL: usize = 0x404;

    /// Has the call that a thread is about to make fail, undone.
    pub(in super::super) fn fail(thread: pid_t, errno: i32) -> io::Result<()> {
        // A call of number -1 is skipped, and what is in x0 is its result.
        let mut number: i32 = -1;
        set(thread, SYSTEM_CALL, &mut number)?;
        change(thread, 0, i64::from(-errno).cast_unsigned())
    }

    /// Sets the third argument of the call that a thread is in.
    pub(in super::super) fn set_third(thread: pid_t, value: u64) -> io::Result<()> {
        change(thread, 2, value)
    }

    fn change(thread: pid_t, register: usize, value: u64) -> io::Result<()> {
        // SAFETY: all fields are numbers, for which zero is a value.
        let mut all: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        let general = usize::try_from(libc::NT_PRSTATUS).unwrap_or(0);
        exchange(libc::PTRACE_GETREGSET, thread, general, &mut all)?;
        all.regs[register] = value;
        set(thread, general, &mut all)
    }

    fn set<T>(thread: pid_t, kind: usize, value: &mut T) -> io::Result<()> {
        exchange(libc::PTRACE_SETREGSET, thread, kind, value)
    }

    fn exchange<T>(request: libc::c_uint, thread: pid_t, kind: usize, value: &mut T) -> io::Result<()> {
        let mut place = libc::iovec { iov_base: std::ptr::from_mut(value).cast(), iov_len: size_of::<T>() };
        // SAFETY: the kernel reads or writes at most the size of `value`, which is plain numbers and lives through the call.
        check(unsafe { libc::ptrace(request, thread, kind as *mut libc::c_void, &raw mut place) })
    }
}
