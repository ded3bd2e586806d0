//! The thread that counts the steps of a process.

use std::collections::HashSet;
use std::io;
use std::process::{Child, Command};

use libc::pid_t;

use super::calls::{self, Call, Changes, asks_to_write};
use super::kernel::{self, Entered, Event};
use super::{Fault, Steps};

/// The longest name that is shown.
const SHOWN: usize = 80;

/// Starts a process, which calls [`be_traced`] before it executes its program, hands it over, and traces it to its end.
///
/// Only the thread that forked a process may trace it, so this is a thread's whole work.
pub(crate) fn trace(mut command: Command, steps: &Steps, started: impl FnOnce(io::Result<Child>)) {
    let process = match command.spawn() {
        Ok(child) => {
            let process = pid_t::try_from(child.id()).unwrap_or(0);
            started(Ok(child));
            process
        }
        Err(error) => return started(Err(error)),
    };
    let mut tracer = Tracer { process, steps, known: HashSet::new(), shortened: HashSet::new() };
    // An error here is of a thread that was killed while it was looked at, or the end of the last one.
    while let Ok(event) = kernel::wait() {
        match event {
            Event::Gone { thread } if thread == process => return,
            Event::Gone { .. } => {}
            Event::Stopped { thread, signal, event } => {
                let _ = tracer.stopped(thread, signal, event);
            }
        }
    }
}

struct Tracer<'s> {
    process: pid_t,
    steps: &'s Steps,
    known: HashSet<pid_t>,
    /// Threads in a call whose third argument is not what they made it, with what they did.
    shortened: HashSet<(pid_t, u64)>,
}

impl Tracer<'_> {
    fn stopped(&mut self, thread: pid_t, signal: i32, event: i32) -> io::Result<()> {
        const SYSTEM_CALL: i32 = libc::SIGTRAP | 0x80;
        if self.known.insert(thread) {
            if thread == self.process {
                // The end of exec: the program has not run yet.
                kernel::set_options(thread)?;
            }
            if event != libc::PTRACE_EVENT_SECCOMP {
                return kernel::go_on(thread, 0);
            }
        }
        match (signal, event) {
            (_, libc::PTRACE_EVENT_SECCOMP) => self.entered(thread),
            (SYSTEM_CALL, _) => self.left(thread),
            (libc::SIGTRAP, _) => kernel::go_on(thread, 0),
            (signal, _) => kernel::go_on(thread, signal),
        }
    }

    fn entered(&mut self, thread: pid_t) -> io::Result<()> {
        let entered = kernel::entered(thread)?;
        let call = calls::all().find(|call| call.number == entered.number);
        let step = call.and_then(|call| describe(thread, call, &entered).map(|shown| (call, shown)));
        let Some((call, shown)) = step else { return kernel::go_on(thread, 0) };
        match self.steps.take(shown) {
            None => kernel::go_on(thread, 0),
            Some(Fault::Kill) => kill(self.process),
            Some(Fault::Fail(errno) | Fault::FailFromHere(errno)) => {
                kernel::fail(thread, errno)?;
                kernel::go_on(thread, 0)
            }
            Some(Fault::Short) => {
                let count = entered.arguments[2];
                if !matches!(call.changes, Changes::Content(_)) || count < 2 {
                    return kernel::go_on(thread, 0);
                }
                kernel::set_third(thread, count / 2)?;
                self.shortened.insert((thread, count));
                kernel::go_on_to_exit(thread)
            }
        }
    }

    /// A program may count on its registers to be what they were.
    fn left(&mut self, thread: pid_t) -> io::Result<()> {
        if let Some(shortened) = self.shortened.iter().copied().find(|(other, _)| *other == thread) {
            self.shortened.remove(&shortened);
            kernel::set_third(thread, shortened.1)?;
        }
        kernel::go_on(thread, 0)
    }
}

/// What a call is about to change, for people; `None` if that is no file.
fn describe(thread: pid_t, call: &Call, entered: &Entered) -> Option<String> {
    let argument = |index: usize| entered.arguments[index];
    let name = |index: usize| name_at(thread, argument(index));
    let about = match call.changes {
        Changes::File(index) | Changes::Content(index) => {
            file_behind(thread, argument(index)).filter(|_| is_change(call, entered))?
        }
        Changes::Name(index) => name(index),
        Changes::Names(from, to) => format!("{} {}", name(from), name(to)),
        Changes::Opened(flags) => {
            if !asks_to_write(argument(flags)) {
                return None;
            }
            let path = name(flags - 1);
            if path.contains("/proc/") || path.contains("/dev/") {
                return None;
            }
            path
        }
        Changes::OpenedHow(how) => {
            // `flags` is the first field.
            let flags = kernel::peek(thread, argument(how)).ok()?;
            asks_to_write(flags).then(|| name(how - 1))?
        }
    };
    Some(format!("{} {about}", call.name))
}

/// Of the many things that ioctl(2) does, one is a change to a file: sharing the blocks of another.
fn is_change(call: &Call, entered: &Entered) -> bool {
    const FICLONE: u64 = 0x4004_9409;
    call.number != libc::SYS_ioctl || entered.arguments[1] == FICLONE
}

/// The path of an open file; `None` for what is no file of a disk, and for standard error, which may be any.
fn file_behind(thread: pid_t, descriptor: u64) -> Option<String> {
    const STANDARD_ERROR: u64 = 2;
    if descriptor == STANDARD_ERROR {
        return None;
    }
    let path = std::fs::read_link(format!("/proc/{thread}/fd/{descriptor}")).ok()?;
    let path = path.to_string_lossy().into_owned();
    let elsewhere = ["/proc/", "/sys/", "/dev/", "/memfd:"];
    let is_file = path.starts_with('/') && !elsewhere.iter().any(|prefix| path.starts_with(prefix));
    is_file.then_some(path)
}

fn name_at(thread: pid_t, address: u64) -> String {
    let mut bytes = [0; SHOWN];
    let length = kernel::read(thread, address, &mut bytes).unwrap_or(0);
    let name = bytes[..length].split(|byte| *byte == 0).next().unwrap_or_default();
    format!("{:?}", String::from_utf8_lossy(name))
}

fn kill(process: pid_t) -> io::Result<()> {
    let process = u32::try_from(process).unwrap_or(0);
    crate::server::send(process, libc::SIGKILL).map_err(io::Error::other)
}
