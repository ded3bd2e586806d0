//! Removing a tree by descriptors: bounded memory per level, two descriptors, never through a link.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::attributes::{Attributes, FileId};
use crate::confine::open_listing;

/// Why a removal stopped.
#[derive(Debug)]
pub(crate) enum Stopped<E> {
    Kernel(Errno),
    Caller(E),
}

impl<E> From<Errno> for Stopped<E> {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

impl From<Stopped<Errno>> for Errno {
    fn from(stopped: Stopped<Errno>) -> Self {
        match stopped {
            Stopped::Kernel(errno) | Stopped::Caller(errno) => errno,
        }
    }
}

/// A directory above the one that is being emptied.
struct Level {
    id: FileId,
    child: Vec<u8>,
}

/// Removes `name` from `directory` with all it holds; a missing name is fine. Returns how many entries went.
///
/// `proceed` is asked before each entry. Going back up is by `..`, and only if that is still the directory that it came down
/// from: a tree that is moved meanwhile stops it with EAGAIN.
pub(crate) fn remove_tree<E>(
    directory: BorrowedFd<'_>,
    name: &[u8],
    proceed: &dyn Fn() -> Result<(), E>,
) -> Result<u64, Stopped<E>> {
    proceed().map_err(Stopped::Caller)?;
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) => return Ok(1),
        Err(Errno::NOENT) => return Ok(0),
        Err(Errno::ISDIR) => {}
        // POSIX allows EPERM for a directory.
        Err(Errno::PERM) if Attributes::at(directory, name)?.is_directory() => {}
        Err(errno) => return Err(errno.into()),
    }
    // An empty directory goes at once, and need not be readable.
    match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
        Ok(()) => return Ok(1),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut here = open_listing(directory, name)?;
    let mut above: Vec<Level> = Vec::new();
    let mut removed = 0;
    loop {
        if let Some(child) = empty(&here, &mut removed, proceed)? {
            let id = Attributes::of(here.as_fd())?.id();
            here = open_listing(here.as_fd(), &child)?;
            above.push(Level { id, child });
            continue;
        }
        let Some(level) = above.pop() else { break };
        let parent = parent_of(&here)?;
        if Attributes::of(parent.as_fd())?.id() != level.id {
            return Err(Errno::AGAIN.into());
        }
        rustix::fs::unlinkat(&parent, &level.child[..], AtFlags::REMOVEDIR)?;
        removed += 1;
        here = parent;
    }
    rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?;
    Ok(removed + 1)
}

/// Removes what is in a directory until it meets a sub-directory that is not empty, which it returns.
fn empty<E>(
    here: &OwnedFd,
    removed: &mut u64,
    proceed: &dyn Fn() -> Result<(), E>,
) -> Result<Option<Vec<u8>>, Stopped<E>> {
    for entry in Dir::read_from(here)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        proceed().map_err(Stopped::Caller)?;
        let flags = match entry.file_type() {
            FileType::Directory => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        let result = match rustix::fs::unlinkat(here, name, flags) {
            // It became a directory, or its type was unknown; or it ceased to be one.
            Err(Errno::ISDIR) => rustix::fs::unlinkat(here, name, AtFlags::REMOVEDIR),
            Err(Errno::NOTDIR) => rustix::fs::unlinkat(here, name, AtFlags::empty()),
            result => result,
        };
        match result {
            Ok(()) => *removed += 1,
            Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(Some(name.to_bytes().to_vec())),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(None)
}

fn parent_of(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, "..", flags, Mode::empty())
}
