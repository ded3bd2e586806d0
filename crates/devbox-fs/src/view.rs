//! One caller's view of a box's files: its root, its user, its rights and limits.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use devbox_types::entry::StatRequest;
use devbox_types::{BoxPath, Entry, Grant, Right, Rights};
use rustix::io::Errno;

use crate::acting::{Acting, Identity};
use crate::attributes::Attributes;
use crate::confine::{Anchor, link_target, open_entry};
use crate::error::{At as _, FsError};
use crate::fingerprint::Fingerprint;
use crate::outcomes::Keyed;
use crate::reserved;
use crate::root::Engine;
use crate::state::Announced;

/// Linux's MAXSYMLINKS, for final links that a write follows.
const MAX_LINKS: usize = 40;

/// A box's files as one grant allows them. Made by [`BoxRoot::enter`](crate::BoxRoot::enter).
///
/// Every method blocks, and acts as the grant's user on the thread that calls it, for as long as it takes. Paths are
/// relative to the grant's root; none leads out of it.
#[derive(Debug, Clone)]
pub struct View {
    pub(crate) engine: Arc<Engine>,
    /// The grant's root, where it is not the box's.
    base: Option<Arc<OwnedFd>>,
    pub(crate) identity: Identity,
    rights: Rights,
    pub(crate) limits: Limits,
    pub(crate) keyed: Option<Keyed>,
}

/// What a call may use up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    deadline: Option<Instant>,
}

impl Limits {
    /// Fails once the deadline has passed.
    pub(crate) fn check_time(&self) -> Result<(), FsError> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(FsError::DeadlinePassed),
            _ => Ok(()),
        }
    }

    /// Fails if a call would touch more entries than it may.
    pub(crate) fn check_entries(&self, entries: u64) -> Result<(), FsError> {
        if entries > self.entries {
            return Err(FsError::TooManyEntries { limit: self.entries });
        }
        Ok(())
    }
}

/// A name in a directory that is held open.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) directory: OwnedFd,
    pub(crate) name: Vec<u8>,
    /// The path that led to the directory, relative to the view's anchor; it may hold `..` and begin with `/`.
    pub(crate) directory_path: Vec<u8>,
}

impl Place {
    pub(crate) fn find(&self) -> Result<Option<Attributes>, Errno> {
        Attributes::find(self.directory.as_fd(), &self.name)
    }
}

impl View {
    pub(crate) fn enter(engine: Arc<Engine>, grant: &Grant) -> Result<Self, FsError> {
        reserved::check(&grant.root)?;
        let identity = engine.identity(&grant.user)?;
        let deadline = grant.deadline_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
        let limits = Limits {
            bytes: grant.max_bytes.unwrap_or(u64::MAX),
            entries: grant.max_entries.unwrap_or(u64::MAX),
            deadline,
        };
        let keyed = grant.idempotency_key.as_ref().map(|key| Keyed {
            key: Fingerprint::of(&[key.as_str().as_bytes()]),
            caller: Fingerprint::of(&[grant.root.as_bytes(), &identity.uid.to_le_bytes()]),
        });
        let mut view = Self { engine, base: None, identity, rights: grant.rights, limits, keyed };
        if !grant.root.is_root() {
            let base = {
                let _acting = view.act()?;
                let base = view.engine.anchor().open_directory(grant.root.as_bytes());
                base.map_err(|errno| FsError::resolving(&grant.root, errno))?
            };
            view.base = Some(Arc::new(base));
        }
        Ok(view)
    }

    /// Looks at one entry; a final symlink is looked at itself unless `follow` or the path ends in `/`.
    ///
    /// # Errors
    /// What keeps the entry from being reached.
    pub fn stat(&self, path: &BoxPath, follow: bool) -> Result<Entry, FsError> {
        self.look(&StatRequest { path: path.clone(), follow, xattrs: false })
    }

    /// Looks at one entry, with its `user.*` extended attributes if they are asked for.
    ///
    /// # Errors
    /// As [`View::stat`]; [`FsError::TooLarge`] for more than a megabyte of attributes.
    pub fn look(&self, request: &StatRequest) -> Result<Entry, FsError> {
        self.need(Right::Read)?;
        let _acting = self.act()?;
        let fd = self.open(&request.path, request.follow)?;
        self.describe(&fd, &request.path, request.xattrs)
    }

    /// The entry at `path` that an O_PATH descriptor names.
    pub(crate) fn describe(&self, fd: &OwnedFd, path: &BoxPath, xattrs: bool) -> Result<Entry, FsError> {
        let attributes = Attributes::of(fd.as_fd()).at("look at", path)?;
        let target = match attributes.is_symlink() {
            true => Some(rustix::fs::readlinkat(fd, "", Vec::new()).at("read the link", path)?.into_bytes()),
            false => None,
        };
        let mut entry = self.entry(path.clone(), &attributes, target);
        if xattrs {
            entry.xattrs = Some(self.attributes_of(fd, path)?);
        }
        Ok(entry)
    }

