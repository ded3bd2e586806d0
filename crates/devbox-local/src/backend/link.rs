//! Many calls at once over the one socket to the spawner.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};

use crate::spawner::channel;
use crate::spawner::protocol::{Answer, Call, Failure, Reply};
use crate::sys::watch::watch as watch_descriptor;

type Outcome = Result<(Answer, Vec<OwnedFd>), Failure>;

/// The server's end of the socket. Dropping it ends the spawner.
pub(super) struct Link {
    socket: Arc<AsyncFd<OwnedFd>>,
    waiting: Arc<Mutex<Waiting>>,
    next: AtomicU64,
    reader: tokio::task::JoinHandle<()>,
    child: Mutex<Option<Child>>,
    /// Becomes true when nothing more will be heard from the spawner.
    silent: watch::Receiver<bool>,
}

/// Who waits for which reply; closed once the spawner is gone.
#[derive(Default)]
struct Waiting {
    calls: HashMap<u64, oneshot::Sender<Outcome>>,
    closed: bool,
}

impl Link {
    pub(super) fn new(socket: OwnedFd, child: Child) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let socket = Arc::new(watch_descriptor(socket, Interest::READABLE | Interest::WRITABLE)?);
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let (silence, silent) = watch::channel(false);
        let reader = tokio::spawn(read(Arc::clone(&socket), Arc::clone(&waiting), silence));
        let child = Mutex::new(Some(child));
        Ok(Self { socket, waiting, next: AtomicU64::new(1), reader, child, silent })
    }

    /// Sends a call and waits for its reply.
    pub(super) async fn call(&self, call: &Call) -> Outcome {
        let sequence = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        if !enlist(&self.waiting, sequence, answer) {
            return Err(gone());
        }
        if let Err(error) = self.send(sequence, call).await {
            lock(&self.waiting).calls.remove(&sequence);
            let errno = error.raw_os_error().unwrap_or(libc::EMSGSIZE);
            return Err(Failure::Step { step: "ask the spawner".to_owned(), errno });
        }
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn send(&self, sequence: u64, call: &Call) -> io::Result<()> {
        // Encoded by hand: a `Request` would have to own the call.
        let message = channel::encode(&serde_json::json!({ "sequence": sequence, "call": call }))?;
        loop {
            let mut ready = self.socket.writable().await?;
            if let Ok(sent) = ready.try_io(|socket| channel::send_encoded(socket.as_fd(), &message, &[])) {
                return sent;
            }
        }
    }

    /// Waits until nothing more will be heard from the spawner, whatever is asked.
    pub(super) async fn lost(&self) {
        // Its sender lives as long as the reader; without it, too, nothing more is heard.
        let mut silent = self.silent.clone();
        let _gone = silent.wait_for(|silent| *silent).await;
    }

    /// Waits until the spawner's process is gone, and collects it.
    pub(super) async fn ended(&self) -> io::Result<()> {
        while !self.reader.is_finished() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut child) = child {
            tokio::task::spawn_blocking(move || child.wait()).await.map_err(io::Error::other)??;
        }
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The reader holds the socket; the spawner ends when the last holder is gone.
        self.reader.abort();
    }
}

async fn read(socket: Arc<AsyncFd<OwnedFd>>, waiting: Arc<Mutex<Waiting>>, silence: watch::Sender<bool>) {
    loop {
        match next(&socket).await {
            Ok(Some((reply, descriptors))) => settle(&waiting, reply, descriptors),
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, "the spawner cannot be understood");
                break;
            }
        }
    }
    {
        let mut waiting = lock(&waiting);
        waiting.closed = true;
        waiting.calls.clear();
    }
    silence.send_replace(true);
}

async fn next(socket: &AsyncFd<OwnedFd>) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
    loop {
        let mut ready = socket.readable().await?;
        if let Ok(received) = ready.try_io(|socket| channel::receive(socket.as_fd())) {
            return received;
        }
    }
}

fn settle(waiting: &Mutex<Waiting>, reply: Reply, descriptors: Vec<OwnedFd>) {
    let caller = lock(waiting).calls.remove(&reply.sequence);
    let outcome = reply.outcome.map(|answer| (answer, descriptors));
    if caller.is_none_or(|caller| caller.send(outcome).is_err()) {
        tracing::debug!(sequence = reply.sequence, "nobody waits for this reply");
    }
}

fn enlist(waiting: &Mutex<Waiting>, sequence: u64, answer: oneshot::Sender<Outcome>) -> bool {
    let mut waiting = lock(waiting);
    if !waiting.closed {
        waiting.calls.insert(sequence, answer);
    }
    !waiting.closed
}

fn lock(waiting: &Mutex<Waiting>) -> std::sync::MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gone() -> Failure {
    Failure::Step { step: "ask the spawner".to_owned(), errno: libc::EPIPE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spawner::protocol::Request;

    #[test]
    fn what_is_sent_by_hand_is_a_request() {
        let id = devbox_types::BoxId::from_random([7; 10]);
        let message = serde_json::json!({ "sequence": 3, "call": Call::Stop { id: id.clone() } });
        let request: Request = serde_json::from_value(message).expect("a request");
        assert_eq!(request.sequence, 3);
        assert!(matches!(request.call, Call::Stop { id: stopped } if stopped == id));
    }
}
