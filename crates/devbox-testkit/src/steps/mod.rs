//! A step counter: every system call of a process that changes a file system is a step, and any of them can be its last, or
//! fail.
//!
//! The process is traced (ptrace(2)) and needs no hook for it: what runs is the program that users run. A seccomp filter lets
//! it stop at those calls only, so a run costs microseconds a step. Calls count on all threads, in the order in which they
//! are made. What is on disk after step n is what is on disk before step n + 1, so a kill *before* each step, and a last run
//! to the end, are all states that a kill can leave.
//!
//! | module | subject |
//! |---|---|
//! | `calls` | which calls are steps |
//! | `filter` | stopping at nothing else |
//! | `tracer` | counting, and the fault when its turn comes |
//! | `kernel` | ptrace and registers: all that is unsafe, or differs from one machine to another |

mod calls;
mod filter;
mod kernel;
mod tracer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use filter::Filter;
pub(crate) use kernel::be_traced;
pub(crate) use tracer::trace;

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process dies by SIGKILL before it takes the step.
    Kill,
    /// The call fails with this errno, and does nothing.
    Fail(i32),
    /// This call and every later one fail so: a disk that has died.
    FailFromHere(i32),
    /// The call writes half of the bytes that it was given; where it writes none, it is made as it is.
    Short,
}

/// The steps of one process: how many it has taken since it was told to count, and what is to happen at one of them.
#[derive(Debug, Clone, Default)]
pub struct Steps {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    counting: bool,
    taken: Vec<String>,
    fault: Option<(usize, Fault)>,
}

impl Steps {
    /// Counts from the first step of the process on; nothing goes wrong.
    #[must_use]
    pub fn counted() -> Self {
        let steps = Self::default();
        steps.count(None);
        steps
    }

    /// Counts from the first step of the process on, and has the fault happen at step `number`, the first of which is 0.
    #[must_use]
    pub fn with_fault(number: usize, fault: Fault) -> Self {
        let steps = Self::default();
        steps.count(Some((number, fault)));
        steps
    }

    /// Begins to count, from now on, and to have this fault happen at step `number`, the first of which is 0.
    pub fn count(&self, fault: Option<(usize, Fault)>) {
        let mut state = self.state();
        state.counting = true;
        state.taken.clear();
        state.fault = fault;
    }

    /// Nothing goes wrong any more, and nothing is counted.
    pub fn rest(&self) {
        let mut state = self.state();
        state.counting = false;
        state.fault = None;
    }

    /// What the steps were, for people: `renameat2 ".~devbox-…" "file"`.
    #[must_use]
    pub fn taken(&self) -> Vec<String> {
        self.state().taken.clone()
    }

    /// Whether the step of the fault was reached.
    #[must_use]
    pub fn failed(&self) -> bool {
        let state = self.state();
        state.fault.is_some_and(|(number, _)| state.taken.len() > number)
    }

    /// One more step; what is to happen at it.
    fn take(&self, what: String) -> Option<Fault> {
        let mut state = self.state();
        if !state.counting {
            return None;
        }
        let number = state.taken.len();
        state.taken.push(what);
        match state.fault {
            Some((at, fault @ Fault::FailFromHere(_))) if number >= at => Some(fault),
            Some((at, fault)) if number == at => Some(fault),
            _ => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::path::Path;
    use std::process::Command;

    use tempfile::TempDir;

    use super::*;

    /// Runs a line of shell in a folder, to its end or to a fault.
    fn run(steps: &Steps, line: &str) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let filter = Filter::new();
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(folder.path());
        #[expect(unsafe_code, reason = "a process asks to be traced before it executes its program")]
        // SAFETY: `be_traced` makes system calls only, and allocates nothing.
        unsafe {
            command.pre_exec(move || be_traced(&filter))
        };
        trace(command, steps, |child| drop(child.expect("sh starts")));
        folder
    }

    fn has(folder: &TempDir, name: &str) -> bool {
        Path::new(&folder.path().join(name)).exists()
    }

    const LINE: &str = "printf 12345678 > a && mv a b && rm b";

    #[test]
    fn every_change_is_a_step_and_nothing_else_is() {
        let steps = Steps::counted();
        run(&steps, LINE);
        let taken = steps.taken();
        let calls: Vec<&str> = taken.iter().filter_map(|step| step.split(' ').next()).collect();
        let kinds: Vec<&str> = calls.iter().map(|call| &call[..4]).collect();
        assert_eq!(kinds, ["open", "writ", "rena", "unli"], "{taken:#?}");
        assert!(taken[2].ends_with("\"a\" \"b\""), "{taken:#?}");
    }

    #[test]
    fn a_kill_comes_before_its_step() {
        let before_rename = Steps::with_fault(2, Fault::Kill);
        let folder = run(&before_rename, LINE);
        assert!(before_rename.failed() && has(&folder, "a") && !has(&folder, "b"));
        let before_removal = Steps::with_fault(3, Fault::Kill);
        let folder = run(&before_removal, LINE);
        assert!(before_removal.failed() && !has(&folder, "a") && has(&folder, "b"));
        let never = Steps::with_fault(4, Fault::Kill);
        run(&never, LINE);
        assert!(!never.failed());
    }

    #[test]
    fn a_call_that_fails_does_nothing_and_says_why() {
        let full = Steps::with_fault(2, Fault::Fail(libc::ENOSPC));
        let folder =
            run(&full, "printf 1 > a; LC_ALL=C mv a b 2>&1 | grep -c 'No space' > /dev/null && printf 2 > c");
        assert!(full.failed() && has(&folder, "a") && !has(&folder, "b") && has(&folder, "c"));
        let from_here = Steps::with_fault(0, Fault::FailFromHere(libc::EROFS));
        let folder = run(&from_here, "printf 1 > a; printf 2 > c");
        assert!(!has(&folder, "a") && !has(&folder, "c"));
    }

    #[test]
    fn a_short_write_takes_half() {
        let steps = Steps::with_fault(1, Fault::Short);
        let folder = run(&steps, "printf 12345678 > a");
        let content = std::fs::read_to_string(folder.path().join("a")).expect("a file");
        // The shell writes the rest, if it looks; the half is there in any case.
        assert!(content.starts_with("1234") && steps.failed(), "{content}");
    }
}
