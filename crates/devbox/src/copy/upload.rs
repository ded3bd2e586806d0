//! From here into a box: the steps of a tree as few requests.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use devbox_client::{ClientError, Sandbox};
use devbox_guest::{Body, BodyError, UploadPart};
use devbox_types::entry::StatRequest;
use devbox_types::file::WriteRequest;
use devbox_types::operation::Operation;
use devbox_types::{BoxPath, Coded as _, EntryKind, ErrorCode, Problem};
use futures_util::stream::{self, StreamExt as _};

use super::CopyError;
use super::large::Large;
use super::local_source::{LocalFile, LocalTree, OpenFile, Step, child};
use super::plan::{Share, share};
use super::progress::Progress;

/// A larger file is a request of its own: nothing is gained by company, and a failure costs less.
const ALONE_BYTES: u64 = 64 << 20;

/// The most files in one request: the API takes no more.
const BATCH_FILES: usize = 10_000;

/// The most bytes in one request of many files, which the box has to stage before it publishes any of them.
const BATCH_BYTES: u64 = 1 << 30;

/// The most directories, links and so on in one batch; a link takes three operations, and the API takes 10,000.
const BATCH_CHANGES: usize = 3_000;

/// What is read from a file at once.
const CHUNK: usize = 256 << 10;

/// Copies files and directories into a box.
pub(super) async fn upload(
    sandbox: &Sandbox,
    sources: &[PathBuf],
    to: &[u8],
    progress: &Progress,
    large: &Large,
) -> Result<(), CopyError> {
    let destination = sandbox.resolve(to)?;
    let exists = is_directory(sandbox, &destination).await?;
    let into = exists || sources.len() > 1 || destination.wants_directory();
    if progress.is_shown() {
        progress.measure(sources.iter().map(|source| size_of(source)).sum());
    }
    let mut batch = Batch::new(sandbox, progress, large, exists.then(|| destination.clone()));
    for source in sources {
        let target = match share(source) {
            Share::Itself(name) if into => child(&destination, name, source)?,
            Share::Itself(_) | Share::Contents => destination.clone(),
        };
        for step in LocalTree::new(source.clone(), target) {
            batch.add(step?).await?;
        }
    }
    batch.send().await
}

/// How many bytes the files of a source have: looked at beforehand for whoever watches, so what cannot be read is no error yet.
fn size_of(source: &Path) -> u64 {
    let steps = LocalTree::new(source.to_owned(), BoxPath::root());
    let sizes = steps.map_while(Result::ok).map(|step| match step {
        Step::File(_, size) => size,
        Step::Enter(_) | Step::Link { .. } | Step::Leave { .. } | Step::LeaveOut { .. } => 0,
    });
    sizes.sum()
}

async fn is_directory(sandbox: &Sandbox, path: &BoxPath) -> Result<bool, CopyError> {
    match sandbox.guest().stat(sandbox.grant(), StatRequest::target_of(path.clone())).await {
        Ok(entry) => Ok(entry.kind == EntryKind::Directory),
        Err(problem) if problem.code() == ErrorCode::NotFound => Ok(false),
        Err(problem) => Err(problem.into()),
    }
}

/// Steps that wait to be sent together. They are sent in an order that always works: directories, files, links, and last
/// the modes and times of directories whose content is complete.
struct Batch<'c> {
    sandbox: &'c Sandbox,
    progress: &'c Progress,
    large: &'c Large,
    /// The directory that was there before, which keeps its own mode and time.
    kept: Option<BoxPath>,
    directories: Vec<Operation>,
    files: Vec<LocalFile>,
    bytes: u64,
    links: Vec<Operation>,
    finishes: Vec<Operation>,
}

impl<'c> Batch<'c> {
    fn new(sandbox: &'c Sandbox, progress: &'c Progress, large: &'c Large, kept: Option<BoxPath>) -> Self {
        Self {
            sandbox,
            progress,
            large,
            kept,
            directories: Vec::new(),
            files: Vec::new(),
            bytes: 0,
            links: Vec::new(),
            finishes: Vec::new(),
        }
    }

    async fn add(&mut self, step: Step) -> Result<(), CopyError> {
        match step {
            Step::Enter(path) if self.kept.as_ref().is_some_and(|kept| same(kept, &path)) => {}
            Step::Enter(path) => {
                self.directories.push(Operation::Mkdir { path, mode: None, parents: true });
            }
            Step::File(file, size) if size > ALONE_BYTES || self.large.is(size) => {
                self.send_alone(&file).await?
            }
            Step::File(file, size) => {
                self.bytes += size;
                self.files.push(file);
            }
            Step::Link { target, says, modified } => self.links.extend([
                Operation::Delete { path: target.clone(), recursive: false, missing_ok: true },
                Operation::Symlink { path: target.clone(), target: says },
                Operation::Utime { path: target, modified: Some(modified), nofollow: true },
            ]),
            Step::Leave { target, .. } if self.kept.as_ref().is_some_and(|kept| same(kept, &target)) => {}
            Step::Leave { target, mode, modified } => self.finishes.extend([
                Operation::Chmod { path: target.clone(), mode },
                Operation::Utime { path: target, modified: Some(modified), nofollow: true },
            ]),
            Step::LeaveOut { source, reason } => self.progress.leave_out(&source, reason),
        }
        if self.is_full() { self.send().await } else { Ok(()) }
    }

