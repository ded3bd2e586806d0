//! Making directories, with those missing on the way.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use devbox_types::BoxPath;
use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::confine::open_listing;
use crate::directory_table::Spot;
use crate::error::{At as _, FsError};
use crate::reserved;
use crate::transaction::Transaction;
use crate::undo::Undo;
use crate::view::View;

/// 0o777 less the umask 022, whatever the umask of this process.
pub(crate) const DIRECTORY_MODE: u32 = 0o755;
const SET_GROUP_ID: u32 = 0o2000;

/// Makes one directory and returns it open; EEXIST if the name is taken.
pub(crate) fn make(parent: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
    let set_mode = || {
        let directory = open_listing(parent, name)?;
        let inherited = Attributes::of(directory.as_fd())?.mode() & SET_GROUP_ID;
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode | inherited))?;
        Ok(directory)
    };
    set_mode().inspect_err(|_: &Errno| {
        let _ = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
    })
}

impl View {
    /// Makes whatever is missing of a directory's path, as steps of a transaction: unless that is committed, they are taken
    /// back. Returns what it made, outermost first.
    ///
    /// Once something is missing, it goes on by descriptors from what it made itself, never through a link.
    pub(crate) fn make_missing(
        &self,
        path: &BoxPath,
        transaction: &mut Transaction,
    ) -> Result<Vec<Spot>, FsError> {
        reserved::check(path)?;
        let mut made = Vec::new();
        let resolving = |errno| FsError::resolving(path, errno);
        let mut here = self.anchor().open_directory(b"").map_err(resolving)?;
        let mut end = 0;
        for segment in path.segments() {
            end += segment.len() + usize::from(end > 0);
            if made.is_empty() {
                match self.anchor().open_directory(&path.as_bytes()[..end]) {
                    Ok(directory) => {
                        here = directory;
                        continue;
                    }
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(resolving(errno)),
                }
            }
            here = match make_step(transaction, &here, segment).at("make the directory", path)? {
                Some((directory, at)) => {
                    made.push(at);
                    directory
                }
                // Somebody else made it just now; what is no directory, a dangling link for one, stops us here.
                None => match open_listing(here.as_fd(), segment) {
                    Err(Errno::LOOP) => return Err(FsError::NotADirectory { path: path.clone() }),
                    other => other.at("make the directory", path)?,
                },
            };
        }
        Ok(made)
    }
}

/// Makes a directory under a reserved name, remembers it, and gives it its own name, so that a kill at any moment finds it
/// remembered. `None` if the name is taken.
fn make_step(
    transaction: &mut Transaction,
    parent: &OwnedFd,
    name: &[u8],
) -> Result<Option<(OwnedFd, Spot)>, Errno> {
    let number = transaction.directory(parent)?;
    let staged = transaction.reserve(number);
    let directory = make(parent.as_fd(), &staged, DIRECTORY_MODE)?;
    let inode = Attributes::of(directory.as_fd())?.id().inode;
    let at = Spot { directory: number, name: name.to_vec() };
    transaction.plan(Undo::Remove { at: at.clone(), inode, tree: false })?;
    transaction.flush()?;
    match rustix::fs::renameat_with(parent, &staged[..], parent, name, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Some((directory, at))),
        Err(Errno::EXIST) => Ok(None),
        Err(errno) => Err(errno),
    }
}
