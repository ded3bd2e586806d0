//! Idle connections, and how new ones are made.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::http2;
use tokio::time::timeout;

use super::connection::{Http1, http2_handshake};
use super::error::SendError;
use crate::body::Body;
use crate::transport::Transport;

/// How many idle connections are kept; more are closed when their call ends.
const MAX_IDLE: usize = 64;
/// How long one is kept: less than the time after which middleboxes commonly forget a quiet TCP connection.
const LONGEST_IDLE: Duration = Duration::from_secs(50);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The connections to one peer.
pub(super) struct Pool {
    pub(super) transport: Arc<dyn Transport>,
    #[expect(
        clippy::vec_box,
        reason = "a connection is some kilobytes, and goes from owner to owner with each call"
    )]
    idle: Mutex<Vec<Box<Http1>>>,
    http2: tokio::sync::Mutex<Option<http2::SendRequest<Body>>>,
}

impl Pool {
    pub(super) fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport, idle: Mutex::new(Vec::new()), http2: tokio::sync::Mutex::new(None) }
    }

    /// The connection that was put back last: its buffers are warm, and the others age until they are dropped.
    pub(super) fn take_idle(&self) -> Option<Box<Http1>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = idle.pop()?;
        if newest.is_fresh(LONGEST_IDLE) {
            return Some(newest);
        }
        // Those below are older still.
        idle.clear();
        None
    }

    pub(super) fn put_back(&self, connection: Box<Http1>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    pub(super) async fn open(&self) -> Result<Box<Http1>, SendError> {
        in_time(async { Http1::handshake(self.transport.connect().await?).await.map_err(io::Error::other) })
            .await
    }

    /// The one HTTP/2 connection, made anew if it has ended.
    pub(super) async fn http2(&self) -> Result<http2::SendRequest<Body>, SendError> {
        let mut current = self.http2.lock().await;
        if let Some(sender) = current.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let connect =
            async { http2_handshake(self.transport.connect().await?).await.map_err(io::Error::other) };
        let sender = in_time(connect).await?;
        *current = Some(sender.clone());
        Ok(sender)
    }
}

async fn in_time<T>(connect: impl Future<Output = io::Result<T>>) -> Result<T, SendError> {
    let connected = timeout(CONNECT_TIMEOUT, connect).await;
    let result = connected.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)));
    result.map_err(|source| SendError::Connect { source })
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pool").finish_non_exhaustive()
    }
}
