//! Whether the agent of a box answers, and whether it still lives.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use devbox_backend::BackendError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};

use crate::sys::watch::watch;
use crate::transport::BoxTransport;

/// How long an agent may take for its first answer. It takes milliseconds; a machine that swaps takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is asked, and what the answer must begin with: the least that shows that the agent serves.
const QUESTION: &[u8] = b"GET /v1/agent HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200";

/// Waits until the agent answers.
///
/// # Errors
/// `Step` if the box's first process ends, if the agent answers something else, or does not answer in time.
pub(super) async fn wait(transport: &BoxTransport, first: &OwnedFd) -> Result<(), BackendError> {
    let asked = async {
        tokio::select! {
            answered = ask(transport) => answered,
            ended = end(first) => ended.and_then(|()| Err(io::Error::from(io::ErrorKind::ConnectionAborted))),
        }
    };
    tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
        .map_err(|source| BackendError::Step { step: "hear from the agent of a new box".to_owned(), source })
}

async fn ask(transport: &BoxTransport) -> io::Result<()> {
    let mut stream = transport.open().await?;
    stream.write_all(QUESTION).await?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer).await?;
    if answer != ANSWER {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    Ok(())
}

/// Waits until the process ends.
async fn end(process: &OwnedFd) -> io::Result<()> {
    let process = watch(process.try_clone()?, Interest::READABLE)?;
    process.readable().await?.retain_ready();
    Ok(())
}

/// Whether the process has ended.
pub(super) fn has_ended(process: &OwnedFd) -> bool {
    let mut watched = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(rustix::io::retry_on_intr(|| poll(&mut watched, Some(&now))), Ok(1..))
}