    fn is_full(&self) -> bool {
        self.files.len() >= BATCH_FILES
            || self.bytes >= BATCH_BYTES
            || self.directories.len() >= BATCH_CHANGES
            || self.links.len() >= 3 * BATCH_CHANGES
            || self.finishes.len() >= 2 * BATCH_CHANGES
    }

    async fn send(&mut self) -> Result<(), CopyError> {
        apply(self.sandbox, std::mem::take(&mut self.directories)).await?;
        self.bytes = 0;
        let files = std::mem::take(&mut self.files);
        match &files[..] {
            [] => {}
            [file] => self.send_alone(file).await?,
            _ => self.send_many(files).await?,
        }
        apply(self.sandbox, std::mem::take(&mut self.links)).await?;
        apply(self.sandbox, std::mem::take(&mut self.finishes)).await
    }
}

impl Batch<'_> {
    async fn send_alone(&self, file: &LocalFile) -> Result<(), CopyError> {
        let trouble = Trouble::default();
        let opened = file.open()?;
        if self.large.is(opened.size) {
            return self.large.upload(self.sandbox, file, opened, self.progress).await;
        }
        let (request, body) = part(file, opened, self.progress, &trouble);
        trouble.explain(self.sandbox.write_with(request, body).await)?;
        self.progress.file_done();
        Ok(())
    }

    async fn send_many(&self, files: Vec<LocalFile>) -> Result<(), CopyError> {
        let (trouble, progress) = (Trouble::default(), self.progress.clone());
        let kept = trouble.clone();
        // Each file is opened when its turn comes, so that no more than one is open at a time.
        let parts = stream::iter(files).map(move |file| {
            let opened = file.open().map_err(|error| kept.keep(error))?;
            let (request, body) = part(&file, opened, &progress, &kept);
            progress.file_done();
            Ok(UploadPart { request, body })
        });
        trouble.explain(self.sandbox.upload_parts(parts.boxed()).await)?;
        Ok(())
    }
}

async fn apply(sandbox: &Sandbox, operations: Vec<Operation>) -> Result<(), CopyError> {
    if !operations.is_empty() {
        sandbox.apply(operations).await?;
    }
    Ok(())
}

fn same(one: &BoxPath, other: &BoxPath) -> bool {
    one.as_bytes() == other.as_bytes()
}

fn part(file: &LocalFile, opened: OpenFile, progress: &Progress, trouble: &Trouble) -> (WriteRequest, Body) {
    let size = opened.size;
    let request = WriteRequest {
        mode: Some(opened.mode),
        modified: Some(opened.modified),
        make_parents: true,
        nofollow: file.in_tree,
        length: Some(size),
        ..WriteRequest::to(file.target.clone())
    };
    (request, content(file.source.clone(), opened, progress.clone(), trouble.clone()))
}

/// The bytes of a file: as many as it had when it was opened. Fewer are an error, more are left out.
fn content(source: PathBuf, opened: OpenFile, progress: Progress, trouble: Trouble) -> Body {
    let size = opened.size;
    let chunks = stream::try_unfold((opened.file, size), move |(mut file, left)| {
        let outcome = read_chunk(&mut file, left).map_err(|error| {
            trouble.keep(CopyError::Unreadable { path: source.clone(), source: error });
            BodyError::Interrupted { source: None }
        });
        let next = outcome.map(|chunk| {
            progress.advance(chunk.len());
            let left = left - u64::try_from(chunk.len()).unwrap_or(left);
            (!chunk.is_empty()).then_some((chunk, (file, left)))
        });
        std::future::ready(next)
    });
    Body::from_stream(chunks, Some(size))
}

/// Reads inline: the page cache answers in less time than a hop to another thread takes.
fn read_chunk(file: &mut std::fs::File, left: u64) -> std::io::Result<Bytes> {
    let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
    let mut chunk = vec![0; wanted];
    let mut filled = 0;
    while filled < wanted {
        match file.read(&mut chunk[filled..]) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => filled += length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(chunk.into())
}

/// What went wrong here while a request was being sent: it explains the failure better than the far side's account.
#[derive(Debug, Clone, Default)]
struct Trouble {
    first: Arc<Mutex<Option<CopyError>>>,
}

impl Trouble {
    /// Remembers the error and gives what the request is ended with.
    fn keep(&self, error: CopyError) -> Problem {
        let problem = Problem::of(&error);
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        problem
    }

    fn explain<T>(&self, outcome: Result<T, ClientError>) -> Result<T, CopyError> {
        let kept = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        outcome.map_err(|error| kept.unwrap_or(CopyError::Client(error)))
    }
}
