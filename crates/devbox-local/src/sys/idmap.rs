//! Mounts whose owners are shifted into the range of a user namespace: mount_setattr(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::mount::{OpenTreeFlags, open_tree};

/// What mount_setattr(2) takes.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

const MOUNT_ATTR_RDONLY: u64 = 0x1;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// A detached copy of the mount at `directory`, rooted there, whose owners `userns` shifts.
///
/// # Errors
/// `EINVAL` if the file system cannot be idmapped; what open_tree(2) and mount_setattr(2) say.
pub(crate) fn shifted(
    directory: BorrowedFd<'_>,
    userns: BorrowedFd<'_>,
    read_only: bool,
) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(directory, "", flags)?;
    let attributes = MountAttributes {
        set: MOUNT_ATTR_IDMAP | if read_only { MOUNT_ATTR_RDONLY } else { 0 },
        clear: 0,
        propagation: 0,
        userns: u64::from(userns.as_raw_fd().cast_unsigned()),
    };
    #[expect(unsafe_code, reason = "mount_setattr has no safe wrapper")]
    // SAFETY: both pointers are valid for the call, the structure is of the size given.
    super::checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    })?;
    Ok(tree)
}
