//! Copying an entry, with all it holds, to a name that nobody uses.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use devbox_types::{BoxPath, EntryKind};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

use crate::attributes::Attributes;
use crate::confine::{open_entry, open_listing};
use crate::content::{self, Stop};
use crate::error::{At as _, FsError};
use crate::read::read_generated;
use crate::reserved;
use crate::view::View;
use crate::xattrs;

/// Two descriptors are held per level.
const MAX_DEPTH: usize = 200;
/// Set-user-ID and set-group-ID, which a copy that belongs to somebody else must not have.
const SET_ID: u32 = 0o6000;

/// Copies trees, and counts.
pub(crate) struct Copier<'a> {
    view: &'a View,
    path: &'a BoxPath,
    /// Whether the copy gets the owner of the original, as a move needs it.
    keep_owner: bool,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// A directory that is being copied.
struct Level {
    from: Dir,
    to: OwnedFd,
    attributes: Attributes,
}

impl<'a> Copier<'a> {
    pub(crate) fn new(view: &'a View, path: &'a BoxPath, keep_owner: bool) -> Self {
        Self { view, path, keep_owner, entries: 0, bytes: 0 }
    }

    /// Copies `name` of `from` to `new_name` in `to`. The caller removes what there is of it after an error.
    ///
    /// Files share their blocks with the original where the file system can, and keep their holes. Modes, times and extended
    /// attributes are copied; the copy belongs to the acting user unless `keep_owner`. Links are copied, not followed; devices
    /// and sockets are refused.
    pub(crate) fn copy(
        &mut self,
        from: BorrowedFd<'_>,
        name: &[u8],
        to: BorrowedFd<'_>,
        new_name: &[u8],
    ) -> Result<(), FsError> {
        let mut levels: Vec<Level> = Vec::new();
        levels.extend(self.copy_entry(from, name, to, new_name)?);
        while let Some(level) = levels.last_mut() {
            let entry = match level.from.read() {
                Some(entry) => entry.at("read", self.path)?,
                None => {
                    if let Some(level) = levels.pop() {
                        let original = level.from.fd().at("read", self.path)?;
                        self.dress(original, b".", &level.attributes, &level.to)?;
                    }
                    continue;
                }
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || reserved::is_reserved(name) {
                continue;
            }
            let from = level.from.fd().at("read", self.path)?;
            let deeper = match self.copy_entry(from, name, level.to.as_fd(), name) {
                // It vanished after its name was read.
                Err(FsError::NotFound { .. }) => None,
                deeper => deeper?,
            };
            if levels.len() == MAX_DEPTH && deeper.is_some() {
                return Err(FsError::TooDeep { path: self.path.clone(), limit: MAX_DEPTH });
            }
            levels.extend(deeper);
        }
        Ok(())
    }

    fn copy_entry(
        &mut self,
        from: BorrowedFd<'_>,
        name: &[u8],
        to: BorrowedFd<'_>,
        new_name: &[u8],
    ) -> Result<Option<Level>, FsError> {
        let path = self.path;
        self.entries += 1;
        self.view.limits.check_entries(self.entries)?;
        self.view.limits.check_time()?;
        let original = open_entry(from, name).at("read", path)?;
        let attributes = Attributes::of(original.as_fd()).at("look at", path)?;
        match attributes.kind() {
            EntryKind::Directory => {
                let listing = open_listing(original.as_fd(), b".").at("read", path)?;
                rustix::fs::mkdirat(to, new_name, Mode::RWXU).at("make a directory for", path)?;
                let to = open_listing(to, new_name).at("open the copy of", path)?;
                let from = Dir::new(listing).at("read", path)?;
                return Ok(Some(Level { from, to, attributes }));
            }
            EntryKind::File => {
                let copy = self.copy_file(&original, &attributes, to, new_name)?;
                self.dress(from, name, &attributes, &copy)?;
            }
            EntryKind::Symlink => {
                let target = rustix::fs::readlinkat(&original, "", Vec::new()).at("read the link", path)?;
                rustix::fs::symlinkat(target, to, new_name).at("make a link for", path)?;
                self.dress_name(&attributes, to, new_name)?;
            }
            EntryKind::Fifo => {
                let mode = Mode::from_raw_mode(attributes.mode());
                rustix::fs::mknodat(to, new_name, FileType::Fifo, mode, 0).at("make a FIFO for", path)?;
                self.dress_name(&attributes, to, new_name)?;
            }
            kind @ (EntryKind::Socket | EntryKind::BlockDevice | EntryKind::CharacterDevice) => {
                return Err(FsError::NotARegularFile { path: path.clone(), kind });
            }
        }
        Ok(None)
    }

    fn copy_file(
        &mut self,
        original: &OwnedFd,
        attributes: &Attributes,
        to: BorrowedFd<'_>,
        new_name: &[u8],
    ) -> Result<OwnedFd, FsError> {
        let path = self.path;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let from = self.view.engine.descriptors.reopen(original.as_fd(), flags).at("read", path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let copy = rustix::fs::openat(to, new_name, flags, Mode::RUSR | Mode::WUSR);
        let copy = copy.at("write the copy of", path)?;
        let generated = read_generated(&from, attributes, path)?;
        let length = generated
            .as_ref()
            .map_or(attributes.size(), |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.bytes = self.bytes.saturating_add(length);
        if self.bytes > self.view.limits.bytes {
            return Err(FsError::TooLarge { limit_bytes: self.view.limits.bytes });
        }
        if let Some(bytes) = generated {
            content::put(copy.as_fd(), &bytes, 0).at("copy", path)?;
            return Ok(copy);
        }
        let limits = self.view.limits;
        let proceed = || limits.check_time().map_err(Stop::Engine);
        let copied = content::copy(from.as_fd(), copy.as_fd(), attributes.size(), &proceed);
        copied.map_err(|stop| stop.at("copy", path))?;
        Ok(copy)
    }

    /// Gives an open copy the attributes, owner, mode and times of the original.
    fn dress(
        &self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        attributes: &Attributes,
        copy: &OwnedFd,
    ) -> Result<(), FsError> {
        let path = self.path;
        let original = self.view.engine.descriptors.path_at(directory, name);
        xattrs::keep(original, copy).at("copy the extended attributes of", path)?;
        if self.keep_owner {
            let (uid, gid) = owner(attributes);
            rustix::fs::fchown(copy, uid, gid).at("keep the owner of", path)?;
        }
        let ours = Attributes::of(copy.as_fd()).at("look at", path)?;
        let same_owner = (ours.uid(), ours.gid()) == (attributes.uid(), attributes.gid());
        let kept = if same_owner || attributes.is_directory() { 0o7777 } else { !SET_ID & 0o7777 };
        rustix::fs::fchmod(copy, Mode::from_raw_mode(attributes.mode() & kept))
            .at("set the mode of the copy of", path)?;
        rustix::fs::futimens(copy, &times_of(attributes)).at("set the times of the copy of", path)
    }

    /// The same for what cannot be opened.
    fn dress_name(
        &self,
        attributes: &Attributes,
        to: BorrowedFd<'_>,
        new_name: &[u8],
    ) -> Result<(), FsError> {
        if self.keep_owner {
            let (uid, gid) = owner(attributes);
            rustix::fs::chownat(to, new_name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .at("keep the owner of", self.path)?;
        }
        rustix::fs::utimensat(to, new_name, &times_of(attributes), AtFlags::SYMLINK_NOFOLLOW)
            .at("set the times of the copy of", self.path)
    }
}

fn owner(attributes: &Attributes) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(attributes.uid())), Some(Gid::from_raw(attributes.gid())))
}

fn times_of(attributes: &Attributes) -> Timestamps {
    let timespec = |time: devbox_types::Timestamp| {
        let (seconds, nanoseconds) = time.parts();
        Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() }
    };
    Timestamps {
        last_access: timespec(attributes.accessed()),
        last_modification: timespec(attributes.modified()),
    }
}
