//! Writing many files: all of them, or none.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::sync::Arc;

use devbox_types::file::{Durability, WriteRequest};
use devbox_types::operation::{Operations, Report};
use devbox_types::{BoxPath, Right, WriteCondition};
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::directory_table::Spot;
use crate::error::{At as _, FsError};
use crate::extract::Extraction;
use crate::fingerprint::Fingerprint;
use crate::held::Held;
use crate::outcomes::Ticket;
use crate::publish::{exchange, sync_directory};
use crate::stage::{self, Draft};
use crate::transaction::Transaction;
use crate::undo::Undo;
use crate::view::{Place, View};

/// Files that are written together. Made by [`View::batch`].
///
/// For each file in turn: [`Batch::begin`], [`Batch::write`] as often as needed, [`Batch::finish`]. Then [`Batch::publish`].
/// Dropping it before that leaves everything as it was; so does the death of the process, once the root is opened again.
#[derive(Debug)]
pub struct Batch {
    pub(crate) view: View,
    /// Taken by publishing.
    pub(crate) transaction: Option<Transaction>,
    pub(crate) current: Option<(Draft, Place, Target)>,
    pub(crate) ready: Vec<Ready>,
    pub(crate) taken: HashSet<(usize, Vec<u8>)>,
    bytes: u64,
    power: bool,
    /// The most entries that it may have.
    pub(crate) most: u64,
    /// What it has beside files, if it is of an archive.
    pub(crate) extraction: Option<Extraction>,
}

/// Where a file goes.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) spot: Spot,
    pub(crate) staged: Vec<u8>,
    seen: Option<Attributes>,
}

/// A file that is whole under a reserved name.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) target: Target,
    pub(crate) request: WriteRequest,
    pub(crate) inode: u64,
}

impl View {
    /// Begins a batch.
    ///
    /// # Errors
    /// [`FsError::Forbidden`], or what keeps its journal from being made.
    pub fn batch(&self) -> Result<Batch, FsError> {
        self.need(Right::Write)?;
        let transaction =
            Transaction::begin(Arc::clone(&self.engine)).at("begin a batch in", &BoxPath::root())?;
        Ok(Batch {
            view: self.clone(),
            transaction: Some(transaction),
            current: None,
            ready: Vec::new(),
            taken: HashSet::new(),
            bytes: 0,
            power: false,
            most: u64::try_from(Operations::MAX).unwrap_or(u64::MAX).min(self.limits.entries),
            extraction: None,
        })
    }
}

impl Batch {
    /// Begins the next file: checks its target and condition, makes missing parents if asked to.
    ///
    /// # Errors
    /// As [`View::stage`]; [`FsError::Invalid`] for a path that the batch has already; [`FsError::TooManyEntries`]. The batch is
    /// then to be dropped.
    pub fn begin(&mut self, request: WriteRequest) -> Result<(), FsError> {
        if self.current.is_some() {
            return Err(FsError::Invalid { reason: "the file before this one is not finished" });
        }
        if request.in_place {
            return Err(FsError::Invalid {
                reason: "the files of a batch are replaced, not written in place",
            });
        }
        let count = u64::try_from(self.ready.len()).unwrap_or(u64::MAX).saturating_add(1);
        if count > self.most {
            return Err(FsError::TooManyEntries { limit: self.most });
        }
        self.count()?;
        let view = self.view.clone();
        let _acting = view.act()?;
        let (place, target) = self.claim(&request)?;
        let limit = view.limits.bytes.saturating_sub(self.bytes);
        self.power |= request.durability == Durability::Power;
        let draft = Draft::create(&place.directory, target.staged.clone(), request, limit)?;
        self.current = Some((draft, place, target));
        Ok(())
    }

