//! The directories that a call over many names works in: numbered, few of them open at a time.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use crate::attributes::{Attributes, FileId};
use crate::confine::Anchor;

/// A call over 10,000 directories must not need 10,000 descriptors.
const MAX_OPEN: usize = 128;

/// The number of a directory in a [`DirectoryTable`].
pub(crate) type DirectoryNumber = usize;

/// A name in a numbered directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) directory: DirectoryNumber,
    pub(crate) name: Vec<u8>,
}

#[derive(Debug, Default)]
pub(crate) struct DirectoryTable {
    directories: Vec<Directory>,
    numbers: HashMap<FileId, DirectoryNumber>,
    open: VecDeque<DirectoryNumber>,
}

#[derive(Debug)]
struct Directory {
    id: FileId,
    /// Where it is below the box's root; without it, the descriptor is kept open.
    path: Option<Vec<u8>>,
    descriptor: Option<Arc<OwnedFd>>,
}

impl DirectoryTable {
    /// Numbers a directory; the second value says whether it is new.
    pub(crate) fn number(
        &mut self,
        descriptor: &OwnedFd,
        path: impl FnOnce(&OwnedFd) -> Option<Vec<u8>>,
    ) -> Result<(DirectoryNumber, bool), Errno> {
        let id = Attributes::of(descriptor.as_fd())?.id();
        if let Some(number) = self.numbers.get(&id) {
            return Ok((*number, false));
        }
        let number = self.directories.len();
        let path = path(descriptor);
        let descriptor = descriptor.try_clone().map_err(|_| Errno::MFILE)?;
        self.directories.push(Directory { id, path, descriptor: None });
        self.numbers.insert(id, number);
        self.keep_open(number, Arc::new(descriptor));
        Ok((number, true))
    }

    /// A directory that a journal names: opened when it is needed.
    pub(crate) fn push_closed(&mut self, path: Vec<u8>, id: FileId) {
        self.directories.push(Directory { id, path: Some(path), descriptor: None });
    }

    pub(crate) fn len(&self) -> usize {
        self.directories.len()
    }

    pub(crate) fn id(&self, number: DirectoryNumber) -> Option<FileId> {
        self.directories.get(number).map(|directory| directory.id)
    }

    pub(crate) fn path(&self, number: DirectoryNumber) -> Option<&[u8]> {
        self.directories.get(number)?.path.as_deref()
    }

    /// The directory, opened again where it was closed; EAGAIN if another one is there by now.
    pub(crate) fn get(&mut self, number: DirectoryNumber, anchor: Anchor<'_>) -> Result<Arc<OwnedFd>, Errno> {
        let directory = self.directories.get(number).ok_or(Errno::INVAL)?;
        if let Some(descriptor) = &directory.descriptor {
            return Ok(Arc::clone(descriptor));
        }
        let path = directory.path.as_deref().ok_or(Errno::INVAL)?;
        let descriptor = Arc::new(anchor.reopen_directory(path)?);
        // A device number changes at a remount, so only the inode is compared.
        if Attributes::of(descriptor.as_fd())?.id().inode != directory.id.inode {
            return Err(Errno::AGAIN);
        }
        self.keep_open(number, Arc::clone(&descriptor));
        Ok(descriptor)
    }

    fn keep_open(&mut self, number: DirectoryNumber, descriptor: Arc<OwnedFd>) {
        let directory = &mut self.directories[number];
        directory.descriptor = Some(descriptor);
        if directory.path.is_none() {
            return;
        }
        self.open.push_back(number);
        if self.open.len() > MAX_OPEN
            && let Some(oldest) = self.open.pop_front()
        {
            self.directories[oldest].descriptor = None;
        }
    }
}
