//! Which processes belong to a run, and how all of them are ended.
//!
//! A process belongs to a run if it is in the session that the run began, has the run's cookie in the environment it was
//! started with, shares a session with one that belongs, or descends from one. A daemon that forked twice and began a
//! session of its own has lost its parents, but not the cookie. What a hostile program may still do is to start itself
//! anew with another environment from an orphan: the box's cgroup ends that, when the box stops.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::procfs::{self, Stat};

/// The processes of one run.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The first process: also the id of its session and of its process group.
    main: i32,
    /// When that started, in clock ticks; no process of the tree is older.
    started: u64,
    /// `NAME=value`, as every process of the tree has it in its environment.
    cookie: String,
}

/// How long a tree may take to die. What is longer in an uninterruptible sleep dies when that ends: it was sent SIGKILL.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often new processes are looked for before those that are known are killed: each look finds fewer, because what
/// was found was stopped and cannot fork. A fork bomb is held by the limit of processes, which its stopped ones use up.
const MAX_STOPPING_PASSES: u32 = 16;
/// Longer than execve(2) takes from the end of the old environment to the new one.
const EXECUTION: Duration = Duration::from_millis(5);
/// Pauses between looks, while dying processes go away.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

impl Tree {
    pub(crate) fn new(main: Pid, cookie: String) -> Self {
        let main = main.as_raw_pid();
        Self { main, started: Stat::of(main).map_or(0, |stat| stat.started), cookie }
    }

    /// Whether a process of the tree lives.
    pub(crate) fn is_there(&self) -> bool {
        !self.members().is_empty()
    }

    /// Sends a signal to every process of the tree; returns how many there were. For SIGKILL there is [`Tree::kill`].
    pub(crate) fn signal(&self, signal: Signal) -> usize {
        let members = self.members();
        members.iter().for_each(|member| send(member, signal));
        members.len()
    }

    /// Kills the whole tree and waits until it is gone; returns how many processes are left when patience ends.
    ///
    /// Blocks. All are stopped first, so that none can fork or run away while the others are killed.
    pub(crate) fn kill(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = SHORTEST_PAUSE;
        loop {
            let members = self.stop_all();
            members.iter().for_each(|member| send(member, Signal::KILL));
            // One that forked where the reading of /proc had already passed, or was being executed and had no environment
            // to be known by, is found by looking once more.
            if members.is_empty() {
                thread::sleep(EXECUTION);
                if self.members().is_empty() {
                    return 0;
                }
            }
            if Instant::now() >= deadline {
                return members.len();
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn stop_all(&self) -> Vec<Stat> {
        let mut members = self.members();
        for _ in 0..MAX_STOPPING_PASSES {
            let mut running = members.iter().filter(|member| !member.is_stopped()).peekable();
            if running.peek().is_none() {
                break;
            }
            running.for_each(|member| send(member, Signal::STOP));
            let known: HashSet<(i32, u64)> = members.iter().map(identity).collect();
            members = self.members();
            if members.iter().all(|member| known.contains(&identity(member))) {
                break;
            }
        }
        members
    }

    /// The living processes of the tree.
    fn members(&self) -> Vec<Stat> {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let all = procfs::processes().unwrap_or_default();
        let session_is_ours =
            !all.iter().any(|process| process.pid == self.main && process.started != self.started);
        let living = |process: &Stat| {
            process.started >= self.started && process.pid != own && process.pid != 1 && !process.is_dead()
        };
        let mut others: Vec<Stat> = all.into_iter().filter(living).collect();
        let mut members: Vec<Stat> = others
            .extract_if(.., |process| match self.has_cookie(process.pid) {
                Some(has) => has,
                None => session_is_ours && process.session == self.main,
            })
            .collect();
        let mut pids: HashSet<i32> = members.iter().map(|member| member.pid).chain([self.main]).collect();
        let mut sessions: HashSet<i32> = members.iter().map(|member| member.session).collect();
        loop {
            let related =
                |process: &mut Stat| pids.contains(&process.parent) || sessions.contains(&process.session);
            let found: Vec<Stat> = others.extract_if(.., related).collect();
            if found.is_empty() {
                return members;
            }
            pids.extend(found.iter().map(|process| process.pid));
            sessions.extend(found.iter().map(|process| process.session));
            members.extend(found);
        }
    }

    /// Whether the process has the cookie of this run; `None` if it has none of any, or cannot be asked.
    fn has_cookie(&self, pid: i32) -> Option<bool> {
        let (name, _) = self.cookie.split_once('=')?;
        let environment = procfs::environment(pid)?;
        let is_cookie = |variable: &&[u8]| {
            variable.strip_prefix(name.as_bytes()).is_some_and(|value| value.starts_with(b"="))
        };
        let cookie = environment.split(|byte| *byte == 0).find(is_cookie)?;
        Some(cookie == self.cookie.as_bytes())
    }
}

fn identity(process: &Stat) -> (i32, u64) {
    (process.pid, process.started)
}

/// Signals the process that was seen, and never another that has got its number since.
fn send(process: &Stat, signal: Signal) {
    let Some(pid) = Pid::from_raw(process.pid) else { return };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if Stat::of(process.pid).is_some_and(|now| identity(&now) == identity(process)) {
        // That it has ended in between is what was wanted; that it may not be signalled is seen by who counts.
        let _: rustix::io::Result<()> = pidfd_send_signal(&pidfd, signal);
    }
}
