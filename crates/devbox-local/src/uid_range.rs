//! Who the users of a box are to the host: one range of 65,536 user and group ids per running box.
//!
//! The ranges lie between those of container managers (systemd's end at 0x6fff_ffff) and 2^31, where programs that keep
//! ids in signed numbers begin to fail. On disk the files of a box belong to 0 and 1000, not to the range: layers are
//! idmapped. So a range is only taken while a box runs, and any box can run in any.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::error::{Step, StepError};
use crate::sys::{clone, range_lock};

/// The first id of the first range.
const BASE: u32 = 0x7000_0000;

/// How many ids a box has: all that fit 16 bits, as Debian's `nobody` (65534) needs.
pub(crate) const IDS: u32 = 0x1_0000;

/// How many ranges there are below 2^31: so many boxes may run on one machine at a time.
const RANGES: u32 = 0x1000;

/// What the spawners of this machine share: the file in which one byte is locked for each range in use.
pub(crate) const MACHINE_DIRECTORY: &str = "/run/devbox";

/// The ranges of this machine.
#[derive(Debug)]
pub(crate) struct UidRanges {
    locks: OwnedFd,
    next: u32,
    /// A user namespace for each range that was ever used, to make idmapped mounts with.
    namespaces: HashMap<u32, OwnedFd>,
}

/// One range; give it back with [`UidRanges::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UidRange(u32);

impl UidRange {
    /// The host's number of the box's root.
    pub(crate) fn first(self) -> u32 {
        BASE + self.0 * IDS
    }

    /// The line of `uid_map` and `gid_map`.
    pub(crate) fn map(self) -> String {
        format!("0 {} {IDS}\n", self.first())
    }
}

impl UidRanges {
    pub(crate) fn open() -> Result<Self, StepError> {
        std::fs::create_dir_all(MACHINE_DIRECTORY).step("make the directory of machine-wide locks")?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let path = Path::new(MACHINE_DIRECTORY).join("uid-ranges");
        let locks =
            rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)).step("open the locks of user ids")?;
        Ok(Self { locks, next: 0, namespaces: HashMap::new() })
    }

    /// Takes a range that no running box of this machine has, or `None` if there is none left.
    pub(crate) fn take(&mut self, in_use: &[UidRange]) -> Result<Option<UidRange>, StepError> {
        for _ in 0..RANGES {
            let range = UidRange(self.next);
            self.next = (self.next + 1) % RANGES;
            // A lock is no obstacle to the open file that has it, so our own boxes are looked up.
            if !in_use.contains(&range)
                && range_lock::try_take(self.locks.as_fd(), range.0).step("lock a range of user ids")?
            {
                return Ok(Some(range));
            }
        }
        Ok(None)
    }

    pub(crate) fn release(&mut self, range: UidRange) {
        if let Err(error) = range_lock::release(self.locks.as_fd(), range.0) {
            tracing::warn!(%error, "cannot give a range of user ids back");
        }
        // Prefer it for the next box: its user namespace exists already.
        self.next = range.0;
    }

    /// A user namespace that maps the box's ids onto the range, in which no process runs.
    pub(crate) fn namespace(&mut self, range: UidRange) -> Result<&OwnedFd, StepError> {
        match self.namespaces.entry(range.0) {
            Entry::Occupied(made) => Ok(made.into_mut()),
            Entry::Vacant(place) => {
                Ok(place.insert(make_namespace(range).step("make a user namespace for idmapped mounts")?))
            }
        }
    }
}

fn make_namespace(range: UidRange) -> io::Result<OwnedFd> {
    let (wait, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let child = clone::child(libc::CLONE_NEWUSER, None, || {
        // Waits for ever: it holds a writing end itself. The parent kills it once the namespace is open.
        rustix::io::read(&wait, &mut [0_u8; 1]).map_or(1, |_| 0)
    })?;
    let made = write_maps(child.pid, range).and_then(|()| {
        let path = format!("/proc/{}/ns/user", child.pid.as_raw_pid());
        Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    });
    child.kill();
    child.wait()?;
    drop(go);
    made
}

/// Tells the kernel which ids the user namespace of a process has.
pub(crate) fn write_maps(process: rustix::process::Pid, range: UidRange) -> io::Result<()> {
    let folder = format!("/proc/{}", process.as_raw_pid());
    std::fs::write(format!("{folder}/uid_map"), range.map())?;
    std::fs::write(format!("{folder}/gid_map"), range.map())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_range_touches_those_of_others_or_signed_numbers() {
        assert_eq!(UidRange(0).first(), 0x7000_0000);
        assert_eq!(u64::from(UidRange(RANGES - 1).first()) + u64::from(IDS), 1 << 31);
    }
}
