//! A sparse btrfs image in the data directory, mounted in the spawner's own mount namespace through a loop device.
//!
//! Nothing of it is seen on the host, and nothing has to be cleared after a kill: the namespace, the mount in it and the
//! loop device end with the spawner.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;

use super::super::{available, reserve, size};
use crate::error::{Step, StepError};
use crate::sys::ioctl;

/// The smallest image worth making: btrfs wants about 110 MiB for itself.
const MINIMUM: u64 = 1 << 30;

/// Mounts `DIR/pool.img` on `folder`, after making it if it is missing.
///
/// # Errors
/// Each step by name: there is no `mkfs.btrfs`, no loop device may be made, the kernel has no btrfs.
pub(super) fn mount(data: &Path, folder: &Path) -> Result<(), StepError> {
    let image = data.join("pool.img");
    if !image.exists() {
        make(data, &image)?;
    }
    let file = rustix::fs::open(&image, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
        .step("open the pool's image")?;
    let (device, _held) =
        ioctl::attach_loop(file.as_fd()).step("put the pool's image behind a loop device")?;
    let flags = MountFlags::NOATIME | MountFlags::NODEV;
    // What is freed in the pool is freed on the host's disk.
    rustix::mount::mount(device, folder, "btrfs", flags, c"discard=async").step("mount the pool's image")
}

/// Makes the image under another name first, so that a kill leaves none that is half made.
fn make(data: &Path, image: &Path) -> Result<(), StepError> {
    let disk = rustix::fs::statvfs(data).step("measure the host's disk")?;
    // So large that even a full image leaves the host its reserve, as long as nobody else fills the disk.
    let length = available(&disk).saturating_sub(reserve(size(&disk))) & !0xf_ffff;
    if length < MINIMUM {
        return Err(StepError::new("make the pool's image", io::ErrorKind::StorageFull));
    }
    let new = data.join("pool.img.new");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(&new, flags, Mode::from_raw_mode(0o600)).step("make the pool's image")?;
    rustix::fs::ftruncate(&file, length).step("size the pool's image")?;
    drop(file);
    let made = Command::new("mkfs.btrfs")
        .args(["--quiet", "--force", "--label", "devbox"])
        .arg(&new)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .step("run mkfs.btrfs")?;
    if !made.success() {
        return Err(StepError::new("format the pool's image", io::Error::from_raw_os_error(libc::EIO)));
    }
    std::fs::rename(&new, image).step("name the pool's image")
}
