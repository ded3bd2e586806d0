//! Byte streams to the agent of one box, over its unix socket.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use devbox_guest::Transport;
use devbox_guest::transport::{Connection, Protocol, connect_unix};
use devbox_types::BoxId;
use tokio::net::UnixStream;

/// The unix socket of one agent, found through the descriptor of its directory: a socket address holds 107 bytes, and a
/// data directory may be deeper than that.
#[derive(Debug, Clone)]
pub(crate) struct BoxTransport {
    sockets: Arc<OwnedFd>,
    name: String,
}

impl BoxTransport {
    pub(crate) fn new(sockets: Arc<OwnedFd>, id: &BoxId) -> Self {
        Self { sockets, name: socket_name(id) }
    }

    pub(crate) async fn open(&self) -> io::Result<UnixStream> {
        let path = format!("/proc/self/fd/{}/{}", self.sockets.as_raw_fd(), self.name);
        connect_unix(Path::new(&path)).await
    }
}

#[async_trait]
impl Transport for BoxTransport {
    async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        Ok(Box::new(self.open().await?))
    }

    fn protocol(&self) -> Protocol {
        Protocol::Http1Pool
    }
}

/// The name of a box's socket within the directory of sockets.
pub(crate) fn socket_name(id: &BoxId) -> String {
    format!("{id}.sock")
}
