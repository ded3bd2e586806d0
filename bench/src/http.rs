//! A bare `hyper` client over one connection: what the echo and the peers are called with.

use std::convert::Infallible;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;

use crate::content::{Check, Content};

/// What is sent.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A body that is in memory.
pub(crate) fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).boxed_unsync()
}

/// A body of chunks.
pub(crate) fn chunked(chunks: impl Iterator<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(stream::iter(chunks.map(|chunk| Ok(Frame::data(chunk))))).boxed_unsync()
}

/// The body of a whole content.
pub(crate) fn body_of(content: Content) -> Body {
    chunked(content.chunks())
}

/// Where a server listens.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// On a unix socket.
    Unix(PathBuf),
    /// On a port: host and port.
    Tcp(String),
}

/// A connection that is kept alive, and made again where the server closed it.
pub(crate) struct Http {
    runtime: Runtime,
    address: Address,
    connection: Option<SendRequest<Body>>,
}

impl Http {
    /// Will connect with the first request.
    pub(crate) fn to(address: Address) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, address, connection: None })
    }

    /// Sends a request and reads the whole answer. Anything but success is an error.
    pub(crate) fn call(&mut self, request: Request<Body>) -> Result<Response<Bytes>> {
        let Self { runtime, address, connection } = self;
        runtime.block_on(async {
            let (head, body) = send(address, connection, request).await?.into_parts();
            Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
        })
    }

    /// The same; what comes is compared.
    pub(crate) fn compare(&mut self, request: Request<Body>, check: Check) -> Result<()> {
        let Self { runtime, address, connection } = self;
        runtime.block_on(async {
            let answer = send(address, connection, request).await?;
            check.whole(answer.into_body().into_data_stream()).await
        })
    }
}

/// Every request names the host, and is sent over a connection that stands.
async fn send(
    address: &Address,
    connection: &mut Option<SendRequest<Body>>,
    mut request: Request<Body>,
) -> Result<Response<Incoming>> {
    let host = match address {
        Address::Unix(_) => "unix",
        Address::Tcp(host) => host,
    };
    request.headers_mut().insert(header::HOST, host.parse()?);
    let asked = format!("{} {}", request.method(), request.uri().path());
    let stands = match connection {
        Some(sender) => sender.ready().await.is_ok(),
        None => false,
    };
    if !stands {
        *connection = Some(connect(address).await?);
    }
    let sender = connection.as_mut().context("the connection was just made")?;
    let answer = sender.send_request(request).await.with_context(|| format!("send {asked}"))?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let said = answer.into_body().collect().await?.to_bytes();
    bail!("{asked}: {status}: {}", String::from_utf8_lossy(&said[..said.len().min(500)]))
}

async fn connect(address: &Address) -> Result<SendRequest<Body>> {
    let sender = match address {
        Address::Unix(socket) => {
            let stream = UnixStream::connect(socket).await.context("connect to the socket")?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            sender
        }
        Address::Tcp(host) => {
            let stream = TcpStream::connect(host).await.with_context(|| format!("connect to {host}"))?;
            stream.set_nodelay(true)?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            sender
        }
    };
    Ok(sender)
}
