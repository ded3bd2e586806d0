//! Writing a file aside, chunk by chunk, until it is whole and may be published.

use std::os::fd::{AsFd, OwnedFd};

use devbox_types::file::{Durability, WriteRequest, Written};
use devbox_types::{BoxPath, DigestHasher, Right};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::condition;
use crate::directories::{MadeDirectory, take_back};
use crate::error::{At as _, FsError};
use crate::read::check_kind;
use crate::view::{Place, View};
use crate::xattrs;

/// 0o666 less the umask 022, whatever the umask of this process.
const FILE_MODE: u32 = 0o644;
/// Until it is published, only its owner may see it.
const STAGING_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Files longer than this ask for their disk space first; for shorter ones the write itself says soon enough.
const PREALLOCATE_ABOVE: u64 = 1 << 20;

/// The content of a file on its way: an unnamed file in the target's directory, and what is known of it.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) file: OwnedFd,
    /// The reserved name of a file that could not be, or was not to stay, unnamed.
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) request: WriteRequest,
    hasher: Option<DigestHasher>,
    pub(crate) written: u64,
    limit: u64,
}

/// Where a write goes.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) seen: Option<Attributes>,
    pub(crate) made: Vec<MadeDirectory>,
}

/// A file that is being written and does not show yet. Made by [`View::stage`].
///
/// Dropping it leaves everything as it was, and so does the death of the process.
#[derive(Debug)]
pub struct Staged {
    pub(crate) view: View,
    pub(crate) place: Place,
    pub(crate) draft: Draft,
    /// What was there when it was begun.
    pub(crate) seen: Option<Attributes>,
    made: Vec<MadeDirectory>,
}

impl View {
    /// Begins to write a file: checks the target and the condition, makes missing parents if asked to, and asks for disk space.
    ///
    /// # Errors
    /// What would keep the file from being published, as far as it is known now: [`FsError::PreconditionFailed`],
    /// [`FsError::IsADirectory`], [`FsError::NotARegularFile`], [`FsError::PermissionDenied`], [`FsError::NoSpace`] and others.
    pub fn stage(&self, request: WriteRequest) -> Result<Staged, FsError> {
        self.need(Right::Write)?;
        let _acting = self.act()?;
        let Target { place, seen, mut made } = self.target(&request)?;
        match Draft::open(&place, request, self.limits.bytes) {
            Ok(draft) => Ok(Staged { view: self.clone(), place, draft, seen, made }),
            Err(error) => {
                take_back(&mut made);
                Err(error)
            }
        }
    }

    /// Writes a whole file that is in memory: [`View::stage`], [`Staged::write`] and [`Staged::publish`] in one.
    ///
    /// # Errors
    /// As theirs.
    pub fn write_file(&self, request: WriteRequest, content: &[u8]) -> Result<Written, FsError> {
        let _acting = self.act()?;
        let mut staged = self.stage(request)?;
        staged.write(content)?;
        staged.publish()
    }

    /// Finds the directory and name that a write goes to, past final links, and checks what is there.
    pub(crate) fn target(&self, request: &WriteRequest) -> Result<Target, FsError> {
        let path = &request.path;
        if path.wants_directory() || path.is_root() {
            return match self.open(path, true) {
                Ok(_) | Err(FsError::NotFound { .. }) => Err(FsError::IsADirectory { path: path.clone() }),
                Err(error) => Err(error),
            };
        }
        let mut made = Vec::new();
        let place = match self.place(path) {
            Err(FsError::NotFound { .. }) if request.make_parents => {
                made = self.make_missing(&path.parent().unwrap_or_default())?;
                self.place(path)
            }
            place => place,
        };
        match place.and_then(|place| self.look_at_target(place, request)) {
            Ok((place, seen)) => Ok(Target { place, seen, made }),
            Err(error) => {
                take_back(&mut made);
                Err(error)
            }
        }
    }