    /// Finds where an entry goes, makes missing parents if asked to, and takes the name for it.
    pub(crate) fn claim(&mut self, request: &WriteRequest) -> Result<(Place, Target), FsError> {
        let path = &request.path;
        self.transaction()?;
        let stage::Target { place, seen, made } = self.view.target(request, &mut self.transaction)?;
        self.remember(made)?;
        let transaction =
            self.transaction.as_mut().ok_or(FsError::Invalid { reason: "the batch has ended" })?;
        let number = transaction.directory(&place.directory).at("remember", path)?;
        transaction.flush().at("remember", path)?;
        if !self.taken.insert((number, place.name.clone())) {
            return Err(FsError::Invalid { reason: "two files of the batch have the same path" });
        }
        let staged = transaction.reserve(number);
        let spot = Spot { directory: number, name: place.name.clone() };
        Ok((place, Target { spot, staged, seen }))
    }

    /// Appends bytes to the current file.
    ///
    /// # Errors
    /// [`FsError::TooLarge`], which counts the whole batch, [`FsError::NoSpace`] and others.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), FsError> {
        let (draft, ..) = self.current.as_mut().ok_or(FsError::Invalid { reason: "no file was begun" })?;
        draft.write(chunk)
    }

    /// Leaves a hole of so many bytes in the current file: zeros that take no room. They count as bytes all the same.
    ///
    /// # Errors
    /// As [`Batch::write`].
    pub fn skip(&mut self, length: u64) -> Result<(), FsError> {
        let (draft, ..) = self.current.as_mut().ok_or(FsError::Invalid { reason: "no file was begun" })?;
        draft.skip(length)
    }

    /// Ends the current file: checks its length and digest, and gives it its mode, owner and time.
    ///
    /// # Errors
    /// [`FsError::ShortBody`], [`FsError::DigestMismatch`] and others. The batch is then to be dropped.
    pub fn finish(&mut self) -> Result<(), FsError> {
        let (mut draft, place, target) =
            self.current.take().ok_or(FsError::Invalid { reason: "no file was begun" })?;
        let view = self.view.clone();
        let _acting = view.act()?;
        draft.complete()?;
        draft.dress(&view, &place, target.seen.as_ref())?;
        let inode = Attributes::of(draft.file.as_fd()).at("look at", &draft.request.path)?.id().inode;
        self.bytes = self.bytes.saturating_add(draft.written);
        self.ready.push(Ready { target, request: draft.request, inode });
        self.remember_file();
        Ok(())
    }

    /// Adds a whole file that is in memory: [`Batch::begin`], [`Batch::write`] and [`Batch::finish`] in one.
    ///
    /// # Errors
    /// As theirs.
    pub fn add(&mut self, request: WriteRequest, content: &[u8]) -> Result<(), FsError> {
        let view = self.view.clone();
        let _acting = view.act()?;
        self.begin(request)?;
        self.write(content)?;
        self.finish()
    }

    /// Publishes all files, or none.
    ///
    /// All targets are checked first, with other API writers to these names waiting; what changed since it was looked at is
    /// not overwritten. Processes in the box may see the publishing in progress.
    ///
    /// # Errors
    /// [`FsError::PreconditionFailed`], [`FsError::Conflict`] with the paths, and others; nothing is changed then.
    pub fn publish(self) -> Result<Report, FsError> {
        self.publish_for(None)
    }

    /// The same of a call with a key, whose outcome is remembered with the fingerprint of all that it brought.
    ///
    /// # Errors
    /// As [`Batch::publish`].
    pub fn publish_for(mut self, keyed: Option<(Ticket, Fingerprint)>) -> Result<Report, FsError> {
        if self.current.is_some() {
            return Err(FsError::Invalid { reason: "the last file is not finished" });
        }
        let view = self.view.clone();
        let _acting = view.act()?;
        let mut transaction =
            self.transaction.take().ok_or(FsError::Invalid { reason: "the batch has ended" })?;
        let names = self.ready.iter().filter_map(|ready| {
            let spot = &ready.target.spot;
            Some((transaction.id(spot.directory)?, &spot.name[..]))
        });
        let _turn = view.engine.locks.lock_all(names);
        self.check_all(&mut transaction)?;
        for ready in &self.ready {
            transaction.plan(ready.undo()).at("remember", &ready.request.path)?;
        }
        let here = BoxPath::root();
        match self.power {
            true => transaction.sync().at("sync the journal of", &here)?,
            false => transaction.flush().at("write the journal of", &here)?,
        }
        for ready in &self.ready {
            ready.publish(&mut transaction)?;
        }
        self.dress_directories(&mut transaction)?;
        if self.power {
            for number in transaction.directory_numbers() {
                let directory = transaction.open(number).at("sync", &here)?;
                sync_directory(directory.as_fd()).at("sync", &here)?;
            }
        }
        // The new files went from their reserved names; under those of replaced ones are the old files.
        let replaced = self.ready.iter().filter(|ready| ready.target.seen.is_some());
        transaction.settle(replaced.map(|ready| ready.target.staged_spot()).collect());
        let entries = self.entries();
        let report = Report { entries, bytes: self.bytes, atomic: entries == 1, ..Report::default() };
        let outcome = keyed.as_ref().map(|(ticket, content)| ticket.outcome(*content, &report));
        transaction.commit(self.power, outcome).at("write the journal of", &here)?;
        Ok(report)
    }

    fn check_all(&self, transaction: &mut Transaction) -> Result<(), FsError> {
        let mut conflicts = Vec::new();
        for ready in &self.ready {
            let path = &ready.request.path;
            let directory = transaction.open(ready.target.spot.directory).at("reach", path)?;
            let now = Attributes::find(directory.as_fd(), &ready.target.spot.name).at("look at", path)?;
            let same = match (&now, &ready.target.seen) {
                (None, None) => true,
                (Some(now), Some(seen)) => now.is_same_version(seen),
                (None, Some(_)) | (Some(_), None) => false,
            };
            // A condition that does not hold is told as such; all that changed besides is told together.
            if same || ready.request.condition != WriteCondition::None {
                self.view.check_existing(now.as_ref(), &ready.request)?;
            }
            if !same {
                conflicts.push(path.clone());
            }
        }
        if conflicts.is_empty() { Ok(()) } else { Err(FsError::Conflict { paths: conflicts }) }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // Its transaction takes back as the acting user what it did as the acting user.
        let view = self.view.clone();
        let _acting = view.act();
        self.current = None;
        self.transaction = None;
    }
}

