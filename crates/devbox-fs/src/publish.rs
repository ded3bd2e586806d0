//! Giving a staged file its name: by one link where there is none, by one rename where there is.

use std::os::fd::{AsFd, BorrowedFd};

use devbox_types::file::{Durability, Written};
use devbox_types::{BoxPath, Entry};
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::condition::guards_a_version;
use crate::directory_table::Spot;
use crate::error::{At as _, FsError};
use crate::held::Held;
use crate::stage::Staged;
use crate::undo::Undo;

/// A name that appears and vanishes between a look and a rename this often belongs to somebody who means it: `busy`.
const MAX_RACES: usize = 64;

/// What the content of a file was made of, and what its target must therefore still be.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "there is one for each write, and it is a field of it")]
pub(crate) enum Base {
    /// Of nothing that was there.
    Any,
    /// Of there being no file.
    Nothing,
    /// Of this version of the file.
    Version(Attributes),
}

/// How an attempt to publish ended.
enum Attempt {
    Done {
        created: bool,
    },
    /// The target is not what it was when it was looked at; look again.
    Raced,
    /// A process in the box replaced what this call had just published.
    Overtaken,
}

impl Staged {
    /// Publishes the file under its path, or leaves everything as it was.
    ///
    /// The length and digest are checked first, then the condition, with other API writers to that name waiting. A version
    /// that a condition names is exchanged with the new file and looked at: if a process in the box changed it in the last
    /// moment, it is exchanged back, and may have seen the new file in between. Mode, owner, `user.*` and `security.*` attributes of a replaced file are kept.
    ///
    /// # Errors
    /// [`FsError::ShortBody`], [`FsError::DigestMismatch`], [`FsError::PreconditionFailed`], [`FsError::NoSpace`] and others; in
    /// each case the old file is intact.
    pub fn publish(mut self) -> Result<Written, FsError> {
        let view = self.view.clone();
        let _acting = view.act()?;
        let published = self.try_to_publish();
        if self.parked.is_some() && published.as_ref().is_err_and(FsError::may_pass) {
            // It lies where it was parked, and waits there.
            self.draft.name = None;
        }
        published
    }

    fn try_to_publish(&mut self) -> Result<Written, FsError> {
        self.draft.complete()?;
        let created = self.create_at_once()? || self.publish_under_lock()?;
        if self.is_for_power()
            && let Err(error) = self.sync()
        {
            self.withdraw(created);
            return Err(error);
        }
        self.keep_directories()?;
        self.sweep();
        Ok(Written { entry: self.entry()?, created })
    }

    /// Where there was nothing and no version is asked for, the link itself is the check, and needs no lock.
    fn create_at_once(&mut self) -> Result<bool, FsError> {
        if self.seen.is_some() || self.guards_a_version() {
            return Ok(false);
        }
        let view = self.view.clone();
        self.draft.dress(&view, &self.place, None)?;
        match self.create().at("publish", self.path())? {
            Attempt::Done { created } => Ok(created),
            Attempt::Raced | Attempt::Overtaken => Ok(false),
        }
    }

    fn publish_under_lock(&mut self) -> Result<bool, FsError> {
        let directory = Attributes::of(self.place.directory.as_fd()).at("look at", self.path())?;
        let view = self.view.clone();
        let _turn = view.engine.locks.lock(directory.id(), &self.place.name);
        for _ in 0..MAX_RACES {
            let existing = self.place.find().at("look at", self.path())?;
            view.check_existing(existing.as_ref(), &self.draft.request)?;
            self.check_base(existing.as_ref())?;
            match self.draft.dress(&view, &self.place, existing.as_ref()) {
                Err(FsError::NotFound { .. }) => continue,
                result => result?,
            }
            if existing.is_some() {
                // Somebody works in the directories that were made for this, so they stay.
                self.keep_directories()?;
            }
            let attempt = match existing {
                None => self.create(),
                // What cannot be synced has to come back.
                Some(existing) if self.guards_a_version() || self.is_for_power() => self.swap(&existing),
                Some(_) => self.replace(),
            };
            match attempt.at("publish", self.path())? {
                Attempt::Done { created } => return Ok(created),
                Attempt::Raced => {}
                Attempt::Overtaken => break,
            }
        }
        if self.guards_a_version() {
            return Err(self.overtaken());
        }
        Err(FsError::Busy { path: self.path().clone() })
    }

    fn is_for_power(&self) -> bool {
        self.draft.request.durability == Durability::Power
    }

    /// Whether a version must not be overwritten by mistake: one that the caller named, or that the content was made of.
    fn guards_a_version(&self) -> bool {
        matches!(self.from, Base::Version(_)) || guards_a_version(&self.draft.request.condition)
    }

    fn check_base(&self, existing: Option<&Attributes>) -> Result<(), FsError> {
        let same = match (&self.from, existing) {
            (Base::Any, _) | (Base::Nothing, None) => true,
            (Base::Version(base), Some(existing)) => existing.is_same_version(base),
            (Base::Nothing, Some(_)) | (Base::Version(_), None) => false,
        };
        if same { Ok(()) } else { Err(self.overtaken()) }
    }

    /// Somebody else was faster.
    fn overtaken(&self) -> FsError {
        let path = self.path().clone();
        match guards_a_version(&self.draft.request.condition) {
            true => FsError::PreconditionFailed { path },
            false => FsError::Conflict { paths: vec![path] },
        }
    }

