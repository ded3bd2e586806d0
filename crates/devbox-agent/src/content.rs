//! The bytes of a file on their way out.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use devbox_fs::{FsError, Hashed, Reader};
use devbox_guest::{Body, BodyError};
use devbox_types::{Digests, Problem};
use futures_util::stream::{self, Stream};
use tokio::task::JoinHandle;

use crate::deadline::Deadline;
use crate::work::{CHUNK, SMALL, begin_elsewhere, elsewhere, finished};

/// How many chunks that were sent are remembered, so that their memory is used again once the peer has them.
const REMEMBERED: usize = 4;

/// How much is read for a digest between two looks at whether anybody still waits for it: some ten milliseconds of work.
const HASHED_AT_ONCE: u64 = 16 << 20;

/// The digest of the whole file that the reader was asked for, if it was: of a small file it is made here and now.
pub(crate) async fn digests_of(mut reader: Reader, deadline: Deadline) -> Result<(Digests, Reader), Problem> {
    let mut hashed = reader.hash(SMALL)?;
    loop {
        if let Hashed::Done(digests) = hashed {
            return Ok((digests, reader));
        }
        deadline.check()?;
        let step = elsewhere(move || {
            let hashed = reader.hash(HASHED_AT_ONCE)?;
            Ok((hashed, reader))
        });
        (hashed, reader) = step.await?;
    }
}

/// What a reader is about to give: small content is read here and now, large content chunk by chunk as it is taken.
pub(crate) fn body_of(mut reader: Reader, deadline: Deadline) -> Result<Body, FsError> {
    let length = reader.left();
    if length > SMALL {
        return Ok(Body::from_stream(chunks(reader, deadline), Some(length)));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    fill(&mut reader, &mut bytes)?;
    Ok(Body::from_bytes(bytes))
}

/// Reads until the buffer is full.
fn fill(reader: &mut Reader, buffer: &mut [u8]) -> Result<(), FsError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(())
}

type Reading = JoinHandle<Result<(Reader, BytesMut), FsError>>;

/// Chunks of a file, of which one is read ahead.
fn chunks(reader: Reader, deadline: Deadline) -> impl Stream<Item = Result<Bytes, BodyError>> {
    let first = read_chunk(reader, BytesMut::new());
    stream::unfold(Some((first, VecDeque::new())), move |state| async move {
        let (reading, sent) = state?;
        match next_chunk(reading, sent, deadline).await {
            Ok((bytes, next)) => Some((Ok(bytes), next)),
            Err(problem) => Some((Err(BodyError::Problem(problem)), None)),
        }
    })
}

type Next = Option<(Reading, VecDeque<Bytes>)>;

async fn next_chunk(
    reading: Reading,
    mut sent: VecDeque<Bytes>,
    deadline: Deadline,
) -> Result<(Bytes, Next), Problem> {
    let (reader, bytes) = finished(reading).await?;
    deadline.check()?;
    let bytes = bytes.freeze();
    if reader.left() == 0 {
        return Ok((bytes, None));
    }
    let reading = read_chunk(reader, unused(&mut sent));
    sent.push_back(bytes.clone());
    Ok((bytes, Some((reading, sent))))
}

/// The memory of a chunk that its peer has taken, or new memory.
fn unused(sent: &mut VecDeque<Bytes>) -> BytesMut {
    if let Some(oldest) = sent.pop_front() {
        match oldest.try_into_mut() {
            Ok(memory) => return memory,
            Err(still_in_use) if sent.len() < REMEMBERED => sent.push_back(still_in_use),
            Err(_) => (),
        }
    }
    BytesMut::new()
}

fn read_chunk(mut reader: Reader, mut memory: BytesMut) -> Reading {
    begin_elsewhere(move || {
        let length = usize::try_from(reader.left()).unwrap_or(CHUNK).min(CHUNK);
        memory.resize(length, 0);
        fill(&mut reader, &mut memory)?;
        Ok((reader, memory))
    })
}
