//! Byte streams that fail on cue.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that passes so many bytes in each direction and then fails as a connection does that was reset.
///
/// The byte at which it fails is exact: a read or write that would pass it is cut short first.
#[derive(Debug)]
pub struct FailAfter<S> {
    inner: S,
    readable: u64,
    writable: u64,
}

impl<S> FailAfter<S> {
    /// Lets `readable` bytes be read and `writable` be written.
    #[must_use]
    pub fn new(inner: S, readable: u64, writable: u64) -> Self {
        Self { inner, readable, writable }
    }

    /// Fails reads after `bytes`, writes never.
    #[must_use]
    pub fn reads(inner: S, bytes: u64) -> Self {
        Self::new(inner, bytes, u64::MAX)
    }

    /// Fails writes after `bytes`, reads never.
    #[must_use]
    pub fn writes(inner: S, bytes: u64) -> Self {
        Self::new(inner, u64::MAX, bytes)
    }
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the stream failed on cue")
}

/// As much of `left` as memory can hold.
fn room(left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX)
}

impl<S: AsyncRead + Unpin> AsyncRead for FailAfter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.readable == 0 {
            return Poll::Ready(Err(reset()));
        }
        // Through a bounded buffer of its own: slower than reading in place, and no unsafe code in a test's fixture.
        let mut part = [0; 16 * 1024];
        let size = part.len().min(buffer.remaining()).min(room(self.readable));
        let mut part = ReadBuf::new(&mut part[..size]);
        let polled = Pin::new(&mut self.inner).poll_read(context, &mut part);
        buffer.put_slice(part.filled());
        self.readable -= part.filled().len() as u64;
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FailAfter<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.writable == 0 && !bytes.is_empty() {
            return Poll::Ready(Err(reset()));
        }
        let part = &bytes[..bytes.len().min(room(self.writable))];
        let polled = Pin::new(&mut self.inner).poll_write(context, part);
        if let Poll::Ready(Ok(written)) = &polled {
            self.writable -= *written as u64;
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_read_fails_after_exactly_so_many_bytes() {
        let mut stream = FailAfter::reads(io::Cursor::new(vec![7; 100]), 42);
        let mut read = Vec::new();
        let error = stream.read_to_end(&mut read).await.expect_err("it fails");
        assert_eq!((read.len(), error.kind()), (42, io::ErrorKind::ConnectionReset));
    }

    #[tokio::test]
    async fn a_write_fails_after_exactly_so_many_bytes() {
        let mut stream = FailAfter::writes(io::Cursor::new(Vec::new()), 42);
        let error = stream.write_all(&[7; 100]).await.expect_err("it fails");
        assert_eq!((stream.inner.get_ref().len(), error.kind()), (42, io::ErrorKind::ConnectionReset));
    }

    #[tokio::test]
    async fn what_fits_passes() {
        let mut stream = FailAfter::new(io::Cursor::new(vec![7; 100]), u64::MAX, 0);
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.expect("all of it");
        assert_eq!(read, [7; 100]);
    }
}
