//! Where blocking work runs.
//!
//! Small work on files runs on the thread of the connection that asked for it: a hop to another thread and back costs more
//! than a 4 KiB write. Small is what touches a bounded number of names and at most [`SMALL`] bytes, all in memory, and asks
//! for no safety against power loss, which waits for a disk. Nor may it wait for large work: while a batch is published,
//! which holds the locks of its names ([`Publishing`]), small writes go elsewhere too. All else goes to the runtime's blocking threads, in pieces:
//! between two pieces no thread is held, so a slow peer holds none. Only an archive, whose writer or reader cannot pause,
//! holds one to its end, and those are counted ([`MAX_PACKING`], `MAX_UNPACKING`).

use std::sync::{Arc, Weak};

use devbox_fs::FsError;
use devbox_types::file::{Durability, WriteRequest};
use devbox_types::operation::Operation;
use devbox_types::{ErrorCode, Problem};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// The most bytes that are read or written on the connection's own thread.
pub(crate) const SMALL: u64 = 64 * 1024;

/// How many bytes of a large body are handled per hop: enough that the hop does not show, few enough to stay in the cache.
pub(crate) const CHUNK: usize = 512 * 1024;

/// How many steps over names, or entries of a walk, are handled per hop.
pub(crate) const STEPS: usize = 256;

/// The most archives that are packed at a time; more wait their turn.
pub(crate) const MAX_PACKING: usize = 8;

/// The most operations on names that are made on the connection's own thread.
const FEW_OPERATIONS: usize = 8;

/// Whether a file of this size is to be written here and now.
///
/// What is to be read back waits for a disk, too. Opening a file for writing in its place can make an overlay copy it first.
pub(crate) fn is_small_write(length: usize, request: &WriteRequest) -> bool {
    let waits = request.durability == Durability::Power || request.verify || request.in_place;
    u64::try_from(length).is_ok_and(|length| length <= SMALL) && !waits
}

/// Whether operations touch so few names that they are to be made here and now: none of them can turn into a copy or a
/// walk. A change of metadata can: an overlay first copies a file that came from the image, however large.
pub(crate) fn are_small(operations: &[Operation]) -> bool {
    let small = |operation: &Operation| match operation {
        Operation::Mkdir { .. } | Operation::Symlink { .. } => true,
        Operation::Delete { recursive, .. } => !recursive,
        Operation::Link { .. }
        | Operation::Write { .. }
        | Operation::SetMetadata { .. }
        | Operation::Chmod { .. }
        | Operation::Chown { .. }
        | Operation::Utime { .. }
        | Operation::Move { .. }
        | Operation::Copy { .. } => false,
    };
    operations.len() <= FEW_OPERATIONS && operations.iter().all(small)
}

/// Knows whether batches are being published. Each holds a copy of the pointer for as long as it takes.
#[derive(Debug, Default)]
pub(crate) struct Publishing(Arc<()>);

impl Publishing {
    pub(crate) fn begin(&self) -> Arc<()> {
        Arc::clone(&self.0)
    }

    /// The same for a thread that may publish later: upgraded, it is what [`Self::begin`] gives.
    pub(crate) fn later(&self) -> Weak<()> {
        Arc::downgrade(&self.0)
    }

    pub(crate) fn is_under_way(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// Runs blocking work on a thread for it, and waits. Dropping the future does not stop the work.
pub(crate) async fn elsewhere<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FsError> + Send + 'static,
) -> Result<T, Problem> {
    finished(begin_elsewhere(work)).await
}

/// The same for work that fails with a problem.
pub(crate) async fn problem_elsewhere<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Problem::new(ErrorCode::Internal, "the work was lost with its thread")),
    }
}

/// Begins blocking work on a thread for it, without waiting.
pub(crate) fn begin_elsewhere<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FsError> + Send + 'static,
) -> JoinHandle<Result<T, FsError>> {
    tokio::task::spawn_blocking(work)
}

/// Waits for what [`begin_elsewhere`] began.
pub(crate) async fn finished<T>(work: JoinHandle<Result<T, FsError>>) -> Result<T, Problem> {
    match work.await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Problem::new(ErrorCode::Internal, "the work was lost with its thread")),
    }
}

/// A value whose end is blocking work: wherever it is dropped, it ends on a thread for that.
#[derive(Debug)]
pub(crate) struct EndsElsewhere<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> EndsElsewhere<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// The value, for a thread that may block; `None` once it was taken.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.take()
    }
}

impl<T: Send + 'static> Drop for EndsElsewhere<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(move || drop(value))),
                Err(_) => drop(value),
            }
        }
    }
}
