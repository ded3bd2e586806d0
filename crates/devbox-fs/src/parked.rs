//! A file on its way that outlives this process: bytes under a reserved name in the target's directory.
//!
//! Where it lies is remembered by the caller, who may be told lies by the box's root. So everything is looked up anew: the
//! name has to be a reserved one, the directory is found below the box's root as the acting user, and the file has to be the
//! one that was left there.

mod part;

use std::os::fd::{AsFd, OwnedFd};

use devbox_types::file::{WriteRequest, Written};
use devbox_types::{Algorithms, BoxPath, DigestHasher, Digests, Entry, Right};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::confine::Anchor;
use crate::error::{At as _, FsError};
use crate::reserved;
use crate::root::BoxRoot;
use crate::stage::{Draft, Staged, Target, reserve_space};
use crate::transaction::Transaction;
use crate::view::View;

const READ_BUFFER: usize = 256 << 10;
/// More directories than a path can have: what is remembered of them may be a lie.
const MAX_TAKEN_BACK: usize = 2048;

/// Where a parked file lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resting {
    /// Its directory, relative to the box's root.
    pub directory: Vec<u8>,
    /// Its reserved name.
    pub name: Vec<u8>,
    /// Its inode number.
    pub inode: u64,
    /// How many of the directories on the way, the last ones, were made for it.
    pub made_directories: usize,
}

/// A file that is being written, and stays if this is dropped. Made by [`View::park`] and [`View::unpark`], or as a part of a
/// file by [`View::park_part`] and [`View::unpark_part`].
#[derive(Debug)]
pub struct Parked {
    view: View,
    keeper: Keeper,
    directory: OwnedFd,
    name: Vec<u8>,
    file: OwnedFd,
    stored: u64,
    path: BoxPath,
    /// Where its directory was when it was begun, and how many of those on the way were made for it.
    made: (Vec<u8>, usize),
    /// It has no name yet, and is gone with this; so are the directories that were made for it.
    fresh: Option<Fresh>,
}

/// What takes back the directories that were made for a file without a name.
#[derive(Debug)]
struct Fresh(Option<Transaction>);

/// In whose name a parked file lies where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeper {
    /// The acting user: it is to be published as it is.
    User,
    /// This process: it is a part, out of reach of everybody else.
    Process,
}

impl View {
    /// Begins a file that outlives this process: checks target and condition, makes missing parents if asked to, and asks for
    /// the disk space. It has no name before [`Parked::settle`].
    ///
    /// # Errors
    /// As [`View::stage`]; [`FsError::Unsupported`] where this process has no state directory.
    pub fn park(&self, request: &WriteRequest) -> Result<(Parked, Resting), FsError> {
        self.need(Right::Write)?;
        let path = &request.path;
        let length = request.length.ok_or(FsError::Invalid { reason: "the length has to be announced" })?;
        if length > self.limits.bytes {
            return Err(FsError::TooLarge { limit_bytes: self.limits.bytes });
        }
        let _acting = self.act()?;
        let mut transaction = None;
        let Target { place, made, .. } = self.target(request, &mut transaction)?;
        let file = open_unnamed(&place.directory).at("write in the directory of", path)?;
        reserve_space(&file, length, path)?;
        let directory = self.whereabouts(&place.directory, path)?;
        let inode = Attributes::of(file.as_fd()).at("look at", path)?.id().inode;
        let name = self.engine.names.fresh();
        let made = (directory.clone(), made.len());
        let resting = Resting { directory, name: name.clone(), inode, made_directories: made.1 };
        let (view, path, fresh) = (self.clone(), path.clone(), Some(Fresh(transaction)));
        let (keeper, directory) = (Keeper::User, place.directory);
        Ok((Parked { view, keeper, directory, name, file, stored: 0, path, made, fresh }, resting))
    }

