//! The processes that run here: start, list, signal.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use bytes::Bytes;
use devbox_types::ProcessId;
use devbox_types::process::{ProcessEvent, ProcessInput, ProcessSummary};
use futures_util::Stream;
use rustix::process::{Pid, Signal};
use tokio::runtime::Handle;
use tokio::signal::unix::SignalKind;
use tokio::sync::{Semaphore, oneshot};

use crate::command::{Command, Prepared, Stdin};
use crate::error::ExecError;
use crate::input::feed;
use crate::reaper::Reaper;
use crate::run::Run;
use crate::spawn::{Spawned, spawn};
use crate::supervise::supervise;
use crate::tree::Tree;

/// How many processes one engine runs at a time: each costs it four descriptors and two small tasks.
pub(crate) const MAX_RUNNING: usize = 1024;

/// The most trees that are being killed at a time: each reads all of `/proc` some times, on a thread for blocking work.
const MAX_KILLING: usize = 4;

/// The variable that marks every process of a run, as Jenkins' ProcessTreeKiller does: children inherit it, and lose it
/// only on purpose.
const COOKIE: &str = "DEVBOX_PROCESS";

/// How an engine treats the programs it starts.
#[derive(Debug, Default)]
pub struct EngineConfig {
    /// `cgroup.procs` files, open for writing, of the cgroups that every program is put into before it is executed.
    pub cgroups: Vec<OwnedFd>,
}

/// Starts programs and knows which of them run. Clones are the same engine.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: EngineConfig,
    reaper: Arc<Reaper>,
    /// What tells our cookies from those of other engines, and of earlier ones in the same box.
    token: String,
    last_id: AtomicU64,
    killing: Arc<Semaphore>,
    running: Mutex<BTreeMap<ProcessId, Arc<Process>>>,
}

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalTarget {
    /// The process group that the program leads.
    Group,
    /// Every process of its tree, in whatever group or session.
    Tree,
}

impl Engine {
    /// An engine without processes.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        let shared = Shared {
            config,
            reaper: Arc::default(),
            token: random_token(),
            last_id: AtomicU64::new(0),
            killing: Arc::new(Semaphore::new(MAX_KILLING)),
            running: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Starts a program. It runs when this returns; the first event of the run says so again.
    ///
    /// `input` is read until it ends or the program does: bytes for standard input (for [`Stdin::Stream`]; otherwise
    /// they are dropped), and signals for the process group.
    ///
    /// # Errors
    /// [`ExecError`], one variant per reason; then no process is left.
    ///
    /// # Cancel safety
    /// Dropped before it returns, it leaves no process. Must be called within a tokio runtime that outlives the run.
    pub async fn run<I>(&self, command: Command, input: I) -> Result<Run, ExecError>
    where
        I: Stream<Item = ProcessInput<Bytes>> + Send + 'static,
    {
        let id = ProcessId(self.shared.last_id.fetch_add(1, Ordering::Relaxed) + 1);
        let cookie = format!("{COOKIE}={}-{id}", self.shared.token);
        let prepared = Prepared::new(&command, &cookie)?;
        if self.running().len() >= MAX_RUNNING {
            return Err(ExecError::TooManyRunning);
        }
        let spawned = spawn(&command, &prepared, &self.shared.config.cgroups, &self.shared.reaper)?;
        let Spawned { child, stdin, stdout, stderr, report } = spawned;
        let process = Arc::new(Process {
            id,
            pid: child.pid(),
            argv: command.argv.clone(),
            started_at: Instant::now(),
            tree: Arc::new(Tree::new(child.pid(), cookie)),
            killing: Arc::clone(&self.shared.killing),
            engine: Arc::downgrade(&self.shared),
            reaper: Arc::clone(&self.shared.reaper),
            runtime: Handle::current(),
        });
        self.running().insert(id, Arc::clone(&process));
        let first = match &command.stdin {
            Stdin::Bytes(bytes) => bytes.clone(),
            Stdin::Null | Stdin::Stream => Bytes::new(),
        };
        let (exited, exit) = oneshot::channel();
        // From here on dropping the run kills the process, and the supervisor reaps it.
        let run = Run::new(Arc::clone(&process), stdout, stderr, exit);
        let feeder = tokio::spawn(feed(Arc::clone(&process), stdin, first, input));
        let supervisor =
            supervise(Arc::clone(&process), child, command.timeout, feeder.abort_handle(), exited);
        tokio::spawn(supervisor);
        match report.outcome(&command).await {
            Ok(()) => Ok(run),
            Err(error) => {
                run.discard();
                Err(error)
            }
        }
    }

    /// The processes that run, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<ProcessSummary> {
        self.running().values().map(|process| process.summary()).collect()
    }

    /// Sends a signal, by Linux number, to a process that runs.
    ///
    /// # Errors
    /// `BadSignal`, `NoSuchProcess`.
    pub async fn signal(&self, id: ProcessId, signal: u8, target: SignalTarget) -> Result<(), ExecError> {
        let process = self.running().get(&id).cloned().ok_or(ExecError::NoSuchProcess { id })?;
        match target {
            SignalTarget::Group => process.signal_group(signal),
            SignalTarget::Tree => process.signal_tree(signal).await,
        }
    }

    /// Kills every tree and waits until they are gone.
    pub async fn kill_all(&self) {
        let running: Vec<_> = self.running().values().cloned().collect();
        for process in running {
            process.kill_tree().await;
        }
    }

    /// Reaps orphans for as long as it is polled. Only for PID 1, or a subreaper: it waits for every child of this OS
    /// process, so nothing else in it may have children of its own.
    ///
    /// # Errors
    /// If the kernel refuses to report ended children.
    pub fn reap_orphans(&self) -> io::Result<impl Future<Output = ()> + Send + 'static> {
        let mut ended = tokio::signal::unix::signal(SignalKind::child())?;
        let reaper = Arc::clone(&self.shared.reaper);
        Ok(async move {
            loop {
                reaper.reap_all();
                if ended.recv().await.is_none() {
                    return;
                }
            }
        })
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<ProcessId, Arc<Process>>> {
        self.shared.running()
    }
}