    fn create(&mut self) -> Result<Attempt, Errno> {
        let power = self.is_for_power();
        if let Some(made) = &mut self.made {
            let inode = Attributes::of(self.draft.file.as_fd())?.id().inode;
            let number = made.directory(&self.place.directory)?;
            let at = Spot { directory: number, name: self.place.name.clone() };
            made.plan(Undo::Remove { at, inode, tree: false })?;
            if power { made.sync()? } else { made.flush()? }
        }
        let directory = self.place.directory.as_fd();
        let file = self.draft.file.as_fd();
        let named = match &self.draft.name {
            None => self.view.engine.descriptors.link(file, directory, &self.place.name),
            // It got a name in a race before, and a file that lost its only name never gets another.
            Some(name) => rename_to_free(directory, name, &self.place.name),
        };
        match named {
            Ok(()) => {
                self.draft.name = None;
                Ok(Attempt::Done { created: true })
            }
            Err(Errno::EXIST) => Ok(Attempt::Raced),
            Err(errno) => Err(errno),
        }
    }

    /// Renames the new file over the old one.
    fn replace(&mut self) -> Result<Attempt, Errno> {
        let name = self.name_it()?;
        let directory = self.place.directory.as_fd();
        rustix::fs::renameat(directory, &name[..], directory, &self.place.name[..])?;
        self.draft.name = None;
        Ok(Attempt::Done { created: false })
    }

    /// Exchanges the new file with the old one, and back if the old one is not the version that was looked at. Under the
    /// reserved name, which is swept in the end, is then the old file.
    fn swap(&mut self, existing: &Attributes) -> Result<Attempt, Errno> {
        let held = Held::of(self.place.directory.as_fd(), &self.place.name, existing)?;
        let Some(held) = held else { return Ok(Attempt::Raced) };
        let name = self.name_it()?;
        let directory = self.place.directory.as_fd();
        match exchange(directory, &name, &self.place.name) {
            Err(Errno::NOENT) => return Ok(Attempt::Raced),
            // Older file systems say so where they cannot exchange.
            Err(Errno::INVAL) => return Err(Errno::OPNOTSUPP),
            result => result?,
        }
        if held.is_at(directory, &name)? {
            return Ok(Attempt::Done { created: false });
        }
        exchange(directory, &name, &self.place.name)?;
        if Attributes::at(directory, &name)?.id() == Attributes::of(self.draft.file.as_fd())?.id() {
            return Ok(Attempt::Raced);
        }
        // A process replaced ours before we took it back: its file is the newest, and stays.
        exchange(directory, &name, &self.place.name)?;
        Ok(Attempt::Overtaken)
    }

    /// Gives the file a reserved name, remembered so that it is removed if this process dies.
    fn name_it(&mut self) -> Result<Vec<u8>, Errno> {
        let engine = &self.view.engine;
        let name = self.draft.name.clone().unwrap_or_else(|| engine.names.fresh());
        let directory = self.place.directory.as_fd();
        // One that was parked is remembered by who parked it.
        if self.announced.is_none() && self.draft.name.is_none() {
            self.announced = self.view.announce(&self.place, &name)?;
        }
        if self.draft.name.is_none() {
            engine.descriptors.link(self.draft.file.as_fd(), directory, &name)?;
            self.draft.name = Some(name.clone());
        }
        Ok(name)
    }

    /// Syncs the file, its directory, and those in which directories were made for it.
    fn sync(&mut self) -> Result<(), FsError> {
        rustix::fs::fsync(&self.draft.file).at("sync", self.path())?;
        sync_directory(self.place.directory.as_fd()).at("sync the directory of", self.path())?;
        let Some(made) = &mut self.made else { return Ok(()) };
        let path = &self.draft.request.path;
        for number in made.directory_numbers() {
            let directory = made.open(number).at("sync the directory of", path)?;
            sync_directory(directory.as_fd()).at("sync the directory of", path)?;
        }
        Ok(())
    }

    /// Takes the published file back, as far as it is still there: the old one comes back, or none.
    fn withdraw(&mut self, created: bool) {
        if self.made.take().is_some() {
            return;
        }
        let (directory, target) = (self.place.directory.as_fd(), &self.place.name[..]);
        let ours = Attributes::of(self.draft.file.as_fd()).map(|ours| ours.id());
        let is_ours = |there: Attributes| ours.is_ok_and(|ours| ours == there.id());
        if !Attributes::at(directory, target).is_ok_and(is_ours) {
            return;
        }
        let _ = match (&self.draft.name, &self.parked) {
            (Some(old), _) if !created => exchange(directory, old, target),
            (_, Some(parked)) => rename_to_free(directory, target, parked),
            _ => rustix::fs::unlinkat(directory, target, AtFlags::empty()),
        };
    }

    fn entry(&self) -> Result<Entry, FsError> {
        let attributes = Attributes::of(self.draft.file.as_fd()).at("look at", self.path())?;
        Ok(self.view.entry(self.path().clone(), &attributes, None))
    }

    fn path(&self) -> &BoxPath {
        &self.draft.request.path
    }
}

/// Renames within one directory; EEXIST if the new name is taken.
fn rename_to_free(directory: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> Result<(), Errno> {
    rustix::fs::renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE)
}

/// Exchanges two names of one directory in one step.
pub(crate) fn exchange(directory: BorrowedFd<'_>, a: &[u8], b: &[u8]) -> Result<(), Errno> {
    rustix::fs::renameat_with(directory, a, directory, b, RenameFlags::EXCHANGE)
}

pub(crate) fn sync_directory(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    // An O_PATH descriptor cannot be synced.
    match crate::confine::open_listing(directory, b".") {
        Ok(directory) => rustix::fs::fsync(directory),
        Err(errno) => Err(errno),
    }
}