    fn look_at_target(
        &self,
        mut place: Place,
        request: &WriteRequest,
    ) -> Result<(Place, Option<Attributes>), FsError> {
        let path = &request.path;
        let mut seen = place.find().at("look at", path)?;
        if !request.nofollow && seen.is_some_and(|seen| seen.is_symlink()) {
            place = self.follow(place, path)?;
            seen = place.find().at("look at", path)?;
        }
        self.check_existing(seen.as_ref(), request)?;
        Ok((place, seen))
    }

    /// Whether what is at the target may be replaced, and is what the condition asks for.
    pub(crate) fn check_existing(
        &self,
        existing: Option<&Attributes>,
        request: &WriteRequest,
    ) -> Result<(), FsError> {
        let path = &request.path;
        condition::check(&request.condition, existing, self.engine.clock, path)?;
        let Some(existing) = existing else { return Ok(()) };
        if existing.is_symlink() && request.nofollow {
            return Ok(());
        }
        if existing.is_symlink() {
            // It became one after it was looked at.
            return Err(FsError::Busy { path: path.clone() });
        }
        check_kind(existing, path)?;
        self.check_writable(existing, path)
    }

    /// A rename asks only for the directory's permission; a replace asks for the file's too, as writing to it would.
    fn check_writable(&self, existing: &Attributes, path: &BoxPath) -> Result<(), FsError> {
        const OWNER_WRITES: u32 = 0o200;
        if self.identity.is_root() {
            return Ok(());
        }
        if existing.uid() != self.identity.uid {
            return Err(FsError::OwnerWouldChange { path: path.clone() });
        }
        if existing.mode() & OWNER_WRITES == 0 {
            return Err(FsError::PermissionDenied { step: "write to", path: path.clone() });
        }
        Ok(())
    }
}

impl Draft {
    /// Opens an unnamed file in the target's directory.
    pub(crate) fn open(place: &Place, request: WriteRequest, limit: u64) -> Result<Self, FsError> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&place.directory, ".", flags, STAGING_MODE);
        Self::over(file.at("write in the directory of", &request.path)?, None, request, limit)
    }

    /// Makes a file with a reserved name, which the caller has announced, in the target's directory.
    pub(crate) fn create(
        directory: &OwnedFd,
        name: Vec<u8>,
        request: WriteRequest,
        limit: u64,
    ) -> Result<Self, FsError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, &name[..], flags, STAGING_MODE);
        let file = file.at("write in the directory of", &request.path)?;
        Self::over(file, Some(name), request, limit)
    }

    fn over(
        file: OwnedFd,
        name: Option<Vec<u8>>,
        request: WriteRequest,
        limit: u64,
    ) -> Result<Self, FsError> {
        let length = request.length.unwrap_or(0);
        if length > limit {
            return Err(FsError::TooLarge { limit_bytes: limit });
        }
        reserve_space(&file, length, &request.path)?;
        let announced = request.digests.algorithms();
        let hasher = (!announced.is_empty()).then(|| DigestHasher::new(announced));
        Ok(Self { file, name, request, hasher, written: 0, limit })
    }

    /// A file of which everything was written, and its digest compared, before.
    pub(crate) fn resumed(file: OwnedFd, name: Vec<u8>, request: WriteRequest, written: u64) -> Self {
        Self { file, name: Some(name), request, hasher: None, written, limit: u64::MAX }
    }

    pub(crate) fn write(&mut self, mut chunk: &[u8]) -> Result<(), FsError> {
        let path = &self.request.path;
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        let total = self.written.saturating_add(length);
        if total > self.limit {
            return Err(FsError::TooLarge { limit_bytes: self.limit });
        }
        if let Some(expected) = self.request.length.filter(|expected| total > *expected) {
            return Err(FsError::LongBody { path: path.clone(), expected });
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(chunk);
        }
        while !chunk.is_empty() {
            match rustix::io::write(&self.file, chunk) {
                Ok(0) => return Err(FsError::NoSpace),
                Ok(count) => chunk = &chunk[count..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(FsError::at("write", path, errno)),
            }
        }
        self.written = total;
        Ok(())
    }

    /// Checks that all has come that was announced, and safely if asked for.
    pub(crate) fn complete(&mut self) -> Result<(), FsError> {
        let path = &self.request.path;
        if let Some(expected) = self.request.length.filter(|expected| *expected != self.written) {
            return Err(FsError::ShortBody { path: path.clone(), expected, received: self.written });
        }
        if let Some(hasher) = self.hasher.take()
            && !self.request.digests.are_met_by(&hasher.finish())
        {
            return Err(FsError::DigestMismatch { path: path.clone() });
        }
        if self.request.durability == Durability::Power {
            rustix::fs::fsync(&self.file).at("sync", path)?;
        }
        Ok(())
    }

    /// Gives the file the mode, time and, of the file that it replaces, owner and extended attributes.
    pub(crate) fn dress(
        &self,
        view: &View,
        place: &Place,
        existing: Option<&Attributes>,
    ) -> Result<(), FsError> {
        let path = &self.request.path;
        let kept = existing.filter(|existing| existing.is_file());
        if let Some(kept) = kept {
            let old = view.engine.descriptors.path_at(place.directory.as_fd(), &place.name);
            xattrs::keep(old, &self.file).at("keep the extended attributes of", path)?;
            self.keep_owner(view, kept)?;
        }
        let mode = self.request.mode.or(kept.map(Attributes::mode)).unwrap_or(FILE_MODE);
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode & 0o7777)).at("set the mode of", path)?;
        if let Some(modified) = self.request.modified {
            let times = times(modified);
            rustix::fs::futimens(&self.file, &times).at("set the time of", path)?;
        }
        Ok(())
    }

    /// A file that was made in a set-group-id directory has that group, not the acting user's: looked at, not guessed.
    fn keep_owner(&self, view: &View, kept: &Attributes) -> Result<(), FsError> {
        let path = &self.request.path;
        let ours = Attributes::of(self.file.as_fd()).at("look at", path)?;
        let uid = (ours.uid() != kept.uid()).then(|| rustix::fs::Uid::from_raw(kept.uid()));
        let gid = (ours.gid() != kept.gid()).then(|| rustix::fs::Gid::from_raw(kept.gid()));
        if uid.is_none() && gid.is_none() {
            return Ok(());
        }
        match rustix::fs::fchown(&self.file, uid, gid) {
            Err(Errno::PERM) if !view.identity.is_in_group(kept.gid()) => {
                Err(FsError::OwnerWouldChange { path: path.clone() })
            }
            result => result.at("keep the owner of", path),
        }
    }
}