impl Target {
    fn staged_spot(&self) -> Spot {
        Spot { directory: self.spot.directory, name: self.staged.clone() }
    }
}

impl Ready {
    fn undo(&self) -> Undo {
        let (target, inode) = (self.target.spot.clone(), self.inode);
        match self.target.seen {
            None => Undo::Remove { at: target, inode, tree: false },
            Some(_) => Undo::ExchangeBack { target, staged: self.target.staged.clone(), inode },
        }
    }

    fn publish(&self, transaction: &mut Transaction) -> Result<(), FsError> {
        let path = &self.request.path;
        let Target { spot, staged, seen } = &self.target;
        let directory = transaction.open(spot.directory).at("reach", path)?;
        let directory = directory.as_fd();
        let conflict = || FsError::Conflict { paths: vec![path.clone()] };
        let Some(seen) = seen else {
            return match rustix::fs::renameat_with(
                directory,
                &staged[..],
                directory,
                &spot.name[..],
                RenameFlags::NOREPLACE,
            ) {
                Err(Errno::EXIST) => Err(conflict()),
                result => result.at("publish", path),
            };
        };
        let held = Held::of(directory, &spot.name, seen).at("look at", path)?.ok_or_else(conflict)?;
        match exchange(directory, staged, &spot.name) {
            Err(Errno::NOENT) => return Err(conflict()),
            result => result.at("publish", path)?,
        }
        if held.is_at(directory, staged).at("look at", path)? { Ok(()) } else { Err(conflict()) }
    }
}
