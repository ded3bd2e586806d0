//! Connections to a unix socket.

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use tokio::net::UnixStream;

use super::{Connection, Protocol, Transport};

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

#[async_trait]
impl Transport for UnixTransport {
    async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        Ok(Box::new(UnixStream::connect(&self.path).await?))
    }

    fn protocol(&self) -> Protocol {
        Protocol::Http1Pool
    }
}
