//! Executing an open file: execveat(2).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Replaces this process by the program in `file`; comes back only if that fails.
pub(crate) fn execute(file: BorrowedFd<'_>, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    #[expect(unsafe_code, reason = "execveat has no safe wrapper")]
    // SAFETY: both arrays end with a null pointer, and they and the strings in them outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Gives this process a session keyring of its own, so that it holds none of the host's keys.
pub(crate) fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    #[expect(unsafe_code, reason = "keyctl has no safe wrapper")]
    // SAFETY: this operation takes a name, or null for an unnamed keyring; it touches no memory.
    super::checked(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) })?;
    Ok(())
}
