//! Connections: accepting them, speaking HTTP on them, ending them.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::{Limits, Timeouts};
use crate::edge::Edge;
use crate::idle::Idle;
use crate::steady::Steady;
use crate::unstalled::Unstalled;

/// The most header lines of a request; ours send about ten.
const MAX_HEADERS: usize = 100;
/// The most bytes of a request's head, and the read buffer of a connection.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// The read buffer: large bodies come in pieces of this size.
const MAX_BUFFER_BYTES: usize = 512 << 10;
/// How many requests one HTTP/2 connection has open at once.
const MAX_STREAMS: u32 = 256;
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// A silent HTTP/2 peer is asked after this time whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an HTTP/2 peer may take to say farewell.
const FAREWELL: Duration = Duration::from_secs(5);
/// After an error of accept(2) that will not go away at once, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until it is dropped or told to stop.
pub(crate) struct Acceptor {
    pub(crate) edge: Edge,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
}

impl Acceptor {
    /// Serves until `stop` is done; then no connection is accepted, requests under way have `grace` to end, and what is
    /// left is cut off.
    pub(crate) async fn run(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let this = Arc::new(self);
        let stopping = CancellationToken::new();
        let slots = Arc::new(Semaphore::new(this.limits.max_connections));
        let mut connections = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = accept(&listener, &slots) => accepted,
                Some(ended) = connections.join_next() => {
                    log_end(ended);
                    continue;
                }
            };
            let Some((stream, peer, slot)) = accepted else { continue };
            let stopping = stopping.child_token();
            connections.spawn(Steady::new(Arc::clone(&this).serve(stream, peer, slot, stopping)));
        }
        drop(listener);
        stopping.cancel();
        tracing::info!(
            connections = connections.len(),
            grace_ms = this.timeouts.grace.as_millis(),
            "stopping"
        );
        let all = async {
            while let Some(ended) = connections.join_next().await {
                log_end(ended)
            }
        };
        if timeout(this.timeouts.grace, all).await.is_err() {
            tracing::warn!(connections = connections.len(), "connections_cut_off");
            connections.shutdown().await;
        }
    }

    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        _slot: OwnedSemaphorePermit,
        stopping: CancellationToken,
    ) {
        let metrics = self.edge.metrics();
        metrics.connection_opened();
        if let Err(error) = self.speak(stream, stopping).await {
            tracing::debug!(peer = %peer, error = &*error, "connection_failed");
        }
        metrics.connection_closed();
    }

    async fn speak(&self, stream: TcpStream, stopping: CancellationToken) -> Result<(), axum::BoxError> {
        stream.set_nodelay(true)?;
        // Whoever has not begun to speak HTTP when the server stops is not waited for.
        match &self.tls {
            Some(tls) => {
                let handshake = timeout(self.timeouts.handshake, tls.accept(stream));
                let Some(stream) = stopping.run_until_cancelled(handshake).await else { return Ok(()) };
                let stream = stream??;
                let version = match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => Version::Http2,
                    _ => Version::Http1,
                };
                self.converse(stream, version, stopping).await
            }
            None => {
                let first = stopping.run_until_cancelled(version_of(&stream, self.timeouts.head)).await;
                match first.transpose()?.flatten() {
                    Some(version) => self.converse(stream, version, stopping).await,
                    None => Ok(()),
                }
            }
        }
    }

    async fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        version: Version,
        stopping: CancellationToken,
    ) -> Result<(), axum::BoxError> {
        let builder = self.http(version);
        let (edge, idle) = self.edge.for_connection();
        let stream = TokioIo::new(Unstalled::new(stream, self.timeouts.answer_pause));
        let mut connection = pin!(builder.serve_connection(stream, edge));
        let told_to_end = async {
            match version {
                // Between two requests, hyper waits for a head no longer than for its rest.
                Version::Http1 => stopping.cancelled().await,
                Version::Http2 => {
                    stopping.run_until_cancelled(idle_for(&idle, self.timeouts.head)).await;
                }
            }
        };
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = told_to_end => connection.as_mut().graceful_shutdown(),
        }
        match version {
            Version::Http1 => connection.await,
            // The farewell of HTTP/2 takes two round trips; requests that came meanwhile are served.
            Version::Http2 => tokio::select! {
                biased;
                ended = connection => ended,
                () = idle_for(&idle, FAREWELL) => Ok(()),
            },
        }
    }

    fn http(&self, version: Version) -> auto::Builder<TokioExecutor> {
        let builder = auto::Builder::new(TokioExecutor::new());
        let mut builder = match version {
            Version::Http1 => builder.http1_only(),
            Version::Http2 => builder.http2_only(),
        };
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.timeouts.head)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_BUFFER_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        builder
    }
}

/// Waits until a connection has been idle for so long.
async fn idle_for(idle: &Idle, time: Duration) {
    loop {
        let now = Instant::now();
        match idle.since().unwrap_or(now) + time {
            until if until <= now => return,
            until => sleep_until(until).await,
        }
    }
}

/// Waits for a free slot, then for a connection. What goes wrong is logged, not fatal: the next try may do better.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, slot)),
        Err(error) if is_of_one_connection(&error) => None,
        Err(error) => {
            tracing::error!(error = %error, "accept_failed");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Errors of accept(2) that belong to a connection which went away while it waited.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn log_end(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(error = %error, "connection_panicked");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// How an HTTP/2 connection begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Looks at the first bytes without taking them. A peer that sends nothing, or stops in the middle of the preface, has
/// until `patience` is over; `None` if it closed.
async fn version_of(stream: &TcpStream, patience: Duration) -> io::Result<Option<Version>> {
    let deadline = Instant::now() + patience;
    let mut first = [0; PREFACE.len()];
    loop {
        let seen = timeout_at(deadline, stream.peek(&mut first)).await??;
        match &first[..seen] {
            [] => return Ok(None),
            bytes if !PREFACE.starts_with(bytes) => return Ok(Some(Version::Http1)),
            bytes if bytes.len() == PREFACE.len() => return Ok(Some(Version::Http2)),
            // Peeking again returns the same bytes at once; in one packet they come together, so this is rare.
            _ if Instant::now() < deadline => sleep(Duration::from_millis(5)).await,
            _ => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}
