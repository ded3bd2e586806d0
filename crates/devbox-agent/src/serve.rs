//! Serving the guest contract: HTTP/1.1 on a unix socket, HTTP/2 by prior knowledge on one stream.
//!
//! Whoever may connect is trusted to name its grant, so the socket is the server's alone. The limits here keep a peer that
//! is broken from costing more than itself.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};

/// The most connections at a time; more wait in the socket's backlog. Each program that runs holds one, and the engine runs
/// up to 1,024: there has to be room beside them, if only to end some.
const MAX_CONNECTIONS: usize = 1536;
/// How long a request head may take, counted from the end of the request before it: longer than clients keep idle
/// connections, so that it is they who close them.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
/// The most of a head, and the most that one read of a body brings.
const MAX_BUFFER: usize = 512 * 1024;
const MAX_HEADERS: usize = 64;
/// How long calls that are under way may take to finish once this is to stop.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait before the next attempt where descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Windows and frames of HTTP/2, as the client has them: a window is what one slow reader may leave in memory.
const STREAM_WINDOW: u32 = 8 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 32 * 1024 * 1024;
const FRAME: u32 = 256 * 1024;
const MAX_STREAMS: u32 = 512;
const MAX_HEADER_LIST: u32 = 256 * 1024;
const SEND_BUFFER: usize = 1024 * 1024;

/// Serves HTTP/1.1 to everybody who connects, until `stop` ends; then lets calls finish for a short time.
pub async fn serve_connections(listener: UnixListener, router: Router, stop: impl Future<Output = ()>) {
    let (stopping, stopped) = watch::channel(());
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = serve_one(stream, router.clone(), stopped.clone());
                    tokio::spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => (),
        () = stop => (),
    }
    drop(listener);
    drop(stopped);
    stopping.send_replace(());
    let _: Result<(), tokio::time::error::Elapsed> = tokio::time::timeout(GRACE, stopping.closed()).await;
}

async fn serve_one(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    mut stopped: watch::Receiver<()>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_BUFFER)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Serves HTTP/2 on one stream, until it or `stop` ends; then lets calls finish for a short time.
pub async fn serve_stream(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "the stream ended early");
    }
}
