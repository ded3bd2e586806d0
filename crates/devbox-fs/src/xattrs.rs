//! Extended attributes: those that a replaced or copied file keeps, and those that callers may see.

use std::os::fd::{AsFd, OwnedFd};

use devbox_types::metadata::Xattr;
use devbox_types::{BoxPath, Right};
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::error::{At as _, FsError};
use crate::view::View;

/// Linux's XATTR_LIST_MAX and XATTR_SIZE_MAX.
pub(crate) const MAX_BYTES: usize = 64 << 10;
/// Linux's XATTR_NAME_MAX.
const MAX_NAME: usize = 255;
/// How the names begin that callers may see and set.
const OWN: &[u8] = b"user.";

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
        let entry = self.open(path, false)?;
        let told = self.attributes_of(&entry, path)?;
        Ok(told.into_iter().map(|xattr| (xattr.name, xattr.value)).collect())
    }

    /// The `user.*` attributes of what an O_PATH descriptor names, in the order of their names.
    pub(crate) fn attributes_of(&self, entry: &OwnedFd, path: &BoxPath) -> Result<Vec<Xattr>, FsError> {
        const STEP: &str = "read the extended attributes of";
        let Some(here) = self.engine.descriptors.path_of(entry.as_fd()) else { return Ok(Vec::new()) };
        let mut names = vec![0; MAX_BYTES];
        let length = match rustix::fs::listxattr(&here[..], &mut names[..]) {
            Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::ACCESS | Errno::PERM) => {
                return Ok(Vec::new());
            }
            result => result.at(STEP, path)?,
        };
        let (mut told, mut size) = (Vec::new(), 0);
        let own = names[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(OWN));
        for name in own {
            let value = match read_one(&here, name) {
                Err(Errno::ACCESS | Errno::PERM | Errno::OPNOTSUPP) => continue,
                value => value.at(STEP, path)?,
            };
            let Some(value) = value else { continue };
            size += name.len() + value.len();
            if size > MAX_TOLD {
                return Err(FsError::TooLarge { limit_bytes: MAX_TOLD as u64 });
            }
            told.push(Xattr { name: name.to_vec(), value });
        }
        told.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Ok(told)
    }
}

/// Whether callers may set an attribute of this name.
pub(crate) fn is_settable(name: &[u8]) -> bool {
    (OWN.len() + 1..=MAX_NAME).contains(&name.len()) && name.starts_with(OWN) && !name.contains(&0)
}

/// The value of an attribute of what a path of [`crate::procfs::OpenDescriptors::path_of`] leads to; `None`: it has none of
/// that name.
pub(crate) fn read_one(entry: &[u8], name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let mut value = vec![0; MAX_BYTES];
    match rustix::fs::getxattr(entry, name, &mut value[..]) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Sets or removes an attribute of what such a path leads to. One that is to be removed need not be there.
pub(crate) fn write_one(entry: &[u8], name: &[u8], value: Option<&[u8]>) -> Result<(), Errno> {
    match value {
        Some(value) => rustix::fs::setxattr(entry, name, value, XattrFlags::empty()),
        None => match rustix::fs::removexattr(entry, name) {
            Err(Errno::NODATA) => Ok(()),
            removed => removed,
        },
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
