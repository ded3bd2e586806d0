//! Writing into a file that is there, which keeps its inode.
//!
//! Nothing is atomic here. Each piece is written with other API writers to that file waiting, and what was written before a
//! failure is told with it.

use std::os::fd::{AsFd, OwnedFd};

use devbox_types::file::{Durability, WriteRequest, Written};
use devbox_types::patch::PatchPlace;
use devbox_types::problem::Stands;
use devbox_types::{BoxPath, DigestHasher, Right, WriteCondition};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::condition::{self, guards_a_version};
use crate::confine::open_entry;
use crate::error::{At as _, FsError};
use crate::read::{check_kind, is_generated};
use crate::stage::times;
use crate::view::{Place, View};

/// A name that leads to another file at each look this often belongs to somebody who means it: `busy`.
const MAX_RACES: usize = 64;

/// The longest file that Linux has.
const MAX_SIZE: u64 = i64::MAX.unsigned_abs();

/// What is done to the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) place: PatchPlace,
    /// The size that it is given first.
    pub(crate) truncate: Option<u64>,
    /// The size that it must have in the end.
    pub(crate) size_after: Option<u64>,
}

impl Change {
    /// All content is new.
    pub(crate) const WHOLE: Self = Self { place: PatchPlace::Offset(0), truncate: Some(0), size_after: None };

    /// Where the first of `length` bytes goes in a file of `size` bytes, and that the outcome is as it has to be.
    pub(crate) fn first_byte(
        &self,
        size: u64,
        length: Option<u64>,
        limit: u64,
        path: &BoxPath,
    ) -> Result<u64, FsError> {
        let size = self.truncate.unwrap_or(size);
        let first = match self.place {
            PatchPlace::Offset(offset) => offset,
            PatchPlace::End => size,
        };
        let length = length.unwrap_or(0);
        let end = first.checked_add(length).filter(|end| *end <= MAX_SIZE);
        let end = end.ok_or(FsError::TooLarge { limit_bytes: MAX_SIZE })?;
        let grown_to =
            if length > 0 { end.max(self.truncate.unwrap_or(0)) } else { self.truncate.unwrap_or(0) };
        if grown_to > limit {
            return Err(FsError::TooLarge { limit_bytes: limit });
        }
        let after = if length > 0 { size.max(end) } else { size };
        match self.size_after {
            Some(wanted) if wanted != after => Err(FsError::PreconditionFailed { path: path.clone() }),
            _ => Ok(first),
        }
    }
}

/// A file that is being written in its place. Made by [`View::begin_write`] and [`View::begin_patch`].
///
/// Dropping it leaves what was written.
#[derive(Debug)]
pub struct InPlace {
    view: View,
    place: Place,
    file: OwnedFd,
    /// The file as it was when it was opened.
    seen: Attributes,
    request: WriteRequest,
    change: Change,
    hasher: Option<DigestHasher>,
    /// Where the first byte goes, once something was done to the file.
    first: Option<u64>,
    written: u64,
    created: bool,
}

impl View {
    /// Opens the file that `request` names, for writing in its place; `create` makes it, empty, if it is missing.
    pub(crate) fn open_in_place(
        &self,
        request: WriteRequest,
        change: Change,
        create: bool,
    ) -> Result<InPlace, FsError> {
        self.need(Right::Write)?;
        let _acting = self.act()?;
        let path = &request.path;
        if path.wants_directory() || path.is_root() {
            return Err(FsError::IsADirectory { path: path.clone() });
        }
        let mut created = false;
        for _ in 0..MAX_RACES {
            let mut place = self.place(path)?;
            let mut found = place.find().at("look at", path)?;
            if !request.nofollow && found.is_some_and(|found| found.is_symlink()) {
                place = self.follow(place, path)?;
                found = place.find().at("look at", path)?;
            }
            if !created {
                condition::check(&request.condition, found.as_ref(), self.engine.clock, path)?;
            }
            let Some(found) = found else {
                if !create {
                    return Err(FsError::NotFound { path: path.clone() });
                }
                created |= self.create_empty(&request)?;
                continue;
            };
            check_kind(&found, path)?;
            let flags = match change.place {
                PatchPlace::Offset(_) => OFlags::empty(),
                PatchPlace::End => OFlags::APPEND,
            };
            let Some((file, seen)) = self.open_for_writing(&place, &found, flags, path)? else { continue };
            if guards_a_version(&request.condition) && !seen.is_same_content(&found) {
                return Err(FsError::PreconditionFailed { path: path.clone() });
            }
            change.first_byte(seen.size(), request.length, self.limits.bytes, path)?;
            let announced = request.digests.algorithms();
            let hasher = (!announced.is_empty()).then(|| DigestHasher::new(announced));
            let view = self.clone();
            let (first, written) = (None, 0);
            return Ok(InPlace { view, place, file, seen, request, change, hasher, first, written, created });
        }
        Err(FsError::Busy { path: path.clone() })
    }

