//! What an archive holds beside files: directories, links, holes, attributes. All of it becomes part of a batch.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use devbox_types::file::WriteRequest;
use devbox_types::{BoxPath, Timestamp};
use rustix::fs::{AtFlags, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::batch::{Batch, Ready};
use crate::confine::open_listing;
use crate::directory_table::Spot;
use crate::error::{At as _, FsError};
use crate::reserved;
use crate::stage::times;
use crate::transaction::Transaction;
use crate::view::View;
use crate::xattrs::ExtendedAttributes;

/// The most entries that one archive may bring: each costs about a kilobyte of memory until it is published.
const MAX_EXTRACTED: u64 = 100_000;

/// What a batch knows beside its files.
#[derive(Debug, Default)]
pub(crate) struct Extraction {
    /// The directories that it made.
    made: HashSet<(usize, Vec<u8>)>,
    /// Those among them that are to get a mode or a time in the end.
    dressed: Vec<Dressed>,
    /// Which of its files is which, for further names of them.
    files: HashMap<BoxPath, usize>,
    entries: u64,
}

#[derive(Debug)]
struct Dressed {
    spot: Spot,
    path: BoxPath,
    mode: Option<u32>,
    modified: Option<Timestamp>,
}

/// Bytes on the box's disk that have no name, and are gone with the last who holds them.
#[derive(Debug)]
pub struct Spool {
    file: OwnedFd,
    length: u64,
    limit: u64,
}

impl View {
    /// Begins a batch that takes `directory` for its root: nothing leads out of it, no link that is there and none that
    /// the batch brings. With `make`, it is made if it is missing.
    ///
    /// # Errors
    /// As [`View::batch`]; [`FsError::NotADirectory`], or what keeps the directory from being reached.
    pub fn batch_below(&self, directory: &BoxPath, make: bool) -> Result<Batch, FsError> {
        reserved::check(directory)?;
        let mut batch = self.batch()?;
        let _acting = self.act()?;
        if make {
            let made = self.make_missing(directory, batch.transaction()?)?;
            batch.remember(made)?;
        }
        let base = self.anchor().open_directory(directory.as_bytes());
        let base = base.map_err(|errno| FsError::resolving(directory, errno))?;
        batch.view = self.clone().below(base);
        batch.most = MAX_EXTRACTED.min(self.limits.entries);
        batch.extraction = Some(Extraction::default());
        Ok(batch)
    }
}

impl Batch {
    /// Makes a directory, with those missing on the way. One that is there stays as it is. `attributes` are `user.*` ones.
    ///
    /// # Errors
    /// [`FsError::NotADirectory`] where something else is, and what else keeps it from being made.
    pub fn directory(
        &mut self,
        path: &BoxPath,
        mode: Option<u32>,
        modified: Option<Timestamp>,
        attributes: ExtendedAttributes,
    ) -> Result<(), FsError> {
        self.count()?;
        if path.is_root() {
            return Ok(());
        }
        let view = self.view.clone();
        let _acting = view.act()?;
        let made = view.make_missing(path, self.transaction()?)?;
        self.remember(made)?;
        let place = view.place(path)?;
        let number = self.transaction()?.directory(&place.directory).at("remember", path)?;
        let spot = Spot { directory: number, name: place.name };
        if let Some(extraction) = &mut self.extraction
            && extraction.made.contains(&(number, spot.name.clone()))
        {
            // At once: kept until the end, those of many directories would be more than memory holds.
            if let Some(directory) = open_made(place.directory.as_fd(), &spot.name, path)? {
                attributes
                    .iter()
                    .try_for_each(|(name, value)| set_attribute(&directory, name, value, path))?;
            }
            extraction.dressed.push(Dressed { spot, path: path.clone(), mode, modified });
        }
        Ok(())
    }

    /// Makes a symlink, in place of a file or link that is there.
    ///
    /// # Errors
    /// As [`Batch::begin`].
    pub fn symlink(
        &mut self,
        path: &BoxPath,
        target: &[u8],
        modified: Option<Timestamp>,
    ) -> Result<(), FsError> {
        self.add_link(path, |directory, name| {
            rustix::fs::symlinkat(target, directory, name)?;
            match modified {
                Some(time) => rustix::fs::utimensat(directory, name, &times(time), AtFlags::SYMLINK_NOFOLLOW),
                None => Ok(()),
            }
        })
    }

    /// Gives a file of this batch another name.
    ///
    /// # Errors
    /// [`FsError::Invalid`] if `first` is no file of this batch; as [`Batch::begin`].
    pub fn hard_link(&mut self, path: &BoxPath, first: &BoxPath) -> Result<(), FsError> {
        let found = self.extraction.as_ref().and_then(|extraction| extraction.files.get(first));
        let Some(first) = found.and_then(|index| self.ready.get(*index)) else {
            return Err(FsError::Invalid { reason: "a hard link is to a file that came before it" });
        };
        let (directory, name) = (first.target.spot.directory, first.target.staged.clone());
        let from = self.transaction()?.open(directory).at("reach", path)?;
        self.add_link(path, |directory, staged| {
            rustix::fs::linkat(&from, &name[..], directory, staged, AtFlags::empty())
        })
    }

    /// Gives the current file a `user.*` attribute. A file system that has none goes without.
    ///
    /// # Errors
    /// [`FsError::NoSpace`] and others.
    pub fn attribute(&mut self, name: &[u8], value: &[u8]) -> Result<(), FsError> {
        let view = self.view.clone();
        let _acting = view.act()?;
        let Some((draft, ..)) = &self.current else {
            return Err(FsError::Invalid { reason: "no file was begun" });
        };
        set_attribute(&draft.file, name, value, &draft.request.path)
    }

    /// Room on the disk of the batch's root for what has to be read more than once.
    ///
    /// # Errors
    /// What keeps a file from being made there.
    pub fn spool(&self) -> Result<Spool, FsError> {
        let view = self.view.clone();
        let _acting = view.act()?;
        let here = BoxPath::root();
        let directory = view.anchor().open_directory(b"").at("reach", &here)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, ".", flags, Mode::RUSR | Mode::WUSR);
        Ok(Spool { file: file.at("write in", &here)?, length: 0, limit: view.limits.bytes })
    }

    fn add_link(
        &mut self,
        path: &BoxPath,
        make: impl FnOnce(&OwnedFd, &[u8]) -> Result<(), Errno>,
    ) -> Result<(), FsError> {
        self.count()?;
        let view = self.view.clone();
        let _acting = view.act()?;
        let request = WriteRequest { make_parents: true, nofollow: true, ..WriteRequest::to(path.clone()) };
        let (place, target) = self.claim(&request)?;
        make(&place.directory, &target.staged).at("make", path)?;
        let staged = Attributes::at(place.directory.as_fd(), &target.staged).at("look at", path)?;
        self.ready.push(Ready { target, request, inode: staged.id().inode });
        Ok(())
    }

    pub(crate) fn transaction(&mut self) -> Result<&mut Transaction, FsError> {
        self.transaction.as_mut().ok_or(FsError::Invalid { reason: "the batch has ended" })
    }

    /// Notes the directories that were made on the way.
    pub(crate) fn remember(&mut self, made: Vec<Spot>) -> Result<(), FsError> {
        for Spot { directory, name } in made {
            let key = (directory, name);
            if self.taken.contains(&key) {
                return Err(FsError::Invalid { reason: "an entry lies below one that is no directory" });
            }
            if let Some(extraction) = &mut self.extraction {
                extraction.made.insert(key);
            }
        }
        Ok(())
    }

    /// Remembers, for further names of it, the file that became ready last.
    pub(crate) fn remember_file(&mut self) {
        if let (Some(extraction), Some(last)) = (&mut self.extraction, self.ready.len().checked_sub(1)) {
            extraction.files.insert(self.ready[last].request.path.clone(), last);
        }
    }

    /// Counts one more entry of any kind.
    pub(crate) fn count(&mut self) -> Result<(), FsError> {
        self.view.limits.check_time()?;
        let most = self.most;
        if let Some(extraction) = &mut self.extraction {
            extraction.entries += 1;
            if extraction.entries > most {
                return Err(FsError::TooManyEntries { limit: most });
            }
        }
        Ok(())
    }

    /// Gives the directories that the batch made their modes and times, the deepest first, once nothing more is made in them.
    pub(crate) fn dress_directories(&mut self, transaction: &mut Transaction) -> Result<(), FsError> {
        let Some(extraction) = &mut self.extraction else { return Ok(()) };
        let depth = |dressed: &Dressed| dressed.path.segments().count();
        extraction.dressed.sort_by_key(|dressed| std::cmp::Reverse(depth(dressed)));
        for Dressed { spot, path, mode, modified } in &extraction.dressed {
            let parent = transaction.open(spot.directory).at("reach", path)?;
            let Some(directory) = open_made(parent.as_fd(), &spot.name, path)? else { continue };
            if let Some(time) = modified {
                rustix::fs::futimens(&directory, &times(*time)).at("set the time of", path)?;
            }
            if let Some(mode) = mode {
                const SET_GROUP_ID: u32 = 0o2000;
                let inherited = Attributes::of(directory.as_fd()).at("look at", path)?.mode() & SET_GROUP_ID;
                let mode = Mode::from_raw_mode(mode | inherited);
                rustix::fs::fchmod(&directory, mode).at("set the mode of", path)?;
            }
        }
        Ok(())
    }

    /// The most entries that it may have.
    #[must_use]
    pub fn most_entries(&self) -> u64 {
        self.most
    }

    /// How many entries the batch brings.
    pub(crate) fn entries(&self) -> u64 {
        let files = u64::try_from(self.ready.len()).unwrap_or(u64::MAX);
        self.extraction.as_ref().map_or(files, |extraction| extraction.entries)
    }
}

