//! Calls that are under way, and directories that wait for one of them.
//!
//! A call that is given up takes back the directories that it made on the way. Another call may have gone into one of them by
//! then, and be given up in its turn: whichever ends last takes the directory back. What files of others are in stays.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::confine::open_entry;
use crate::directory_table::DirectoryTable;
use crate::journal::Journal;
use crate::root::Engine;
use crate::undo::{Undo, is_inode};

/// How many calls may wait for their directories. Each holds two descriptors for a directory; of more, the journals wait for the
/// next start.
const MAX_WAITING: usize = 64;
/// The most directories that one of them may wait for.
const MAX_DIRECTORIES: usize = 16;

/// The transactions of a root that are under way.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(Mutex<Calls>);

#[derive(Debug, Default)]
struct Calls {
    count: usize,
    waiting: Vec<Waiting>,
}

/// A call that has ended, but for directories that were in use.
#[derive(Debug)]
pub(crate) struct Waiting {
    directories: Vec<Made>,
    /// The journal that says so to the next start.
    journal: Option<String>,
}

#[derive(Debug)]
struct Made {
    parent: Arc<OwnedFd>,
    name: Vec<u8>,
    inode: u64,
    /// Held, so that no other directory gets its inode.
    _itself: OwnedFd,
}

impl UnderWay {
    pub(crate) fn begin(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count += 1;
    }

    /// Ends a call, with what it has to wait for, and takes back what waited for it.
    pub(crate) fn end(&self, engine: &Engine, left: Option<Waiting>) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.count = calls.count.saturating_sub(1);
        if calls.waiting.len() < MAX_WAITING {
            calls.waiting.extend(left);
        }
        let mut before = usize::MAX;
        // A directory that goes may have been the last one in another.
        while calls.directories() < before {
            before = calls.directories();
            calls.waiting.retain_mut(|waiting| !waiting.is_over(engine));
        }
        if calls.count == 0 {
            calls.waiting.drain(..).for_each(|waiting| waiting.give_up(engine));
        }
    }
}

impl Calls {
    fn directories(&self) -> usize {
        self.waiting.iter().map(|waiting| waiting.directories.len()).sum()
    }
}

impl Waiting {
    /// What could not be taken back, if all of it is directories that were not empty.
    pub(crate) fn of(
        left: &[&Undo],
        engine: &Engine,
        table: &mut DirectoryTable,
        journal: Option<&Journal>,
    ) -> Option<Self> {
        if left.len() > MAX_DIRECTORIES {
            return None;
        }
        let directories = left.iter().map(|undo| Made::of(undo, engine, table)).collect::<Option<_>>()?;
        Some(Self { directories, journal: journal.map(|journal| journal.name.clone()) })
    }

    /// Takes back what can be by now; whether that is all.
    fn is_over(&mut self, engine: &Engine) -> bool {
        self.directories.retain(|made| made.remove().is_err());
        if self.directories.is_empty() {
            self.forget(engine);
        }
        self.directories.is_empty()
    }

    /// No call is in them any more: what others put there stays, and its directories with it. After any other error the
    /// journal is left to the next start.
    fn give_up(&self, engine: &Engine) {
        if self.directories.iter().all(|made| made.remove() == Err(Errno::NOTEMPTY)) {
            self.forget(engine);
        }
    }

    fn forget(&self, engine: &Engine) {
        if let (Some(journal), Some(state)) = (&self.journal, &engine.state) {
            // What stays of it is read, and found done, at the next start.
            let _ = state.remove_journal(engine, journal);
        }
    }
}

impl Made {
    fn of(undo: &Undo, engine: &Engine, table: &mut DirectoryTable) -> Option<Self> {
        let Undo::Remove { at, inode, tree: false } = undo else { return None };
        let parent = table.get(at.directory, engine.anchor()).ok()?;
        let itself = open_entry(parent.as_fd(), &at.name).ok()?;
        let made = Self { parent, name: at.name.clone(), inode: *inode, _itself: itself };
        (made.remove() == Err(Errno::NOTEMPTY)).then_some(made)
    }

    fn remove(&self) -> Result<(), Errno> {
        if !is_inode(self.parent.as_fd(), &self.name, self.inode)? {
            return Ok(());
        }
        rustix::fs::unlinkat(&self.parent, &self.name[..], AtFlags::REMOVEDIR)
    }
}
