//! Whether the acting user may remove a whole tree, asked before the first entry goes.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use devbox_types::{BoxPath, ListRequest};
use rustix::fs::Dir;
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::confine::{open_entry, open_listing};
use crate::error::FsError;
use crate::view::{Place, View};

const STICKY: u32 = 0o1000;

impl View {
    /// Fails where the kernel would refuse to remove something in the tree, so that it is refused whole.
    ///
    /// Root is not refused. It looks at most [`ListRequest::MAX_DEPTH`] levels deep; deeper down, and against changes
    /// meanwhile, the kernel has the last word.
    pub(crate) fn check_removable(&self, place: &Place, path: &BoxPath) -> Result<(), FsError> {
        if self.identity.is_root() {
            return Ok(());
        }
        self.check_below(place).map_err(|errno| FsError::at("delete what is in", path, errno))
    }

    fn check_below(&self, place: &Place) -> Result<(), Errno> {
        if !Attributes::at(place.directory.as_fd(), &place.name)?.is_directory() {
            return Ok(());
        }
        let deepest = usize::try_from(ListRequest::MAX_DEPTH).unwrap_or(usize::MAX);
        let mut levels = Vec::new();
        levels.extend(self.open_removable(place.directory.as_fd(), &place.name)?);
        while let Some((listing, attributes)) = levels.last_mut() {
            let entry = match listing.read() {
                Some(entry) => entry?,
                None => {
                    levels.pop();
                    continue;
                }
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let directory = listing.fd()?;
            let Some(found) = Attributes::find(directory, name)? else { continue };
            let ours = [found.uid(), attributes.uid()].contains(&self.identity.uid);
            if attributes.mode() & STICKY != 0 && !ours {
                return Err(Errno::ACCESS);
            }
            if found.is_directory() && levels.len() < deepest {
                let deeper = self.open_removable(levels_directory(&levels)?, name)?;
                levels.extend(deeper);
            }
        }
        Ok(())
    }

    /// Opens a directory whose entries may be removed; `None` for one that is empty, which need not be.
    fn open_removable(
        &self,
        directory: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<Option<(Dir, Attributes)>, Errno> {
        let entry = open_entry(directory, name)?;
        let attributes = Attributes::of(entry.as_fd())?;
        let allowed = may_change(entry.as_fd());
        match allowed {
            Ok(()) => Ok(Some((Dir::new(open_listing(entry.as_fd(), b".")?)?, attributes))),
            Err(errno) => match open_listing(entry.as_fd(), b".") {
                Ok(listing) => match only_dots(listing)? {
                    true => Ok(None),
                    false => Err(errno),
                },
                Err(_) => Err(errno),
            },
        }
    }
}

/// Asks the kernel whether the acting user may read, change and enter a directory.
#[expect(
    unsafe_code,
    reason = "rustix answers AT_EACCESS for the real user where that equals the effective one"
)]
fn may_change(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    let mode = libc::R_OK | libc::W_OK | libc::X_OK;
    let flags = libc::AT_EACCESS | libc::AT_EMPTY_PATH;
    // SAFETY: the path is a NUL-terminated constant, and the descriptor is open while it is borrowed.
    let result =
        unsafe { libc::syscall(libc::SYS_faccessat2, directory.as_raw_fd(), c"".as_ptr(), mode, flags) };
    if result == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))
}

fn levels_directory(levels: &[(Dir, Attributes)]) -> Result<BorrowedFd<'_>, Errno> {
    levels.last().ok_or(Errno::NOENT)?.0.fd()
}

/// Whether an open directory holds nothing.
pub(crate) fn only_dots(listing: std::os::fd::OwnedFd) -> Result<bool, Errno> {
    for entry in Dir::new(listing)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}
