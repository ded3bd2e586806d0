//! Plain TCP.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use devbox_guest::{Connection, Protocol, Transport};
use tokio::net::TcpStream;

/// TCP to one host and port, without delay for small packets.
#[derive(Debug, Clone)]
pub struct TcpTransport {
    host: String,
    port: u16,
    timeout: Duration,
}

impl TcpTransport {
    /// Connections to `host` (a name, or an address without brackets) and `port`, each within `timeout`.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16, timeout: Duration) -> Self {
        Self { host: host.into(), port, timeout }
    }

    pub(super) async fn open(&self) -> io::Result<TcpStream> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream =
            tokio::time::timeout(self.timeout, connecting).await.map_err(|_| io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

#[async_trait]
impl Transport for TcpTransport {
    async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        Ok(Box::new(self.open().await?))
    }

    fn protocol(&self) -> Protocol {
        Protocol::Http1Pool
    }
}
