//! Extended attributes: those that a replaced or copied file keeps, and those that callers may see.

use std::os::fd::{AsFd, OwnedFd};

use devbox_types::{BoxPath, Right};
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::error::{At as _, FsError};
use crate::view::View;

/// Linux's XATTR_LIST_MAX and XATTR_SIZE_MAX.
const MAX_BYTES: usize = 64 << 10;

/// The most bytes that the attributes of one entry may have together where they are told to a caller.
const MAX_TOLD: usize = 1 << 20;

/// The extended attributes of an entry, by name.
pub type ExtendedAttributes = Vec<(Vec<u8>, Vec<u8>)>;

impl View {
    /// The `user.*` attributes of a file or directory, in the order of their names.
    ///
    /// # Errors
    /// [`FsError::TooLarge`] for more than a megabyte of them, or what keeps the entry from being reached.
    pub fn attributes(&self, path: &BoxPath) -> Result<ExtendedAttributes, FsError> {
        self.need(Right::Read)?;
        let _acting = self.act()?;
        let place = self.place(path)?;
        let Some(path_at) = self.engine.descriptors.path_at(place.directory.as_fd(), &place.name) else {
            return Ok(Vec::new());
        };
        let mut names = vec![0; MAX_BYTES];
        let length = match rustix::fs::llistxattr(&path_at[..], &mut names[..]) {
            Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::ACCESS | Errno::PERM) => {
                return Ok(Vec::new());
            }
            result => result.at("read the extended attributes of", path)?,
        };
        let (mut told, mut size) = (Vec::new(), 0);
        let mut value = vec![0; MAX_BYTES];
        let own = names[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user."));
        for name in own {
            let length = match rustix::fs::lgetxattr(&path_at[..], name, &mut value[..]) {
                Err(Errno::NODATA | Errno::ACCESS | Errno::PERM | Errno::OPNOTSUPP) => continue,
                result => result.at("read the extended attributes of", path)?,
            };
            size += name.len() + length;
            if size > MAX_TOLD {
                return Err(FsError::TooLarge { limit_bytes: MAX_TOLD as u64 });
            }
            told.push((name.to_vec(), value[..length].to_vec()));
        }
        told.sort_unstable();
        Ok(told)
    }
}

/// Copies the attributes of the entry at a path to an open file or directory; without a path there is nothing to copy.
///
/// `user.*`, ACLs and `security.*` labels, as far as the acting user may set them. Never `security.capability`, which the
/// kernel takes from a file whose content changes, nor signatures over that content.
pub(crate) fn keep(from: Option<Vec<u8>>, to: &OwnedFd) -> Result<(), Errno> {
    let Some(path) = from else { return Ok(()) };
    // Few files have any, so the common case is one call with a small buffer.
    let mut names = vec![0; 512];
    let length = match rustix::fs::llistxattr(&path[..], &mut names[..]) {
        Err(Errno::RANGE) => {
            names.resize(MAX_BYTES, 0);
            rustix::fs::llistxattr(&path[..], &mut names[..])
        }
        result => result,
    };
    let length = match length {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::ACCESS | Errno::PERM) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    if length == 0 {
        return Ok(());
    }
    let mut value = vec![0; MAX_BYTES];
    for name in names[..length].split(|byte| *byte == 0).filter(|name| is_kept(name)) {
        let length = match rustix::fs::lgetxattr(&path[..], name, &mut value[..]) {
            Ok(length) => length,
            Err(Errno::NODATA | Errno::ACCESS | Errno::PERM | Errno::OPNOTSUPP) => continue,
            Err(errno) => return Err(errno),
        };
        match rustix::fs::fsetxattr(to.as_fd(), name, &value[..length], XattrFlags::empty()) {
            Ok(()) | Err(Errno::ACCESS | Errno::PERM | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn is_kept(name: &[u8]) -> bool {
    const CONTENT_BOUND: [&[u8]; 3] = [b"security.capability", b"security.ima", b"security.evm"];
    let kinds: [&[u8]; 3] = [b"user.", b"system.posix_acl_", b"security."];
    kinds.iter().any(|kind| name.starts_with(kind)) && !CONTENT_BOUND.contains(&name)
}
