//! Making directories, with those missing on the way.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use devbox_types::BoxPath;
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use crate::attributes::{Attributes, FileId};
use crate::confine::open_listing;
use crate::error::{At as _, FsError};
use crate::reserved;
use crate::view::View;

/// 0o777 less the umask 022, whatever the umask of this process.
pub(crate) const DIRECTORY_MODE: u32 = 0o755;
const SET_GROUP_ID: u32 = 0o2000;

/// A directory that a call made, so that it can be taken back.
#[derive(Debug)]
pub(crate) struct MadeDirectory {
    pub(crate) parent: OwnedFd,
    pub(crate) name: Vec<u8>,
    pub(crate) id: FileId,
}

impl MadeDirectory {
    /// Removes it if it is still that directory, and empty.
    pub(crate) fn take_back(&self) {
        if Attributes::at(self.parent.as_fd(), &self.name).is_ok_and(|now| now.id() == self.id) {
            // Not empty: somebody uses it by now, and it stays.
            let _ = rustix::fs::unlinkat(&self.parent, &self.name[..], AtFlags::REMOVEDIR);
        }
    }
}

/// Takes directories back, the deepest first.
pub(crate) fn take_back(made: &mut Vec<MadeDirectory>) {
    while let Some(directory) = made.pop() {
        directory.take_back();
    }
}

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
    /// Makes whatever is missing of a directory's path. Returns what it made, outermost first.
    ///
    /// Once something is missing, it goes on by descriptors from what it made itself, never through a link.
    pub(crate) fn make_missing(&self, path: &BoxPath) -> Result<Vec<MadeDirectory>, FsError> {
        reserved::check(path)?;
        let mut made = Vec::new();
        let result = self.make_each(path, &mut made);
        if result.is_err() {
            take_back(&mut made);
        }
        result.map(|()| made)
    }

    fn make_each(&self, path: &BoxPath, made: &mut Vec<MadeDirectory>) -> Result<(), FsError> {
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
            here = match make(here.as_fd(), segment, DIRECTORY_MODE) {
                Ok(directory) => {
                    let id = Attributes::of(directory.as_fd()).at("make the directory", path)?.id();
                    made.push(MadeDirectory { parent: here, name: segment.to_vec(), id });
                    directory
                }
                // Somebody else made it just now; what is no directory, a dangling link for one, stops us here.
                Err(Errno::EXIST) => match open_listing(here.as_fd(), segment) {
                    Err(Errno::LOOP) => return Err(FsError::NotADirectory { path: path.clone() }),
                    other => other.at("make the directory", path)?,
                },
                Err(errno) => return Err(FsError::at("make the directory", path, errno)),
            };
        }
        Ok(())
    }
}