    /// Makes the file, empty; whether it was this call that did.
    fn create_empty(&self, request: &WriteRequest) -> Result<bool, FsError> {
        let empty = WriteRequest {
            condition: WriteCondition::Absent,
            durability: request.durability,
            ..WriteRequest::to(request.path.clone())
        };
        match self.write_file(empty, b"") {
            Ok(_) => Ok(true),
            Err(FsError::PreconditionFailed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens a regular file for writing, and never anything else; `None` if the name leads to another one by now.
    fn open_for_writing(
        &self,
        place: &Place,
        found: &Attributes,
        flags: OFlags,
        path: &BoxPath,
    ) -> Result<Option<(OwnedFd, Attributes)>, FsError> {
        let named = match open_entry(place.directory.as_fd(), &place.name) {
            Err(Errno::NOENT) => return Ok(None),
            named => named.at("write to", path)?,
        };
        let looked = Attributes::of(named.as_fd()).at("look at", path)?;
        if looked.id() != found.id() {
            return Ok(None);
        }
        check_kind(&looked, path)?;
        if is_generated(named.as_fd()).at("look at", path)? {
            return Err(FsError::KernelFile { path: path.clone() });
        }
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | flags;
        let file = self.engine.descriptors.reopen(named.as_fd(), flags).at("write to", path)?;
        let seen = Attributes::of(file.as_fd()).at("look at", path)?;
        Ok(Some((file, seen)))
    }
}

impl InPlace {
    /// Writes the next bytes.
    ///
    /// # Errors
    /// [`FsError::TooLarge`], [`FsError::LongBody`], [`FsError::NoSpace`], [`FsError::PreconditionFailed`] and others; as
    /// [`FsError::Halfway`] once something was done to the file.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), FsError> {
        let view = self.view.clone();
        let written = self.in_turn(&view, |this| this.write_piece(chunk));
        written.map_err(|error| self.halfway(error))
    }

    /// Ends the write: checks that all has come, and what it hashes to.
    ///
    /// # Errors
    /// [`FsError::ShortBody`], [`FsError::DigestMismatch`]; [`FsError::Conflict`] if the path leads to another file by now; as
    /// [`FsError::Halfway`] once something was done to the file.
    pub fn finish(mut self) -> Result<Written, FsError> {
        let view = self.view.clone();
        let ended = self.in_turn(&view, Self::end);
        ended.map_err(|error| self.halfway(error))
    }

    /// What a failure leaves; `None` while nothing was done to the file.
    #[must_use]
    pub fn stands(&self) -> Option<Stands> {
        self.first?;
        let size = Attributes::of(self.file.as_fd()).map_or(0, |now| now.size());
        Some(Stands { written_bytes: self.written, size_bytes: size })
    }

    /// Does something as the acting user, while no other API writer writes to this file or publishes under its name.
    fn in_turn<T>(
        &mut self,
        view: &View,
        act: impl FnOnce(&mut Self) -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        let _acting = view.act()?;
        let directory = Attributes::of(self.place.directory.as_fd()).at("look at", &self.request.path)?;
        let name = self.place.name.clone();
        let names = [(directory.id(), &name[..]), (self.seen.id(), &b""[..])];
        let _turn = view.engine.locks.lock_all(names.into_iter());
        act(self)
    }

    /// Prepares the file for its first byte, and returns where that goes.
    fn begin(&mut self) -> Result<u64, FsError> {
        if let Some(first) = self.first {
            return Ok(first);
        }
        let path = &self.request.path;
        let now = Attributes::of(self.file.as_fd()).at("look at", path)?;
        if guards_a_version(&self.request.condition) && !now.is_same_version(&self.seen) {
            return Err(FsError::PreconditionFailed { path: path.clone() });
        }
        self.check_name()?;
        let limit = self.view.limits.bytes;
        let first = self.change.first_byte(now.size(), self.request.length, limit, path)?;
        if let Some(size) = self.change.truncate {
            rustix::fs::ftruncate(&self.file, size).at("set the size of", path)?;
        }
        self.first = Some(first);
        Ok(first)
    }

    fn write_piece(&mut self, mut chunk: &[u8]) -> Result<(), FsError> {
        let first = self.begin()?;
        self.check_room(first, chunk)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(chunk);
        }
        while !chunk.is_empty() {
            let wrote = match self.change.place {
                PatchPlace::Offset(_) => rustix::io::pwrite(&self.file, chunk, first + self.written),
                PatchPlace::End => rustix::io::write(&self.file, chunk),
            };
            match wrote {
                Ok(0) => return Err(FsError::NoSpace),
                Ok(count) => {
                    self.written += u64::try_from(count).unwrap_or(0);
                    chunk = &chunk[count..];
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(FsError::at("write to", &self.request.path, errno)),
            }
        }
        Ok(())
    }

    /// Whether a piece is within what was announced, and within what the file may have.
    fn check_room(&self, first: u64, chunk: &[u8]) -> Result<(), FsError> {
        let path = &self.request.path;
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        let total = self.written.saturating_add(length);
        if let Some(expected) = self.request.length.filter(|expected| total > *expected) {
            return Err(FsError::LongBody { path: path.clone(), expected });
        }
        let end = match self.change.place {
            PatchPlace::Offset(_) => first.saturating_add(total),
            PatchPlace::End => {
                Attributes::of(self.file.as_fd()).at("look at", path)?.size().saturating_add(length)
            }
        };
        let limit = self.view.limits.bytes.min(MAX_SIZE);
        if end > limit { Err(FsError::TooLarge { limit_bytes: limit }) } else { Ok(()) }
    }

    fn end(&mut self) -> Result<Written, FsError> {
        self.begin()?;
        let path = &self.request.path;
        if let Some(expected) = self.request.length.filter(|expected| *expected != self.written) {
            return Err(FsError::ShortBody { path: path.clone(), expected, received: self.written });
        }
        if let Some(hasher) = self.hasher.take()
            && !self.request.digests.are_met_by(&hasher.finish())
        {
            return Err(FsError::DigestMismatch { path: path.clone() });
        }
        if let Some(mode) = self.request.mode {
            rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode & 0o7777)).at("set the mode of", path)?;
        }
        if let Some(modified) = self.request.modified {
            rustix::fs::futimens(&self.file, &times(modified)).at("set the time of", path)?;
        }
        if self.request.durability == Durability::Power {
            rustix::fs::fsync(&self.file).at("sync", path)?;
        }
        self.check_name()?;
        let now = Attributes::of(self.file.as_fd()).at("look at", path)?;
        Ok(Written { entry: self.view.entry(path.clone(), &now, None), created: self.created })
    }

    /// Whether the path still leads to the file: what is written to one that was replaced, nobody will read.
    fn check_name(&self) -> Result<(), FsError> {
        let path = &self.request.path;
        let here = Attributes::of(self.file.as_fd()).at("look at", path)?;
        match self.place.find().at("look at", path)? {
            Some(named) if named.id() == here.id() => Ok(()),
            _ => Err(FsError::Conflict { paths: vec![path.clone()] }),
        }
    }

    fn halfway(&self, error: FsError) -> FsError {
        match self.stands() {
            Some(stands) => FsError::Halfway { source: Box::new(error), stands },
            None => error,
        }
    }
}