    /// Finds a parked file again, which is to become the file at `path`.
    ///
    /// # Errors
    /// [`FsError::NotFound`] if what lies there is not it.
    pub fn unpark(&self, resting: &Resting, path: &BoxPath) -> Result<Parked, FsError> {
        self.need(Right::Write)?;
        let _acting = self.act()?;
        let gone = || FsError::NotFound { path: path.clone() };
        check_name(&resting.name, path)?;
        let directory = self.engine.anchor().open_directory(&resting.directory);
        let directory = directory.map_err(|errno| FsError::resolving(path, errno))?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, &resting.name[..], flags, Mode::empty());
        let file = file.at("open", path)?;
        let attributes = Attributes::of(file.as_fd()).at("look at", path)?;
        let is_it = attributes.is_file() && attributes.links() == 1 && attributes.id().inode == resting.inode;
        if !is_it || attributes.uid() != self.identity.uid {
            return Err(gone());
        }
        let (view, name) = (self.clone(), resting.name.clone());
        let (keeper, stored) = (Keeper::User, attributes.size());
        let made = (resting.directory.clone(), resting.made_directories);
        Ok(Parked { view, keeper, directory, name, file, stored, path: path.clone(), made, fresh: None })
    }

    /// The file at the target of `request`, if it is the one that was parked: a kill came after it was published.
    ///
    /// # Errors
    /// What keeps the target from being looked at.
    pub fn published(&self, resting: &Resting, request: &WriteRequest) -> Result<Option<Entry>, FsError> {
        self.need(Right::Write)?;
        let _acting = self.act()?;
        let path = &request.path;
        let mut place = self.place(path)?;
        if !request.nofollow {
            place = self.follow(place, path)?;
        }
        let found = place.find().at("look at", path)?;
        let found = found.filter(|found| found.is_file() && found.id().inode == resting.inode);
        Ok(found.map(|found| self.entry(path.clone(), &found, None)))
    }

    fn whereabouts(&self, directory: &OwnedFd, path: &BoxPath) -> Result<Vec<u8>, FsError> {
        match &self.engine.state {
            Some(state) => state.path_of(&self.engine, directory.as_fd()).at("find the directory of", path),
            None => Err(FsError::Unsupported { step: "remember uploads to", path: path.clone() }),
        }
    }
}

impl Parked {
    /// Gives a new file the name under which it outlives this process. Only what is remembered by then is found again: a
    /// kill before this leaves nothing.
    ///
    /// # Errors
    /// [`FsError::NoSpace`] and others; the file is gone with `self` then.
    pub fn settle(&mut self) -> Result<(), FsError> {
        let Some(Fresh(made)) = self.fresh.take() else { return Ok(()) };
        let view = self.view.clone();
        let _acting = (self.keeper == Keeper::User).then(|| view.act()).transpose()?;
        // From here on, what is remembered of the file takes its directories back.
        if let Some(made) = made {
            made.commit(false, None).at("write the journal of", &self.path)?;
        }
        let linked = view.engine.descriptors.link(self.file.as_fd(), self.directory.as_fd(), &self.name);
        linked.at("write in the directory of", &self.path).inspect_err(|_| self.remove())
    }

    /// How many bytes are stored.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Stores bytes behind those that are stored.
    ///
    /// # Errors
    /// [`FsError::NoSpace`] and others. Some of the bytes may be stored, and [`Self::stored`] says how many.
    pub fn append(&mut self, mut bytes: &[u8]) -> Result<(), FsError> {
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.file, bytes, self.stored) {
                Ok(0) => return Err(FsError::NoSpace),
                Ok(count) => {
                    bytes = &bytes[count..];
                    self.stored += u64::try_from(count).unwrap_or(0);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(FsError::at("write", &self.path, errno)),
            }
        }
        Ok(())
    }

    /// Forgets all but the first `to` bytes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn retract(&mut self, to: u64) -> Result<(), FsError> {
        rustix::fs::ftruncate(&self.file, to).at("cut back", &self.path)?;
        self.stored = to;
        Ok(())
    }

    /// Reads all that is stored for its digests.
    ///
    /// # Errors
    /// What the file system says.
    pub fn digests(&self, algorithms: Algorithms) -> Result<Digests, FsError> {
        let mut hasher = DigestHasher::new(algorithms);
        let mut buffer = vec![0; READ_BUFFER];
        let mut at = 0;
        while at < self.stored {
            self.view.limits.check_time()?;
            match rustix::io::pread(&self.file, &mut buffer[..], at) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    at += u64::try_from(count).unwrap_or(0);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(FsError::at("read back", &self.path, errno)),
            }
        }
        Ok(hasher.finish())
    }

    /// Publishes the file under the path of `request`, as [`Staged::publish`] does; its digest was compared already.
    ///
    /// # Errors
    /// As there, and [`FsError::Conflict`] if the path leads to another directory by now. The parked file is gone then, unless
    /// the error [may pass](FsError::may_pass).
    pub fn publish(self, request: WriteRequest) -> Result<Written, FsError> {
        let view = self.view.clone();
        let _acting = view.act()?;
        let request = WriteRequest { make_parents: false, digests: Digests::default(), ..request };
        let aimed = view.target(&request, &mut None).and_then(|target| {
            let here = Attributes::of(self.directory.as_fd()).at("look at the directory of", &self.path)?;
            let there = Attributes::of(target.place.directory.as_fd());
            let there = there.at("look at the directory of", &self.path)?;
            match here.id() == there.id() {
                true => Ok(target),
                false => Err(FsError::Conflict { paths: vec![self.path.clone()] }),
            }
        });
        let Target { place, seen, .. } = match aimed {
            Ok(target) => target,
            Err(error) if error.may_pass() => return Err(error),
            Err(error) => {
                self.remove();
                return Err(error);
            }
        };
        let draft = Draft::resumed(self.file, self.name, request, self.stored);
        Staged::resumed(view.clone(), place, draft, seen).publish()
    }

    /// Gives the file up.
    ///
    /// # Errors
    /// What keeps this thread from acting as the user.
    pub fn discard(mut self) -> Result<(), FsError> {
        let view = self.view.clone();
        let _acting = (self.keeper == Keeper::User).then(|| view.act()).transpose()?;
        if self.fresh.take().is_none() {
            self.remove();
        }
        Ok(())
    }

    fn remove(&self) {
        // What cannot be removed is a hidden name, which its record's expiry tries again.
        let _ = rustix::fs::unlinkat(&self.directory, &self.name[..], AtFlags::empty());
        let (directory, made) = &self.made;
        take_back(self.view.engine.anchor(), directory, *made);
    }
}

