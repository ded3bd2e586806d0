//! Connections to a unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::UnixStream;
use tokio::time::sleep;

use super::{Connection, Protocol, Transport};

/// How long to wait for a place in the backlog of a listener that has many callers.
const BACKLOG_PAUSE: Duration = Duration::from_millis(5);

/// Opens connections to the unix socket at a path: HTTP/1.1 over a pool of them.
#[derive(Debug, Clone)]
pub struct UnixTransport {
    path: PathBuf,
}

impl UnixTransport {
    /// The socket at `path`; it is looked up anew at each connect.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

/// Connects to the socket at `path`. If its backlog is full, waits for a place: nothing tells when there is one, and whoever
/// connects sets a limit to this.
///
/// # Errors
/// What the kernel says, but for a full backlog.
pub async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(BACKLOG_PAUSE).await,
            connected => return connected,
        }
    }
}

#[async_trait]
impl Transport for UnixTransport {
    async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        Ok(Box::new(connect_unix(&self.path).await?))
    }

    fn protocol(&self) -> Protocol {
        Protocol::Http1Pool
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixSocket;

    use super::*;

    #[tokio::test]
    async fn a_full_backlog_is_waited_for() {
        // An abstract address, which leaves no file.
        let path = format!("\0devbox-guest-backlog-{}", std::process::id());
        let socket = UnixSocket::new_stream().expect("a socket");
        socket.bind(&path).expect("an address");
        let listener = socket.listen(1).expect("a listener");
        let transport = UnixTransport::new(&path);
        let connecting = futures_util::future::join_all((0..16).map(|_| transport.connect()));
        let accepting = async {
            loop {
                sleep(BACKLOG_PAUSE).await;
                listener.accept().await.expect("a connection");
            }
        };
        let connected = tokio::select! {
            connected = connecting => connected,
            () = accepting => unreachable!("it accepts for ever"),
        };
        assert!(connected.iter().all(Result::is_ok));
    }
}
