//! A call over many names that takes full effect or none.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use crate::attributes::FileId;
use crate::directory_table::{DirectoryNumber, DirectoryTable, Spot};
use crate::journal::{Journal, Record};
use crate::outcomes::Outcome;
use crate::root::Engine;
use crate::tree::remove_tree;
use crate::under_way::Waiting;
use crate::undo::{Undo, roll_back};

/// Its steps so far, and how to take them back. Dropped without [`Self::commit`], it takes them back, as whoever the thread
/// acts as; the owner of one sees to that.
#[derive(Debug)]
pub(crate) struct Transaction {
    engine: Arc<Engine>,
    table: DirectoryTable,
    journal: Option<Journal>,
    undos: Vec<Undo>,
    /// Reserved names with what is to be removed in the end, whatever the end is.
    rubbish: Vec<Spot>,
    /// What commits remove: originals of moves that had to copy.
    doomed: Vec<Undo>,
    /// What is to be remembered of a call that was committed, and whether against power loss.
    outcome: Option<(Outcome, bool)>,
    /// How every reserved name of this transaction begins.
    prefix: Vec<u8>,
    next_name: u64,
}

impl Transaction {
    /// Begins one. Where the root has a state directory, a kill at any moment is repaired at the next start.
    pub(crate) fn begin(engine: Arc<Engine>) -> Result<Self, Errno> {
        let journal = match &engine.state {
            Some(state) => {
                let (file, name) = state.new_journal(&engine)?;
                Some(Journal::new(file, name))
            }
            None => None,
        };
        let mut prefix = engine.names.fresh();
        prefix.push(b'-');
        let table = DirectoryTable::default();
        engine.under_way.begin();
        Ok(Self {
            engine,
            table,
            journal,
            undos: Vec::new(),
            rubbish: Vec::new(),
            doomed: Vec::new(),
            outcome: None,
            prefix,
            next_name: 0,
        })
    }

    /// The transaction there is, or one that is begun now.
    pub(crate) fn begun<'t>(
        transaction: &'t mut Option<Self>,
        engine: &Arc<Engine>,
    ) -> Result<&'t mut Self, Errno> {
        Ok(match transaction {
            Some(transaction) => transaction,
            None => transaction.insert(Self::begin(Arc::clone(engine))?),
        })
    }

    /// Numbers a directory, remembering that reserved names will be made in it.
    pub(crate) fn directory(&mut self, descriptor: &OwnedFd) -> Result<DirectoryNumber, Errno> {
        let engine = Arc::clone(&self.engine);
        let path = |descriptor: &OwnedFd| {
            engine.state.as_ref().and_then(|state| state.path_of(&engine, descriptor.as_fd()).ok())
        };
        let (number, is_new) = self.table.number(descriptor, path)?;
        if is_new && let Some(journal) = &mut self.journal {
            let path = self.table.path(number).ok_or(Errno::NOENT)?.to_vec();
            let inode = self.table.id(number).ok_or(Errno::NOENT)?.inode;
            journal.add(&Record::Directory { path, inode, prefix: self.prefix.clone() })?;
            journal.flush()?;
        }
        Ok(number)
    }

    pub(crate) fn open(&mut self, number: DirectoryNumber) -> Result<Arc<OwnedFd>, Errno> {
        self.table.get(number, self.engine.anchor())
    }

    /// A reserved name of this transaction, which is removed in the end.
    pub(crate) fn reserve(&mut self, directory: DirectoryNumber) -> Vec<u8> {
        let name = [&self.prefix[..], format!("{:x}", self.next_name).as_bytes()].concat();
        self.next_name += 1;
        self.rubbish.push(Spot { directory, name: name.clone() });
        name
    }

    /// Says which reserved names are still in use, where the others were given away.
    pub(crate) fn settle(&mut self, rubbish: Vec<Spot>) {
        self.rubbish = rubbish;
    }

    /// Says how to take back what the caller will do next. It counts once [`Self::flush`] returns.
    pub(crate) fn plan(&mut self, undo: Undo) -> Result<(), Errno> {
        if let Some(journal) = &mut self.journal {
            journal.add(&Record::Undo(undo.clone()))?;
        }
        self.undos.push(undo);
        Ok(())
    }

    /// Removes an entry with all it holds, as the first thing after the commit.
    pub(crate) fn doom(&mut self, at: Spot, inode: u64) -> Result<(), Errno> {
        if let Some(journal) = &mut self.journal {
            journal.add(&Record::Doomed { at: at.clone(), inode })?;
            journal.flush()?;
        }
        self.doomed.push(Undo::Remove { at, inode, tree: true });
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<(), Errno> {
        self.journal.as_mut().map_or(Ok(()), Journal::flush)
    }

    /// The same, safe against power loss.
    pub(crate) fn sync(&mut self) -> Result<(), Errno> {
        self.flush()?;
        let (Some(journal), Some(state)) = (&self.journal, &self.engine.state) else { return Ok(()) };
        journal.sync()?;
        state.sync()
    }

    pub(crate) fn id(&self, number: DirectoryNumber) -> Option<FileId> {
        self.table.id(number)
    }

    pub(crate) fn directory_numbers(&self) -> std::ops::Range<DirectoryNumber> {
        0..self.table.len()
    }

    /// Ends it: what was done stays, and so does its outcome. From the moment that the record is written, a kill does not
    /// undo it.
    pub(crate) fn commit(mut self, power: bool, outcome: Option<Outcome>) -> Result<(), Errno> {
        if let Some(journal) = &mut self.journal {
            journal.add(&match &outcome {
                Some(outcome) => Record::CommittedAs(outcome.clone()),
                None => Record::Committed,
            })?;
            journal.flush()?;
            if power {
                journal.sync()?;
            }
        }
        // What is left to do is what dropping does.
        self.outcome = outcome.map(|outcome| (outcome, power));
        self.undos = std::mem::take(&mut self.doomed);
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let undos = std::mem::take(&mut self.undos);
        let rubbish = std::mem::take(&mut self.rubbish);
        let engine = Arc::clone(&self.engine);
        let recorded = match self.outcome.take() {
            Some((outcome, power)) => engine.outcomes.record(&engine, outcome, power).is_ok(),
            None => true,
        };
        let (left, swept) = roll_back(&undos, &engine, &mut self.table, |table| {
            rubbish.iter().fold(true, |clean, spot| {
                let removed = table.get(spot.directory, engine.anchor()).and_then(|directory| {
                    Ok(remove_tree(directory.as_fd(), &spot.name, &|| Ok::<(), Errno>(()))?)
                });
                removed.is_ok() && clean
            })
        });
        let swept = swept && recorded;
        let done = left.is_empty() && swept;
        let waiting = match swept && !left.is_empty() {
            true => Waiting::of(&left, &engine, &mut self.table, self.journal.as_ref()),
            false => None,
        };
        match (&mut self.journal, &engine.state) {
            (Some(journal), Some(state)) if done => {
                let _ = state.remove_journal(&engine, &journal.name);
            }
            (Some(journal), _) => {
                // The next start tries what could not be done now, and nothing else: by then, other files may have the inodes.
                let mut remaining =
                    std::iter::once(Record::Remaining).chain(left.into_iter().cloned().map(Record::Undo));
                let _ = remaining.try_for_each(|record| journal.add(&record)).and_then(|()| journal.flush());
            }
            (None, _) => {}
        }
        engine.under_way.end(&engine, waiting);
    }
}
