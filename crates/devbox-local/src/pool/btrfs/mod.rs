//! The btrfs pool: a subvolume per box.

mod ballast;
mod image;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, StatVfs};

use ballast::Ballast;

use super::{Pool, directory_names, make_layers, open_below};
use crate::error::{Step, StepError};
use crate::rootfs::make_directory;
use crate::sys::clone::Child;
use crate::sys::ioctl;

/// `BTRFS_SUPER_MAGIC`.
const BTRFS: u64 = 0x9123_683e;

/// How often a subvolume whose mount the kernel still lets go of is tried again, 10 ms apart.
const ATTEMPTS: usize = 200;

#[derive(Debug)]
pub(super) struct BtrfsPool {
    boxes: OwnedFd,
    /// Where the pool is an image.
    ballast: Option<Ballast>,
}

/// Opens the pool: in the data directory itself if that is on btrfs, else in an image that is mounted from it.
pub(super) fn open(data: &Path) -> Result<BtrfsPool, StepError> {
    let folder = data.join("pool");
    make_directory(&folder, 0o700).step("make the pool's directory")?;
    let ballast = if is_btrfs(&folder).step("look at the pool's file system")? {
        None
    } else {
        image::mount(data, &folder)?;
        Some(Ballast::open(&folder, data).step("open the pool's ballast")?)
    };
    let boxes = folder.join("boxes");
    make_directory(&boxes, 0o700).step("make the pool's directory of boxes")?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let boxes = rustix::fs::open(&boxes, flags, Mode::empty()).step("open the pool")?;
    let pool = BtrfsPool { boxes, ballast };
    pool.keep_reserve().step("trim the pool's ballast")?;
    Ok(pool)
}

impl Pool for BtrfsPool {
    fn kind(&self) -> &'static str {
        "btrfs"
    }

    fn make(&self, name: &str) -> io::Result<OwnedFd> {
        ioctl::create_subvolume(self.boxes.as_fd(), name)?;
        let made = self.open(name).and_then(|directory| make_layers(&directory).map(|()| directory));
        if made.is_err() {
            ioctl::delete_subvolume(self.boxes.as_fd(), name)?;
        }
        made
    }

    fn open(&self, name: &str) -> io::Result<OwnedFd> {
        open_below(&self.boxes, name)
    }

    fn remove(&self, name: &str) -> io::Result<Option<Child>> {
        for _ in 0..ATTEMPTS {
            match ioctl::delete_subvolume(self.boxes.as_fd(), name) {
                Ok(()) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from(io::ErrorKind::ResourceBusy))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        directory_names(&self.boxes)
    }

    fn sweep(&self) -> io::Result<Option<Child>> {
        Ok(None)
    }

    fn keep_reserve(&self) -> io::Result<()> {
        self.ballast.as_ref().map_or(Ok(()), Ballast::trim)
    }

    fn space(&self) -> io::Result<StatVfs> {
        Ok(rustix::fs::fstatvfs(&self.boxes)?)
    }
}

fn is_btrfs(folder: &Path) -> io::Result<bool> {
    // The field is as wide as a register on some architectures, and signed on others.
    Ok(rustix::fs::statfs(folder)?.f_type.cast_unsigned() == BTRFS)
}
