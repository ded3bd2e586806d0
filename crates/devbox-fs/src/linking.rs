//! Giving a file one more name.

use devbox_types::{BoxPath, EntryKind};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::apply::Applying;
use crate::error::FsError;

impl Applying<'_> {
    /// Both names are names in directories that were reached inside the root, and a symlink is linked itself: no link leads
    /// to a file that the caller could not reach before.
    pub(crate) fn link(&mut self, from: &BoxPath, to: &BoxPath) -> Result<(), FsError> {
        if to.wants_directory() {
            return Err(FsError::Invalid { reason: "the new name of a file may not end in a slash" });
        }
        let (old, existing) = self.source(from)?;
        match existing.kind() {
            EntryKind::File | EntryKind::Symlink => {}
            EntryKind::Directory => return Err(FsError::IsADirectory { path: from.clone() }),
            kind @ (EntryKind::Fifo
            | EntryKind::Socket
            | EntryKind::BlockDevice
            | EntryKind::CharacterDevice) => {
                return Err(FsError::NotARegularFile { path: from.clone(), kind });
            }
        }
        let new = self.view.place(to)?;
        self.make(&new, to, |name| {
            let linked =
                rustix::fs::linkat(&old.directory, &old.name[..], &new.directory, name, AtFlags::empty());
            match linked {
                // It has as many names as its file system keeps.
                Err(Errno::MLINK) => Err(Errno::OPNOTSUPP),
                linked => linked,
            }
        })
    }
}
