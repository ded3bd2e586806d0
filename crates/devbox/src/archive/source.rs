//! Where an archive to unpack comes from.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use devbox_guest::BodyError;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::ArchiveCommandError;
use super::format::TELLING;
use crate::commands::stdin;

/// How much of a file is read at once.
const CHUNK: usize = 256 << 10;

/// Bytes on their way.
pub(super) type Chunks = BoxStream<'static, Result<Bytes, BodyError>>;

/// An archive, of which the first bytes are known.
pub(super) enum Source {
    /// Standard input, or what else can be read only once.
    Input(Input),
    /// A regular file.
    File(LocalFile),
}

/// What can be read once.
pub(super) struct Input {
    beginning: Bytes,
    rest: Chunks,
}

/// A file that can be read as often as needed, from its beginning.
#[derive(Clone)]
pub(super) struct LocalFile {
    file: Arc<File>,
    beginning: Bytes,
    length: u64,
}

impl Source {
    pub(super) async fn open(path: &Path) -> Result<Self, ArchiveCommandError> {
        if path == Path::new("-") {
            let rest = stdin::chunks().map(|chunk| chunk.map_err(interrupted));
            let unreadable = |source| ArchiveCommandError::Unreadable { path: PathBuf::from("-"), source };
            return Ok(Self::Input(Input::begin(rest.boxed()).await.map_err(unreadable)?));
        }
        let unreadable = |source| ArchiveCommandError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(ArchiveCommandError::Directory { path: path.to_owned() });
        }
        if metadata.is_file() {
            return LocalFile::new(file).map(Self::File).map_err(unreadable);
        }
        Input::begin(once(file)).await.map(Self::Input).map_err(unreadable)
    }

    /// The first bytes; fewer than [`TELLING`] only if there are no more.
    pub(super) fn beginning(&self) -> &[u8] {
        match self {
            Self::Input(input) => &input.beginning,
            Self::File(file) => &file.beginning,
        }
    }
}

impl Input {
    async fn begin(mut rest: Chunks) -> io::Result<Self> {
        let mut beginning = Vec::new();
        while beginning.len() < TELLING
            && let Some(chunk) = rest.next().await
        {
            beginning.extend_from_slice(&chunk.map_err(io::Error::other)?);
        }
        Ok(Self { beginning: beginning.into(), rest })
    }

    pub(super) fn chunks(self) -> Chunks {
        stream::iter([Ok(self.beginning)]).chain(self.rest).boxed()
    }
}

impl LocalFile {
    fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut beginning = [0; TELLING];
        let known = file.read_at(&mut beginning, 0)?;
        let beginning = Bytes::copy_from_slice(&beginning[..known]);
        Ok(Self { file: Arc::new(file), beginning, length })
    }

    /// Its bytes from the beginning on, and how many there are.
    pub(super) fn chunks(&self) -> (Chunks, Option<u64>) {
        let (file, length) = (Arc::clone(&self.file), self.length);
        let chunks = stream::try_unfold(0, move |offset| {
            let file = Arc::clone(&file);
            async move {
                if offset >= length {
                    return Ok(None);
                }
                let read = tokio::task::spawn_blocking(move || read_chunk(&file, offset, length)).await;
                let chunk =
                    read.map_err(|_| BodyError::Interrupted { source: None })?.map_err(interrupted)?;
                let next = offset + u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                Ok(Some((chunk, next)))
            }
        });
        (chunks.boxed(), Some(length))
    }
}

/// The bytes of a pipe or device.
fn once(file: File) -> Chunks {
    let file = Arc::new(file);
    let chunks = stream::try_unfold(file, |file| async move {
        let reading = Arc::clone(&file);
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; CHUNK];
            let read = (&*reading).read(&mut chunk)?;
            chunk.truncate(read);
            Ok(Bytes::from(chunk))
        });
        let chunk = read.await.map_err(|_| BodyError::Interrupted { source: None })?.map_err(interrupted)?;
        Ok((!chunk.is_empty()).then_some((chunk, file)))
    });
    chunks.boxed()
}

fn read_chunk(file: &File, offset: u64, length: u64) -> io::Result<Bytes> {
    let wanted = usize::try_from(length - offset).unwrap_or(CHUNK).min(CHUNK);
    let mut chunk = vec![0; wanted];
    match file.read_at(&mut chunk, offset)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => {
            chunk.truncate(read);
            Ok(chunk.into())
        }
    }
}

fn interrupted(source: io::Error) -> BodyError {
    BodyError::Interrupted { source: Some(source) }
}