/// Asks for the disk space of a long file, where the file system can be asked.
pub(crate) fn reserve_space(file: &OwnedFd, length: u64, path: &BoxPath) -> Result<(), FsError> {
    if length > PREALLOCATE_ABOVE {
        match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, length) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => {}
            Err(errno) => return Err(FsError::at("ask for the space of", path, errno)),
        }
    }
    Ok(())
}

/// The access time stays, the modification time is set.
pub(crate) fn times(modified: devbox_types::Timestamp) -> Timestamps {
    let (seconds, nanoseconds) = modified.parts();
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    }
}

impl Staged {
    /// One that was written before, for a target that was looked at now.
    pub(crate) fn resumed(view: View, place: Place, draft: Draft, seen: Option<Attributes>) -> Self {
        Self { view, place, draft, seen, made: Vec::new() }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`FsError::TooLarge`], [`FsError::LongBody`], [`FsError::NoSpace`]; the target is as it was.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), FsError> {
        self.draft.write(chunk)
    }

    /// How many bytes have been written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.draft.written
    }

    /// The directories that were made for it stay.
    pub(crate) fn keep_directories(&mut self) {
        self.made.clear();
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.made.is_empty() && self.draft.name.is_none() {
            return;
        }
        let view = self.view.clone();
        // Without the acting user nothing may be touched; what stays is empty directories and a hidden name.
        let Ok(_acting) = view.act() else { return };
        if let Some(name) = &self.draft.name {
            let _ = rustix::fs::unlinkat(&self.place.directory, &name[..], AtFlags::empty());
        }
        take_back(&mut self.made);
    }
}
