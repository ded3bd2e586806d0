//! One stream that is open already, such as the standard input and output of a child.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{Connection, Protocol, Transport};

/// Hands out the one stream that it was given: HTTP/2 by prior knowledge. Once that has ended, connecting fails.
pub struct StreamTransport {
    stream: Mutex<Option<Box<dyn Connection>>>,
}

impl StreamTransport {
    /// A transport over this stream.
    #[must_use]
    pub fn new(stream: impl Connection + 'static) -> Self {
        Self { stream: Mutex::new(Some(Box::new(stream))) }
    }

    /// A transport over a pair of one-way streams, such as the pipes of a child process.
    #[must_use]
    pub fn of_halves<R, W>(reader: R, writer: W) -> Self
    where
        R: tokio::io::AsyncRead + Send + Unpin + 'static,
        W: tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        Self::new(tokio::io::join(reader, writer))
    }
}

#[async_trait]
impl Transport for StreamTransport {
    async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        stream.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the one stream has ended"))
    }

    fn protocol(&self) -> Protocol {
        Protocol::Http2Single
    }
}

impl fmt::Debug for StreamTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StreamTransport").finish_non_exhaustive()
    }
}
