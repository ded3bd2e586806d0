//! Descriptors that the tokio runtime waits for.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the runtime tell when `descriptor` is ready.
pub(crate) fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        unsafe_code,
        reason = "the safe constructor is deprecated: it trusts types that may change their descriptor"
    )]
    // SAFETY: an `OwnedFd` names the same open descriptor from here until it is dropped, which is after it was
    // deregistered.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    Ok(watched?)
}
