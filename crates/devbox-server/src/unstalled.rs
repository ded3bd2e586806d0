//! Connections whose peer has to read what is written to it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::patience::Patience;

/// A byte stream that fails once its peer has not taken what is written for too long. hyper then drops the answer, and with
/// it all that it holds.
///
/// Reading is not its business: a peer that owes a request has a deadline of its own, and one that waits for an answer owes
/// nothing.
#[derive(Debug)]
pub(crate) struct Unstalled<S> {
    stream: S,
    patience: Patience,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Unstalled<S> {
    pub(crate) fn new(stream: S, pause: Duration) -> Self {
        Self { stream, patience: Patience::new(pause), timer: None }
    }

    /// Passes on how a write went, unless the peer's time is up.
    fn bound<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(outcome) = written {
            self.patience.moved(outcome.as_ref().map_or(0, bytes));
            return Poll::Ready(outcome);
        }
        let until = self.patience.wait(Instant::now());
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        // It is set anew only when it fires, or would fire too late.
        if timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        while timer.as_mut().poll(context).is_ready() {
            if timer.deadline() >= until {
                let late = "the client did not read its answer for too long";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, late)));
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unstalled<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unstalled<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bound(written, |written| *written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.bound(written, |written| *written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS keeps what the socket does not take, and hands it on here.
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.patience.rest();
            return flushed;
        }
        self.bound(flushed, |()| 0, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bound(shut, |()| 0, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const PAUSE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (near, _far) = duplex(1_000);
        let mut stream = Unstalled::new(near, PAUSE);
        let began = Instant::now();
        let error = stream.write_all(&[0; 2_000]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), PAUSE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_slowly_but_enough_is_served_to_the_end() {
        const LENGTH: usize = 100 << 10;
        let (near, mut far) = duplex(2 << 10);
        let mut stream = Unstalled::new(near, PAUSE);
        let reading = tokio::spawn(async move {
            let (mut buffer, mut whole) = (vec![0; 2 << 10], 0);
            while whole < LENGTH {
                tokio::time::sleep(PAUSE / 2).await;
                whole += far.read(&mut buffer).await.expect("bytes");
            }
            whole
        });
        stream.write_all(&[0; LENGTH]).await.expect("it is read");
        assert_eq!(reading.await.expect("no panic"), LENGTH);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_byte_by_byte_is_given_up() {
        let (near, mut far) = duplex(16);
        let mut stream = Unstalled::new(near, PAUSE);
        let reading = tokio::spawn(async move {
            let mut bytes = 0;
            while far.read(&mut [0; 1]).await.is_ok_and(|read| read > 0) {
                bytes += 1;
                tokio::time::sleep(PAUSE / 10).await;
            }
            bytes
        });
        assert!(stream.write_all(&[0; 10_000]).await.is_err());
        drop(stream);
        assert!(reading.await.expect("no panic") < 100);
    }

    /// Between two answers the connection is idle, and that is no stall.
    #[tokio::test(start_paused = true)]
    async fn time_between_answers_does_not_count() {
        let (near, mut far) = duplex(1_000);
        let mut stream = Unstalled::new(near, PAUSE);
        for _ in 0..5 {
            stream.write_all(&[0; 1_000]).await.expect("room");
            far.read_exact(&mut [0; 1_000]).await.expect("bytes");
            tokio::time::sleep(PAUSE * 3).await;
        }
    }
}
