//! The task that feeds a process's standard input, and delivers the signals that come between.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use devbox_types::process::ProcessInput;
use futures_util::stream::{Stream, StreamExt as _};
use tokio::net::unix::pipe;

use crate::engine::Process;

/// How many bytes of input may wait for the process to read them, so that a signal behind them still gets through. What
/// is beyond stays with the sender.
const MAX_WAITING_BYTES: usize = 256 * 1024;

/// Input shorter than this is copied to what waits already, because a chunk keeps the buffer alive that it was received
/// in: a program that does not read its key strokes would cost thousands of times their size.
const SHORT: usize = 16 * 1024;

/// Carries `input` to the process until either ends. `first` is written before it.
pub(crate) async fn feed<I>(process: Arc<Process>, stdin: Option<pipe::Sender>, first: Bytes, input: I)
where
    I: Stream<Item = ProcessInput<Bytes>> + Send,
{
    let mut input = std::pin::pin!(input.fuse());
    let mut feeder = Feeder::new(stdin);
    feeder.push(first);
    loop {
        feeder.close_when_done();
        tokio::select! {
            biased;
            item = input.next(), if feeder.takes_more() => match item {
                Some(ProcessInput::Stdin(bytes)) => feeder.push(bytes),
                Some(ProcessInput::EndOfStdin) => feeder.ended = true,
                Some(ProcessInput::Signal(signal)) => {
                    if let Err(error) = process.signal_group(signal) {
                        tracing::debug!(%error, "a signal was not delivered");
                    }
                }
                None => {
                    feeder.ended = true;
                    feeder.finish().await;
                    return;
                }
            },
            () = feeder.write_some(), if feeder.has_work() => (),
        }
    }
}

/// Standard input, and what waits to be written to it.
struct Feeder {
    stdin: Option<pipe::Sender>,
    waiting: VecDeque<Bytes>,
    /// What waits behind that, copied together.
    short: BytesMut,
    /// How many bytes wait in all.
    bytes: usize,
    ended: bool,
}

impl Feeder {
    fn new(stdin: Option<pipe::Sender>) -> Self {
        Self { stdin, waiting: VecDeque::new(), short: BytesMut::new(), bytes: 0, ended: false }
    }

    /// Bytes after the end, or for a process that no longer reads, go nowhere.
    fn push(&mut self, bytes: Bytes) {
        if self.stdin.is_some() && !self.ended && !bytes.is_empty() {
            self.bytes += bytes.len();
            if bytes.len() < SHORT {
                self.short.extend_from_slice(&bytes);
            } else {
                self.seal();
                self.waiting.push_back(bytes);
            }
        }
    }

    fn seal(&mut self) {
        if !self.short.is_empty() {
            self.waiting.push_back(self.short.split().freeze());
        }
    }

    fn takes_more(&self) -> bool {
        self.bytes < MAX_WAITING_BYTES
    }

    fn has_work(&self) -> bool {
        self.stdin.is_some() && self.bytes > 0
    }

    fn close_when_done(&mut self) {
        if self.ended && self.bytes == 0 {
            self.stdin = None;
        }
    }

    async fn finish(&mut self) {
        while self.has_work() {
            self.write_some().await;
        }
        self.stdin = None;
    }

    /// Waits until the pipe takes something, and writes what it takes. Cancel-safe: nothing is awaited after a write.
    async fn write_some(&mut self) {
        if self.waiting.is_empty() {
            self.seal();
        }
        let (Some(stdin), Some(bytes)) = (&self.stdin, self.waiting.front_mut()) else { return };
        let written = match stdin.writable().await {
            Ok(()) => stdin.try_write(bytes),
            Err(error) => Err(error),
        };
        match written {
            Ok(length) => {
                bytes.advance(length);
                self.bytes -= length;
                if bytes.is_empty() {
                    self.waiting.pop_front();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
            // The process has closed its standard input, or ended: what it did not want is dropped.
            Err(_) => {
                self.stdin = None;
                self.waiting.clear();
                self.short.clear();
                self.bytes = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn key_strokes_that_nobody_reads_are_copied_together_and_stay_in_order() {
        let (stdin, mut program) = pipe::pipe().expect("a pipe");
        let mut feeder = Feeder::new(Some(stdin));
        let typed: Vec<u8> = (0..=255).cycle().take(MAX_WAITING_BYTES).collect();
        let long = 50_000..50_000 + SHORT;
        typed[..long.start].iter().for_each(|byte| feeder.push(Bytes::copy_from_slice(&[*byte])));
        feeder.push(Bytes::copy_from_slice(&typed[long.clone()]));
        typed[long.end..].iter().for_each(|byte| feeder.push(Bytes::copy_from_slice(&[*byte])));
        assert!(feeder.waiting.len() == 2 && feeder.bytes == typed.len() && !feeder.takes_more());
        let mut read = Vec::new();
        let (read_all, ()) = tokio::join!(program.read_to_end(&mut read), feeder.finish());
        read_all.expect("the end");
        assert!(read == typed);
    }
}
