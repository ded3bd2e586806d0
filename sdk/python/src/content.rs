//! Contents on their way into a box: from Python objects and from local files.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use devbox_guest::{Body, BodyError};
use devbox_types::{Algorithms, DigestHasher, Digests};
use futures_util::Stream;
use futures_util::stream;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use crate::failure::Failure;

/// How much of a local file is read at a time.
const CHUNK_SIZE: usize = 256 << 10;

/// How many chunks of an iterator may wait to be sent: one on its way, one ready.
const CHUNKS_AHEAD: usize = 2;

/// Where content comes from.
#[derive(FromPyObject)]
pub(crate) enum Source {
    /// `bytes`, which are sent from where they are.
    Bytes(PyBackedBytes),
    /// The path of a local file.
    Local(PathBuf),
    /// An iterator over `bytes`.
    Chunks(Py<PyAny>),
}

/// Content that is ready to be sent.
pub(crate) struct Content {
    pub(crate) body: Body,
    pub(crate) digests: Digests,
    /// What the caller's thread has to supply meanwhile.
    pub(crate) feeder: Option<Feeder>,
}

impl Source {
    /// Opens it. With `verify` its digest is computed first, where it can be known before it is sent: a local file is
    /// read twice.
    pub(crate) fn open(self, verify: bool) -> Result<Content, Failure> {
        match self {
            Self::Bytes(bytes) => Ok(in_memory(Bytes::from_owner(bytes), verify)),
            Self::Local(path) => open_local(&path, verify),
            Self::Chunks(iterator) => Ok(iterated(iterator)),
        }
    }
}

/// Hands chunks of a Python iterator to a request body, one whenever there is room.
pub(crate) struct Feeder {
    iterator: Py<PyAny>,
    sender: mpsc::Sender<Result<Bytes, BodyError>>,
}

impl Feeder {
    /// Waits until there is room for a chunk, or until nobody wants any more.
    pub(crate) async fn hungry(&self) {
        // The permit is given back at once: nobody else sends, so the room stays.
        drop(self.sender.reserve().await);
    }

    /// Takes the next chunk from the iterator. `None`: there is none, or nobody wants it, and the body has ended.
    pub(crate) fn feed(self, py: Python<'_>) -> PyResult<Option<Self>> {
        if self.sender.is_closed() {
            return Ok(None);
        }
        let Some(chunk) = self.iterator.bind(py).try_iter()?.next() else { return Ok(None) };
        let bytes = Bytes::from_owner(chunk?.extract::<PyBackedBytes>()?);
        let taken = self.sender.try_send(Ok(bytes)).is_ok();
        Ok(taken.then_some(self))
    }
}

/// Content that is in memory.
pub(crate) fn in_memory(bytes: Bytes, verify: bool) -> Content {
    let wanted = if verify { Algorithms::SHA_256 } else { Algorithms::default() };
    let digests = DigestHasher::digest(wanted, &bytes);
    Content { body: Body::from_bytes(bytes), digests, feeder: None }
}

fn iterated(iterator: Py<PyAny>) -> Content {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let chunks = stream::unfold(receiver, |mut receiver| async move {
        let chunk = receiver.recv().await?;
        Some((chunk, receiver))
    });
    let feeder = Some(Feeder { iterator, sender });
    Content { body: Body::from_stream(chunks, None), digests: Digests::default(), feeder }
}

/// Opens a regular file. What else there is (a directory, a FIFO that nobody writes to) is refused before it is opened.
fn open_local(path: &Path, verify: bool) -> Result<Content, Failure> {
    let look = || -> io::Result<(fs::File, u64)> {
        match fs::metadata(path)? {
            metadata if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            metadata if !metadata.is_file() => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
            }
            _ => {}
        }
        let file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    let (file, length) = look().map_err(Failure::local(path))?;
    let digests = if verify { digest_of(path).map_err(Failure::local(path))? } else { Digests::default() };
    let body = Body::from_stream(file_chunks(tokio::fs::File::from_std(file), length), Some(length));
    Ok(Content { body, digests, feeder: None })
}

fn digest_of(path: &Path) -> io::Result<Digests> {
    let mut file = fs::File::open(path)?;
    let mut hasher = DigestHasher::new(Algorithms::SHA_256);
    let mut chunk = vec![0; CHUNK_SIZE];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&chunk[..read]),
        }
    }
}

/// Exactly `length` bytes of a file; one that has become shorter ends the stream with an error.
fn file_chunks(file: tokio::fs::File, length: u64) -> impl Stream<Item = Result<Bytes, BodyError>> {
    stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let size = usize::try_from(left).unwrap_or(CHUNK_SIZE).min(CHUNK_SIZE);
        let mut chunk = BytesMut::with_capacity(size);
        let interrupted = |source| BodyError::Interrupted { source };
        let read =
            (&mut file).take(left).read_buf(&mut chunk).await.map_err(|error| interrupted(Some(error)))?;
        if read == 0 {
            return Err(interrupted(None));
        }
        let left = left.saturating_sub(u64::try_from(read).unwrap_or(left));
        Ok(Some((chunk.freeze(), (file, left))))
    })
}
