//! Where the files of boxes are kept: one directory per box, in which its layers live.
//!
//! | module | subject |
//! |---|---|
//! | [`btrfs`] | subvolumes |
//! | [`plain`] | directories |

mod btrfs;
mod plain;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, StatVfs};

use crate::config::PoolChoice;
use crate::error::{Step, StepError};
use crate::spawner::protocol::Room;
use crate::sys::clone::Child;

/// The layer directories of a box: for `/` and for `/usr`, each with the work directory that overlayfs demands beside it.
pub(crate) const LAYERS: [&str; 4] = ["root", "root-work", "usr", "usr-work"];

/// Where the files of boxes are kept.
///
/// # Contract
/// A name is a box id. `make` gives a directory owned by root with the [`LAYERS`] in it, or leaves nothing. `open` gives
/// the directory of a box. `remove` first takes the name away, at once and for good, and may then go on in a child
/// process; what a kill leaves of that, `sweep` removes. No method follows a link, or reads a byte, that a box wrote.
pub(crate) trait Pool {
    /// `btrfs` or `plain`.
    fn kind(&self) -> &'static str;

    /// Makes the directory of a new box.
    fn make(&self, name: &str) -> io::Result<OwnedFd>;

    /// Opens the directory of a box.
    fn open(&self, name: &str) -> io::Result<OwnedFd>;

    /// Removes the directory of a box, none of whose processes lives. A child, if there is one, does the long part.
    fn remove(&self, name: &str) -> io::Result<Option<Child>>;

    /// The names of all boxes.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Removes what a killed spawner left half removed.
    fn sweep(&self) -> io::Result<Option<Child>>;

    /// Sees to it that the pool has no more room than the host's disk can give it without falling under its reserve. To be
    /// called time and again: others fill that disk, too.
    fn keep_reserve(&self) -> io::Result<()>;

    /// How full it is.
    fn space(&self) -> io::Result<StatVfs>;
}

/// Opens, or makes, the pool of a data directory.
pub(crate) fn open(choice: PoolChoice, data: &Path) -> Result<Box<dyn Pool>, StepError> {
    match choice {
        PoolChoice::Plain => Ok(Box::new(plain::open(data)?)),
        PoolChoice::Btrfs => Ok(Box::new(btrfs::open(data)?)),
        PoolChoice::Auto => match btrfs::open(data) {
            Ok(pool) => Ok(Box::new(pool)),
            Err(error) => {
                tracing::warn!(%error, cause = %error.source, "no btrfs pool: boxes are kept in plain directories");
                Ok(Box::new(plain::open(data)?))
            }
        },
    }
}

/// The share of the host's disk that boxes must leave free, as a divisor: 5 %.
const RESERVE_DIVISOR: u64 = 20;
/// The least that boxes must leave free on the host's disk.
const RESERVE_MINIMUM: u64 = 2 << 30;
/// The least that a pool must have free for another box.
const POOL_MINIMUM: u64 = 64 << 20;

/// Says what there is no room in for another box, if there is not.
pub(crate) fn lacking(pool: &dyn Pool, data: &Path) -> Result<Option<Room>, StepError> {
    let host = rustix::fs::statvfs(data).step("measure the host's disk")?;
    if available(&host) < reserve(size(&host)) {
        return Ok(Some(Room::HostDisk));
    }
    let pool = pool.space().step("measure the pool")?;
    Ok((available(&pool) < POOL_MINIMUM).then_some(Room::Pool))
}

/// What must stay free of a disk: 5 %, but at least 2 GiB.
fn reserve(size: u64) -> u64 {
    (size / RESERVE_DIVISOR).max(RESERVE_MINIMUM)
}

fn size(disk: &StatVfs) -> u64 {
    disk.f_blocks.saturating_mul(disk.f_frsize)
}

fn available(disk: &StatVfs) -> u64 {
    disk.f_bavail.saturating_mul(disk.f_frsize)
}

/// Opens a directory below another one, and nothing but a directory.
fn open_below(parent: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

fn make_layers(directory: impl AsFd) -> io::Result<()> {
    for layer in LAYERS {
        rustix::fs::mkdirat(directory.as_fd(), layer, Mode::from_raw_mode(0o755))?;
    }
    Ok(())
}

/// The names of the directories in a directory that only root writes.
fn directory_names(directory: impl AsFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory.as_fd())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "." || name == ".." {
            continue;
        }
        let found = rustix::fs::statat(directory.as_fd(), entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
        if rustix::fs::FileType::from_raw_mode(found.st_mode).is_dir() {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_share_of_a_large_disk_and_never_less_than_2_gib() {
        assert_eq!(reserve(10 << 30), 2 << 30);
        assert_eq!(reserve(400 << 30), 20 << 30);
    }
}
