//! The duties of PID 1, but for reaping, which is the process engine's.
//!
//! The kernel shields PID 1 of a namespace from signals of its own namespace for which it has no handler. SIGTERM from
//! outside is a wish to stop; the same signal from a program in the box is none of its business. A handler could not tell
//! them apart in time, a signalfd can: a sender outside the namespace has no pid in it, and shows as 0. What sigqueue(3) sent
//! does not count, for there the sender writes the pid; the kernel lets nobody forge the code that kill(2) has.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd as _, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// SIGTERM, blocked in this thread and all that it starts, and to be read instead.
#[derive(Debug)]
pub struct Termination {
    signals: OwnedFd,
}

impl Termination {
    /// Blocks the signal. To be called before there is another thread.
    #[expect(unsafe_code, reason = "signalfd has no safe wrapper")]
    pub fn block() -> io::Result<Self> {
        // SAFETY: the set is plain data, filled in before use; a successful signalfd makes a descriptor of ours.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            let errno = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            if errno != 0 {
                return Err(io::Error::from_raw_os_error(errno));
            }
            match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                descriptor => Ok(Self { signals: OwnedFd::from_raw_fd(descriptor) }),
            }
        }
    }

    /// Waits for the signal from outside; those from inside are taken and forgotten.
    pub async fn from_outside(self) -> io::Result<()> {
        let signals = watch(self.signals)?;
        loop {
            let mut ready = signals.readable().await?;
            match ready.try_io(|signals| next_is_from_outside(signals.get_ref())) {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) | Err(_) => (),
                Ok(Err(error)) => return Err(error),
            }
        }
    }
}

#[expect(unsafe_code, reason = "AsyncFd has no safe constructor")]
fn watch(signals: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what registers it, and stays the same and open until that is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(signals, Interest::READABLE) }?)
}

/// Takes the next signal; whether it was sent with kill(2) from outside the namespace.
fn next_is_from_outside(signals: &OwnedFd) -> io::Result<bool> {
    let mut record = [MaybeUninit::<u8>::uninit(); size_of::<libc::signalfd_siginfo>()];
    let (bytes, _) = rustix::io::read(signals, &mut record)?;
    let field = |place: usize| match bytes.get(place..place + 4) {
        Some(&[a, b, c, d]) => Ok(i32::from_ne_bytes([a, b, c, d])),
        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
    };
    let sender = field(std::mem::offset_of!(libc::signalfd_siginfo, ssi_pid))?;
    let code = field(std::mem::offset_of!(libc::signalfd_siginfo, ssi_code))?;
    Ok(sender == 0 && code == libc::SI_USER)
}
