//! `/dev`: one read-only directory of harmless devices, shared by all boxes.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{Dev, FileType, Mode, makedev};

/// Devices by name, major and minor number: what every program expects, and nothing that stores or reveals.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Where each box mounts what it has of its own.
const MOUNT_POINTS: [&str; 3] = ["pts", "shm", "mqueue"];

pub(super) fn fill(directory: BorrowedFd<'_>) -> io::Result<()> {
    for (name, major, minor) in DEVICES {
        let device: Dev = makedev(major, minor);
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(directory, name, FileType::CharacterDevice, mode, device)?;
        // The file mode mask of whoever started the server does not count here.
        rustix::fs::chmodat(directory, name, mode, rustix::fs::AtFlags::empty())?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, directory, name)?;
    }
    for name in MOUNT_POINTS {
        rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o755))?;
    }
    Ok(())
}
