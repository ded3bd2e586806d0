//! An agent that can be made to stop as SIGSTOP does it: it neither ends nor answers, and its socket takes what fits.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use axum::Router;
use devbox_backend::memory::MemoryGuest;
use devbox_guest::{Connection, Guest, GuestClient, Protocol, Transport};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Whether the agent is stopped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ice(Arc<AtomicBool>);

impl Ice {
    pub(crate) fn freeze(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_frozen(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The client of such an agent, as a server has it.
pub(crate) fn agent(ice: &Ice) -> Arc<dyn Guest> {
    let router = devbox_router::agent_router(Arc::new(MemoryGuest::default()));
    Arc::new(GuestClient::to_agent(Arc::new(Freezing { router, ice: ice.clone() })))
}

struct Freezing {
    router: Router,
    ice: Ice,
}

#[async_trait]
impl Transport for Freezing {
    async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let far = TokioIo::new(Socket { stream: far, ice: self.ice.clone() });
        let service = TowerToHyperService::new(self.router.clone());
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(far, service));
        Ok(Box::new(near))
    }

    fn protocol(&self) -> Protocol {
        Protocol::Http1Pool
    }
}

/// The agent's end of a connection.
struct Socket {
    stream: DuplexStream,
    ice: Ice,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ice.is_frozen() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ice.is_frozen() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
