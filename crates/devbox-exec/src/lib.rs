//! The process engine: starts programs, carries their standard streams, and ends whole trees of them.
//!
//! An [`Engine`] starts a [`Command`] and returns a [`Run`]: a stream that begins with `Started`, carries output as it
//! comes, and ends with `Exited`. Dropping it before that kills the whole tree; so does the command's timeout.
//!
//! | module | subject |
//! |---|---|
//! | `command` | what to run, checked and turned into what `execve` wants |
//! | `spawn` | the parent's side of a start: pipes, clone, the child's report |
//! | `child` | the child's side: from clone to execve, async-signal-safe |
//! | `reaper` | who collects which exit status, and orphans where this is PID 1 |
//! | `engine` | the processes that run: start, list, signal |
//! | `supervise` | the task beside each process: its timeout, its exit |
//! | `input` | the task that feeds standard input and delivers signals |
//! | `run` | the stream of events |
//! | `tree` | which processes belong to a run, and ending all of them |
//! | `procfs` | reading `/proc` |
//!
//! # Why not `std::process::Command`
//! It reports an errno but not the step that failed, keeps no capabilities between setuid and exec (which is what guards
//! the agent's memory in that window), and cannot join cgroups as root before it changes user without a `pre_exec` that
//! makes it fork as we do. A `vfork`-like clone would share memory with the child while that is already in the memory
//! cgroup of the box's programs: the out-of-memory killer, finding the child there, kills all that shares its memory.
//! The fork of a process as small as the agent costs less than the `execve` that follows it: 70 µs and 180 µs, with strace
//! looking on, on two busy cores.

mod child;
mod command;
mod engine;
mod error;
mod input;
mod procfs;
mod reaper;
mod run;
mod spawn;
mod supervise;
mod tree;

pub use command::{Command, Directory, Identity, Stdin};
pub use engine::{Engine, EngineConfig, SignalTarget};
pub use error::ExecError;
pub use run::Run;