/// A directory that was made; `None` if a process in the box took it away, so that nothing can be given to it any more.
fn open_made(parent: BorrowedFd<'_>, name: &[u8], path: &BoxPath) -> Result<Option<OwnedFd>, FsError> {
    match open_listing(parent, name) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        directory => directory.at("reach", path).map(Some),
    }
}

fn set_attribute(entry: &OwnedFd, name: &[u8], value: &[u8], path: &BoxPath) -> Result<(), FsError> {
    if !name.starts_with(b"user.") {
        return Err(FsError::Invalid { reason: "an attribute's name begins with `user.`" });
    }
    match rustix::fs::fsetxattr(entry, name, value, XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => Ok(()),
        result => result.at("set an attribute of", path),
    }
}

impl Spool {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`FsError::TooLarge`] beyond what the call may write, [`FsError::NoSpace`] and others.
    pub fn write(&mut self, mut chunk: &[u8]) -> Result<(), FsError> {
        self.length = self.length.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        if self.length > self.limit {
            return Err(FsError::TooLarge { limit_bytes: self.limit });
        }
        while !chunk.is_empty() {
            match rustix::io::write(&self.file, chunk) {
                Ok(0) => return Err(FsError::NoSpace),
                Ok(count) => chunk = &chunk[count..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(FsError::at("write", &BoxPath::root(), errno)),
            }
        }
        Ok(())
    }

    /// How many bytes were written.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads back what was written.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(crate::read::read_at(&self.file, buffer, offset)?)
    }
}
