//! Standard input as a stream.

use std::io::{self, Read as _};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use tokio::sync::mpsc;

/// What is read at once; a pipe holds as much.
const CHUNK: usize = 64 << 10;

/// How many chunks are read ahead of whoever takes them.
const AHEAD: usize = 4;

/// Reads standard input to its end.
///
/// A thread of its own reads, because a read from a terminal or a pipe can be neither awaited nor ended: the thread is
/// left behind when the program ends.
pub(crate) fn chunks() -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static {
    let (sender, receiver) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        loop {
            let mut chunk = vec![0; CHUNK];
            let read = match io::stdin().lock().read(&mut chunk) {
                Ok(0) => return,
                Ok(length) => {
                    chunk.truncate(length);
                    Ok(Bytes::from(chunk))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    Box::pin(stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }))
}
