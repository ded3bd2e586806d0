//! A version of a file that is about to be exchanged for another, held open so that it is known again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::confine::open_entry;

/// The version that a new one is to replace.
pub(crate) struct Held {
    file: OwnedFd,
    seen: Attributes,
}

impl Held {
    /// Takes hold of what lies under a name; `None` if it is not the version that was seen.
    ///
    /// What is held is what a condition was checked of, not what came in its place since: with the same size, and written in
    /// the same tick, they differ in nothing else.
    pub(crate) fn of(
        directory: BorrowedFd<'_>,
        name: &[u8],
        seen: &Attributes,
    ) -> Result<Option<Self>, Errno> {
        let file = match open_entry(directory, name) {
            Err(Errno::NOENT) => return Ok(None),
            file => file?,
        };
        let is_seen = Attributes::of(file.as_fd())?.is_same_version(seen);
        Ok(is_seen.then_some(Self { file, seen: *seen }))
    }

    /// Whether it is what an exchange took out, under `name` by now, with nobody having written to it.
    pub(crate) fn is_at(&self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
        let Some(out) = Attributes::find(directory, name)? else { return Ok(false) };
        // The copy-up of an overlay may give the file another inode number; the descriptor follows it.
        let is_held = Attributes::of(self.file.as_fd())?.id() == out.id();
        Ok(is_held && out.is_same_content(&self.seen))
    }
}
