//! Copying what is in a file: shared where the file system can, holes kept, bytes never through this process unless they must.

use std::os::fd::{AsFd, BorrowedFd};

use devbox_types::BoxPath;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::error::FsError;

/// How much one copy call moves, so that deadlines are looked at in between.
const STEP: u64 = 64 << 20;
const BUFFER: usize = 128 << 10;

/// What stops the copying of contents: the kernel, or who was asked whether to go on.
pub(crate) enum Stop {
    Kernel(Errno),
    Engine(FsError),
}

impl Stop {
    /// The error of the step that was stopped.
    pub(crate) fn at(self, step: &'static str, path: &BoxPath) -> FsError {
        match self {
            Self::Kernel(errno) => FsError::at(step, path, errno),
            Self::Engine(error) => error,
        }
    }
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

/// Copies `size` bytes of `from` to the empty file `to`; what comes after them is not looked at.
pub(crate) fn copy<E: From<Errno>>(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    size: u64,
    proceed: &dyn Fn() -> Result<(), E>,
) -> Result<(), E> {
    if size == 0 {
        return Ok(());
    }
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let mut end = 0;
    while end < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(end)) {
            Ok(start) => start,
            // Nothing but a hole to the end.
            Err(Errno::NXIO) => break,
            Err(_) => end,
        };
        end = match rustix::fs::seek(from, SeekFrom::Hole(start)) {
            Ok(end) if end > start => end,
            _ => size,
        };
        copy_extent(from, to, (start, start), end - start, proceed)?;
    }
    let length = size.max(rustix::fs::seek(to, SeekFrom::End(0))?);
    rustix::fs::ftruncate(to, length)?;
    Ok(())
}

/// Copies the first `size` bytes of `from` to the end of `to`, which is at `end`. Fewer, if `from` has become shorter.
pub(crate) fn append<E: From<Errno>>(
    from: BorrowedFd<'_>,
    size: u64,
    to: BorrowedFd<'_>,
    end: u64,
    proceed: &dyn Fn() -> Result<(), E>,
) -> Result<(), E> {
    copy_extent(from, to, (0, end), size, proceed)
}

/// Copies from the first of two places to the second.
fn copy_extent<E: From<Errno>>(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    (start, place): (u64, u64),
    length: u64,
    proceed: &dyn Fn() -> Result<(), E>,
) -> Result<(), E> {
    let (mut read, mut written) = (start, place);
    let end = start.saturating_add(length);
    while read < end {
        proceed()?;
        let step = usize::try_from((end - read).min(STEP)).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), step) {
            // The file became shorter.
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return copy_through(from, to, (read, written), end - read, proceed);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn copy_through<E: From<Errno>>(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    (start, place): (u64, u64),
    length: u64,
    proceed: &dyn Fn() -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = vec![0; BUFFER];
    let mut at = start;
    let end = start.saturating_add(length);
    while at < end {
        proceed()?;
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(BUFFER);
        let count = match rustix::io::pread(from.as_fd(), &mut buffer[..wanted], at) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        put(to, &buffer[..count], place + (at - start))?;
        at += u64::try_from(count).unwrap_or(0);
    }
    Ok(())
}

/// Writes all of `bytes` at an offset.
pub(crate) fn put(to: BorrowedFd<'_>, mut bytes: &[u8], mut at: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(to, bytes, at) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(count) => {
                bytes = &bytes[count..];
                at += u64::try_from(count).unwrap_or(0);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
