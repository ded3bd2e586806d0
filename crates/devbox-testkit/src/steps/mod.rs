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
