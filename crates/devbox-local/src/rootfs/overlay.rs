//! The mounts of one box, made by the spawner and handed to the box's first process unattached.
//!
//! Overlays are mounted here, with the host's rights, and not by the box in its user namespace: see
//! `docs/decisions/0001-overlay-mounts.md`. What overlayfs notes in `trusted.*` attributes is then beyond the reach of
//! anybody in a box, and directories of a lower layer can be renamed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};

use super::HostTemplate;
use crate::error::{Step, StepError};
use crate::sys::box_root::as_box_root;
use crate::sys::idmap::shifted;

/// The file systems of one box, not attached anywhere yet.
#[derive(Debug)]
pub(crate) struct BoxMounts {
    pub(crate) root: OwnedFd,
    pub(crate) usr: OwnedFd,
    pub(crate) devices: OwnedFd,
}

impl BoxMounts {
    /// Mounts the layers of a box over those of the template. `userns` shifts the owners of all of them: on disk the
    /// files of a box belong to 0 and 1000, whatever range it runs in. `owner` is the box's root to the host.
    pub(crate) fn make(
        template: &HostTemplate,
        directory: BorrowedFd<'_>,
        userns: BorrowedFd<'_>,
        owner: u32,
    ) -> Result<Self, StepError> {
        let layers = shifted(directory, userns, false).step("shift the owners of a box's layers")?;
        let lower = |directory: BorrowedFd<'_>| {
            shifted(directory, userns, true).step("shift the owners of a template's layers")
        };
        let (root, mask, usr) = (lower(template.root())?, lower(template.mask())?, lower(template.usr())?);
        Ok(Self {
            root: as_box_root(owner, || overlay(&[root.as_fd()], layers.as_fd(), "root"))
                .step("mount the overlay of /")?,
            usr: as_box_root(owner, || overlay(&[mask.as_fd(), usr.as_fd()], layers.as_fd(), "usr"))
                .step("mount the overlay of /usr")?,
            devices: lower(template.devices())?,
        })
    }
}

/// Mounts one overlay of `lower` layers, topmost first, and the layer `name` of the box.
fn overlay(lower: &[BorrowedFd<'_>], layers: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let path = |layer: BorrowedFd<'_>| format!("/proc/self/fd/{}", layer.as_raw_fd());
    let lower: Vec<_> = lower.iter().map(|layer| path(*layer)).collect();
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set = |key: &str, value: &str| fsconfig_set_string(context.as_fd(), key, value);
    set("source", "devbox")?;
    set("lowerdir", &lower.join(":"))?;
    set("upperdir", &format!("{}/{name}", path(layers)))?;
    set("workdir", &format!("{}/{name}-work", path(layers)))?;
    set("redirect_dir", "on")?;
    // Both would tie a box to the very inodes of its lower layers, which are made anew at every start of the spawner.
    set("index", "off")?;
    set("metacopy", "off")?;
    fsconfig_create(context.as_fd())?;
    // Devices come from /dev alone.
    let flags = MountAttrFlags::MOUNT_ATTR_NODEV;
    let mounted = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)?;
    // Where overlayfs cannot make its work directory it mounts the rest, read-only, and says so in the kernel's log alone.
    if rustix::fs::fstatvfs(&mounted)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(Errno::ROFS.into());
    }
    Ok(mounted)
}
