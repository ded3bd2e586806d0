//! Byte streams to an agent or a server: the one thing that differs between a unix socket, TCP with TLS and a tunnel.

mod stream;
mod unix;

use std::io;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

pub use stream::StreamTransport;
pub use unix::{UnixTransport, connect_unix};

/// A connected byte stream.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connection for S {}

/// How HTTP is spoken over a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 over a pool of connections: where many can be opened.
    Http1Pool,
    /// HTTP/2 by prior knowledge over one connection with large windows: where only one stream can be had.
    Http2Single,
}

/// Something that opens byte streams to one peer.
///
/// # Contract
/// Each call opens a new, independent stream or fails; a stream that ends early does not harm the next. With
/// [`Protocol::Http2Single`] a caller keeps at most one stream open at a time.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Opens a stream. Cancel-safe: a dropped call opens nothing.
    async fn connect(&self) -> io::Result<Box<dyn Connection>>;

    /// How HTTP is to be spoken over the streams.
    fn protocol(&self) -> Protocol;
}
