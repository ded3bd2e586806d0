//! Doing by descriptor what Linux only offers by path, through this process's `/proc/self/fd`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, PROC_SUPER_MAGIC};
use rustix::io::Errno;

/// The directory `/proc/self/fd`, opened once and known to be procfs, so that nothing can be mounted over it later.
///
/// Without procfs, what needs it answers ENOSYS or takes another way.
#[derive(Debug)]
pub(crate) struct OpenDescriptors {
    directory: Option<OwnedFd>,
}

impl OpenDescriptors {
    pub(crate) fn open() -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, "/proc/self/fd", flags, Mode::empty()).ok();
        let is_procfs =
            |fd: &OwnedFd| rustix::fs::fstatfs(fd).is_ok_and(|system| system.f_type == PROC_SUPER_MAGIC);
        Self { directory: directory.filter(is_procfs) }
    }

    fn directory(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.directory.as_ref().map(AsFd::as_fd).ok_or(Errno::NOSYS)
    }

    /// Opens what an O_PATH descriptor names once more; the kernel checks the permissions of the acting user.
    pub(crate) fn reopen(&self, fd: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(self.directory()?, number(fd), flags | OFlags::CLOEXEC, Mode::empty())
    }

    /// Gives an unnamed file a name.
    ///
    /// By way of procfs, which asks no privilege; else with AT_EMPTY_PATH, which asks CAP_DAC_READ_SEARCH, or, since
    /// Linux 6.10, that the same user opened it.
    pub(crate) fn link(
        &self,
        file: BorrowedFd<'_>,
        directory: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<(), Errno> {
        match self.directory() {
            Ok(descriptors) => {
                rustix::fs::linkat(descriptors, number(file), directory, name, AtFlags::SYMLINK_FOLLOW)
            }
            Err(_) => rustix::fs::linkat(file, "", directory, name, AtFlags::EMPTY_PATH),
        }
    }

    /// Sets the mode of what an O_PATH descriptor names.
    pub(crate) fn chmod(&self, fd: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
        match self.directory() {
            Ok(descriptors) => {
                rustix::fs::chmodat(descriptors, number(fd), Mode::from_raw_mode(mode), AtFlags::empty())
            }
            Err(_) => chmod_by_descriptor(fd, mode),
        }
    }

    /// The path by which this process reaches a name in a directory, for calls that take only paths. Those are to be of the
    /// kind that does not follow a final link.
    pub(crate) fn path_at(&self, directory: BorrowedFd<'_>, name: &[u8]) -> Option<Vec<u8>> {
        self.directory().ok()?;
        let directory = format!("/proc/self/fd/{}/", directory.as_raw_fd());
        Some([directory.as_bytes(), name].concat())
    }

    /// The path by which this process reaches what a descriptor names, O_PATH or not, for calls that take only paths. It is
    /// a link, which those have to follow; what it leads to is the file itself, a symlink too.
    pub(crate) fn path_of(&self, fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
        self.directory().ok()?;
        Some(format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes())
    }

    /// Where the kernel says that a directory is now, seen from this process.
    pub(crate) fn whereabouts(&self, fd: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
        let path = rustix::fs::readlinkat(self.directory()?, number(fd), Vec::new())?;
        Ok(path.into_bytes())
    }
}

fn number(fd: BorrowedFd<'_>) -> String {
    fd.as_raw_fd().to_string()
}

#[expect(unsafe_code, reason = "rustix and libc have no fchmodat2 with AT_EMPTY_PATH")]
fn chmod_by_descriptor(fd: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    // SAFETY: the path is a NUL-terminated constant, and the descriptor is open while it is borrowed.
    let result = unsafe {
        libc::syscall(libc::SYS_fchmodat2, fd.as_raw_fd(), c"".as_ptr(), mode, libc::AT_EMPTY_PATH)
    };
    if result == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))
}
