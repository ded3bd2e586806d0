//! A file without content that keeps the pool from promising more room than the host's disk has.
//!
//! The pool's image is sparse: it was made as large as the disk allowed then, but others fill that disk, too. Where the image
//! finds no room any more, btrfs loses what it has accepted. So the pool holds a file whose reserved, never written extents
//! take up what the host could not give without falling under its reserve. Whoever writes in a box is told that there is no
//! space, in time, by its own file system.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FallocateFlags, Mode, OFlags};

use super::super::{available, reserve, size};

/// Changes smaller than this are let be: the reserve is much larger.
const STEP: u64 = 64 << 20;
/// The most that is reserved by one call, so that a lack of contiguous room does not refuse all of it.
const PIECE: u64 = 1 << 30;

/// The file, and the disk that it stands for.
#[derive(Debug)]
pub(super) struct Ballast {
    file: OwnedFd,
    host: OwnedFd,
}

impl Ballast {
    /// Opens, or makes, the ballast of the pool that is mounted on `folder` from an image in `data`.
    pub(super) fn open(folder: &Path, data: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(folder.join("ballast"), flags, Mode::from_raw_mode(0o600))?;
        let host =
            rustix::fs::open(data, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { file, host })
    }

    /// Makes it as heavy as the host's disk demands now.
    pub(super) fn trim(&self) -> io::Result<()> {
        let host = rustix::fs::fstatvfs(&self.host)?;
        let spare = available(&host).saturating_sub(reserve(size(&host)));
        let pool = available(&rustix::fs::fstatvfs(&self.file)?);
        let weight = u64::try_from(rustix::fs::fstat(&self.file)?.st_size).unwrap_or_default();
        let wanted = (pool + weight).saturating_sub(spare);
        if wanted > weight + STEP {
            self.grow(weight, wanted)
        } else if wanted + STEP < weight {
            // It is free for others from the next commit of the file system on, within half a minute.
            Ok(rustix::fs::ftruncate(&self.file, wanted)?)
        } else {
            Ok(())
        }
    }

    fn grow(&self, mut weight: u64, wanted: u64) -> io::Result<()> {
        while weight < wanted {
            let piece = PIECE.min(wanted - weight);
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), weight, piece) {
                Ok(()) => weight += piece,
                // The pool is as full as it should be.
                Err(rustix::io::Errno::NOSPC) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