/// Removes the last `made` directories of a path, from the deepest on, as long as they are empty and one user's; those that
/// are gone already, because a kill came in between, are passed over. That they are still the ones that were made cannot be
/// known, nor does it matter to anybody whose empty directories they are not.
fn take_back(anchor: Anchor<'_>, directory: &[u8], made: usize) {
    let mut path = directory;
    let mut owner = None;
    for _ in 0..made.min(MAX_TAKEN_BACK) {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        path = parent;
        let place = match anchor.reopen_directory(parent) {
            Err(Errno::NOENT) => continue,
            Err(_) => return,
            Ok(place) => place,
        };
        let found = match Attributes::find(place.as_fd(), name) {
            Ok(None) => continue,
            Err(_) => return,
            Ok(Some(found)) => found,
        };
        let is_his = *owner.get_or_insert(found.uid()) == found.uid();
        if !is_his || rustix::fs::unlinkat(&place, name, AtFlags::REMOVEDIR).is_err() {
            return;
        }
    }
}

impl BoxRoot {
    /// Whether a parked file lies where it was left.
    ///
    /// # Errors
    /// What keeps the place from being looked at.
    pub fn has_parked(&self, resting: &Resting) -> Result<bool, FsError> {
        let here = BoxPath::root();
        let directory = match self.engine().anchor().open_directory(&resting.directory) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            directory => directory.at("reach an upload below", &here)?,
        };
        let found =
            Attributes::find(directory.as_fd(), &resting.name).at("look at an upload below", &here)?;
        Ok(found.is_some_and(|found| found.is_file() && found.id().inode == resting.inode))
    }

    /// Removes what lies under the reserved name of a parked file that was published: the file that it was exchanged for.
    ///
    /// # Errors
    /// What keeps it from being removed; not that nothing lies there.
    pub fn sweep_parked(&self, resting: &Resting) -> Result<(), FsError> {
        let here = BoxPath::root();
        check_name(&resting.name, &here)?;
        let directory = match self.engine().anchor().open_directory(&resting.directory) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            directory => directory.at("reach an upload below", &here)?,
        };
        match rustix::fs::unlinkat(&directory, &resting.name[..], AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            removed => removed.at("remove an upload below", &here),
        }
    }

    /// Removes a parked file that nobody will go on with, as this process: only a reserved name, and only that file.
    ///
    /// # Errors
    /// What keeps it from being removed; not that it is gone already.
    pub fn discard_parked(&self, resting: &Resting) -> Result<(), FsError> {
        let here = BoxPath::root();
        check_name(&resting.name, &here)?;
        let anchor = self.engine().anchor();
        match anchor.open_directory(&resting.directory) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            directory => {
                let directory = directory.at("reach an upload below", &here)?;
                let found = Attributes::find(directory.as_fd(), &resting.name);
                let found = found.at("look at an upload below", &here)?;
                if found.is_some_and(|found| found.is_file() && found.id().inode == resting.inode) {
                    let removed = rustix::fs::unlinkat(&directory, &resting.name[..], AtFlags::empty());
                    removed.at("remove an upload below", &here)?;
                }
            }
        }
        take_back(anchor, &resting.directory, resting.made_directories);
        Ok(())
    }
}

/// Opens a file without a name, to be read and written.
fn open_unnamed(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::openat(directory, ".", flags, Mode::RUSR | Mode::WUSR)
}

fn check_name(name: &[u8], path: &BoxPath) -> Result<(), FsError> {
    let usable = reserved::is_reserved(name) && name != reserved::STATE_DIRECTORY && !name.contains(&b'/');
    if usable && !name.contains(&0) { Ok(()) } else { Err(FsError::NotFound { path: path.clone() }) }
}