    pub(crate) fn need(&self, right: Right) -> Result<(), FsError> {
        if self.rights.contains(right) { Ok(()) } else { Err(FsError::Forbidden { right }) }
    }

    /// Makes this thread act as the grant's user.
    pub(crate) fn act(&self) -> Result<Acting<'_>, FsError> {
        self.identity.act().at("act as the user at", &BoxPath::root())
    }

    /// The same, below a directory of its own.
    pub(crate) fn below(self, base: OwnedFd) -> Self {
        Self { base: Some(Arc::new(base)), ..self }
    }

    /// The directory that paths start from.
    pub(crate) fn anchor(&self) -> Anchor<'_> {
        match &self.base {
            None => self.engine.anchor(),
            Some(base) => Anchor { directory: base.as_fd(), strict: true, ..self.engine.anchor() },
        }
    }

    /// Opens what a path leads to with O_PATH.
    pub(crate) fn open(&self, path: &BoxPath, follow: bool) -> Result<OwnedFd, FsError> {
        reserved::check(path)?;
        let resolving = |errno| FsError::resolving(path, errno);
        if path.wants_directory() {
            return self.anchor().open_directory(path.as_bytes()).map_err(resolving);
        }
        self.anchor().open(path.as_bytes(), follow).map_err(resolving)
    }

    /// Opens the directory that holds the last name of a path; the name itself may be missing.
    pub(crate) fn place(&self, path: &BoxPath) -> Result<Place, FsError> {
        reserved::check(path)?;
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
            return Err(FsError::RootItself);
        };
        let directory = self.anchor().open_directory(parent.as_bytes());
        let directory = directory.map_err(|errno| FsError::resolving(path, errno))?;
        Ok(Place { directory, name: name.to_vec(), directory_path: parent.as_bytes().to_vec() })
    }

    /// From a place whose name is a symlink, goes to the place that the link finally points to, which may be missing.
    pub(crate) fn follow(&self, mut place: Place, path: &BoxPath) -> Result<Place, FsError> {
        let resolving = |errno| FsError::resolving(path, errno);
        for _ in 0..MAX_LINKS {
            let link = open_entry(place.directory.as_fd(), &place.name);
            let link = match link {
                Err(Errno::NOENT) => return Ok(place),
                link => link.map_err(resolving)?,
            };
            if !Attributes::of(link.as_fd()).map_err(resolving)?.is_symlink() {
                return Ok(place);
            }
            let target = link_target(link.as_fd()).map_err(resolving)?;
            place = self.beyond(&place, &target, path)?;
        }
        Err(FsError::SymlinkLoop { path: path.clone() })
    }

    fn beyond(&self, place: &Place, target: &[u8], path: &BoxPath) -> Result<Place, FsError> {
        let mut whole = if target.first() == Some(&b'/') { Vec::new() } else { place.directory_path.clone() };
        if !whole.is_empty() {
            whole.push(b'/');
        }
        whole.extend_from_slice(target);
        let cut = whole.iter().rposition(|byte| *byte == b'/');
        let (directory_path, name) = match cut {
            None => (Vec::new(), whole),
            Some(0) => (b"/".to_vec(), whole[1..].to_vec()),
            Some(cut) => (whole[..cut].to_vec(), whole[cut + 1..].to_vec()),
        };
        if matches!(&name[..], b"" | b"." | b"..") {
            return Err(FsError::IsADirectory { path: path.clone() });
        }
        if reserved::is_reserved(&name) {
            return Err(FsError::ReservedName { path: path.clone() });
        }
        let directory = self.anchor().open_directory(&directory_path);
        let directory = directory.map_err(|errno| FsError::resolving(path, errno))?;
        Ok(Place { directory, name, directory_path })
    }

    /// Remembers, for a call without a transaction, that a reserved name is to be removed if this process dies.
    pub(crate) fn announce(&self, place: &Place, name: &[u8]) -> Result<Option<Announced>, Errno> {
        match &self.engine.state {
            Some(state) => state.announce(&self.engine, place.directory.as_fd(), name).map(Some),
            None => Ok(None),
        }
    }

    /// The entry at `path`, with the owner's name.
    pub(crate) fn entry(&self, path: BoxPath, attributes: &Attributes, target: Option<Vec<u8>>) -> Entry {
        let owner = self.engine.owner_name(attributes.uid());
        attributes.entry(path, owner, target, self.engine.clock)
    }
}
