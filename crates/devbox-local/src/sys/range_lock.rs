//! Locks on single bytes of a file that belong to an open file, not to a process (fcntl(2), "open file description locks").

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Takes byte `offset` for this open file; answers whether nobody else has it.
pub(crate) fn try_take(file: BorrowedFd<'_>, offset: u32) -> io::Result<bool> {
    match set(file, offset, libc::F_WRLCK) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives byte `offset` back.
pub(crate) fn release(file: BorrowedFd<'_>, offset: u32) -> io::Result<()> {
    set(file, offset, libc::F_UNLCK)
}

fn set(file: BorrowedFd<'_>, offset: u32, kind: libc::c_int) -> io::Result<()> {
    #[expect(unsafe_code, reason = "a structure of plain numbers with private padding on some architectures")]
    // SAFETY: every field of `flock` is a number, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(kind).map_err(io::Error::other)?;
    lock.l_whence = 0;
    lock.l_start = libc::off_t::from(offset);
    lock.l_len = 1;
    #[expect(unsafe_code, reason = "open file description locks have no safe wrapper")]
    // SAFETY: the structure is whole and outlives the call.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    super::checked(answer.into()).map(drop)
}