impl Shared {
    /// The map is changed by single inserts and removes, so a panic elsewhere cannot leave it half changed.
    fn running(&self) -> MutexGuard<'_, BTreeMap<ProcessId, Arc<Process>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process that was started here.
#[derive(Debug)]
pub(crate) struct Process {
    id: ProcessId,
    pid: Pid,
    argv: Vec<String>,
    started_at: Instant,
    tree: Arc<Tree>,
    killing: Arc<Semaphore>,
    engine: Weak<Shared>,
    reaper: Arc<Reaper>,
    runtime: Handle,
}

impl Process {
    pub(crate) fn id(&self) -> ProcessId {
        self.id
    }

    pub(crate) fn started_at(&self) -> Instant {
        self.started_at
    }

    pub(crate) fn started_event(&self) -> ProcessEvent<Bytes> {
        ProcessEvent::Started { id: self.id, pid: self.pid.as_raw_nonzero().get().unsigned_abs() }
    }

    fn summary(&self) -> ProcessSummary {
        ProcessSummary {
            id: self.id,
            pid: self.pid.as_raw_nonzero().get().unsigned_abs(),
            argv: self.argv.clone(),
            running_ms: u64::try_from(self.started_at.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Takes it off the list of what runs.
    pub(crate) fn forget(&self) {
        if let Some(engine) = self.engine.upgrade() {
            engine.running().remove(&self.id);
        }
    }

    /// Signals the process group that it leads.
    pub(crate) fn signal_group(&self, signal: u8) -> Result<(), ExecError> {
        let signal = as_signal(signal_number(signal)?);
        self.reaper
            .while_unreaped(self.pid, || kill_group(self.pid, signal))
            .ok_or(ExecError::NoSuchProcess { id: self.id })?
            .map_err(|source| ExecError::Io { step: "signal the process group", source })
    }

    async fn signal_tree(&self, signal: u8) -> Result<(), ExecError> {
        let signal = as_signal(signal_number(signal)?);
        let tree = Arc::clone(&self.tree);
        // A task that was lost with the runtime has nobody left to tell.
        let reached = if signal == Signal::KILL {
            let is_there = self.runtime.spawn_blocking(move || tree.is_there()).await.unwrap_or(false);
            if is_there {
                // What forks while /proc is read would outlive a mere signal.
                self.kill_tree().await;
            }
            is_there
        } else {
            self.runtime.spawn_blocking(move || tree.signal(signal)).await.unwrap_or(0) > 0
        };
        if reached { Ok(()) } else { Err(ExecError::NoSuchProcess { id: self.id }) }
    }

    /// Kills the whole tree and waits until it is gone.
    pub(crate) async fn kill_tree(&self) {
        // The semaphore is never closed; without a place the kill is late, not wrong.
        let _place = self.killing.acquire().await;
        let tree = Arc::clone(&self.tree);
        let left = self.runtime.spawn_blocking(move || tree.kill()).await.unwrap_or(0);
        if left > 0 {
            tracing::warn!(process = self.id.0, left, "processes did not die");
        }
    }

    /// Kills the whole tree in the background.
    pub(crate) fn kill_tree_later(self: &Arc<Self>) {
        let process = Arc::clone(self);
        self.runtime.spawn(async move { process.kill_tree().await });
    }
}

fn signal_number(signal: u8) -> Result<i32, ExecError> {
    if (1..=64).contains(&signal) { Ok(i32::from(signal)) } else { Err(ExecError::BadSignal { signal }) }
}

#[expect(unsafe_code, reason = "rustix names no realtime signals")]
fn as_signal(number: i32) -> Signal {
    // SAFETY: the number lies between 1 and 64; it is only sent, and no handler in this process is concerned.
    unsafe { Signal::from_raw_unchecked(number) }
}

/// Signals the group that the unreaped child `leader` leads, or the child alone if it is so new that it does not yet.
fn kill_group(leader: Pid, signal: Signal) -> io::Result<()> {
    match rustix::process::kill_process_group(leader, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(rustix::process::kill_process(leader, signal)?),
        other => Ok(other?),
    }
}

/// A number that no other engine has, as hexadecimal text. Not a secret: box programs see it.
fn random_token() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    /// Each kill reads all of `/proc` some times: a caller who asks for many at once waits.
    #[tokio::test]
    async fn a_kill_by_signal_waits_for_its_turn() {
        let engine = Engine::new(EngineConfig::default());
        let mut command = Command::new(["sleep", "600"]);
        command.env = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        let run = engine.run(command, stream::empty()).await.expect("a run");
        let id = engine.list().first().expect("a process").id;
        let places = u32::try_from(MAX_KILLING).expect("a small number");
        let others = engine.shared.killing.acquire_many(places).await.expect("it is never closed");
        let mut killing = std::pin::pin!(engine.signal(id, 9, SignalTarget::Tree));
        let early = tokio::time::timeout(std::time::Duration::from_millis(300), killing.as_mut()).await;
        assert!(early.is_err(), "it did not wait: {early:?}");
        drop(others);
        killing.await.expect("killed");
        drop(run);
    }
}
