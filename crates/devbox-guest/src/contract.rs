//! The traits of the contract.

use async_trait::async_trait;
use bytes::Bytes;
use devbox_types::agent::AgentGreeting;
use devbox_types::archive::{ArchiveRequest, UnpackRequest};
use devbox_types::entry::StatRequest;
use devbox_types::file::{FileHead, ReadRequest, WriteRequest, Written};
use devbox_types::operation::{Operation, Report};
use devbox_types::patch::PatchRequest;
use devbox_types::process::{ProcessEvent, ProcessInput, ProcessRequest, ProcessSummary, SignalRequest};
use devbox_types::upload::{ChunkRequest, UploadRequest, UploadStatus};
use devbox_types::{Entry, Grant, ListPage, ListRequest, Problem, ProcessId, UploadId};
use futures_util::stream::BoxStream;

use crate::body::Body;

/// A file's metadata and its bytes.
#[derive(Debug)]
pub struct FileContent {
    /// What was found.
    pub head: FileHead,
    /// The bytes; exactly `head.length`, or an error as the last item. Of a request for the head alone: none, and
    /// `head.length` says how many there would be.
    pub body: Body,
}

/// One file of a batch.
#[derive(Debug)]
pub struct UploadPart {
    /// Where it goes and how; `condition` is checked before anything is published.
    pub request: WriteRequest,
    /// Its bytes. Must be read to its end, or dropped, before the next part is asked for.
    pub body: Body,
}

/// The parts of a batch, in order. An error ends the batch, which then has no effect.
pub type UploadParts = BoxStream<'static, Result<UploadPart, Problem>>;

/// A stream of entries, in no particular order. An error is the last item.
pub type EntryStream = BoxStream<'static, Result<Entry, Problem>>;

/// What is sent to a process, in order. Its end is the end of standard input too.
pub type InputStream = BoxStream<'static, ProcessInput<Bytes>>;

/// What comes from a process: `Started` first, `Exited` last, or an error as the last item.
pub type EventStream = BoxStream<'static, Result<ProcessEvent<Bytes>, Problem>>;

/// The files of a box.
///
/// # Contract
/// Every call acts as `grant.user`, sees `grant.root` as `/`, and is refused with `forbidden` if `grant.rights` lacks
/// what it needs. No path, link or race leads outside `grant.root`. FIFOs, sockets and devices are refused at once with
/// `not_a_regular_file` and never opened for reading or writing. Memory does not grow with sizes of files or directories.
///
/// Reads may be repeated freely. A write may be repeated only under a condition, or when its caller does not mind.
///
/// [`Files::apply`], [`Files::write_many`] and [`Archives::unpack`] honour `grant.idempotency_key`: of the last 1,000 calls with a
/// key that succeeded, a repeat gets the same report (but for its `entry`) and has no effect, whatever became of the agent meanwhile. While the first
/// is under way, the answer is `busy`; a key that came with another call (target, content, root or user) is
/// `idempotency_mismatch`. A call that failed is not remembered: it changed nothing.
#[async_trait]
pub trait Files: Send + Sync {
    /// Opens a file and streams the bytes that were asked for.
    ///
    /// The stream is of the file that was open at the start: a replace in the meantime does not show. A file that is
    /// truncated in the meantime ends the stream with an error, never short.
    async fn read(&self, grant: &Grant, request: ReadRequest) -> Result<FileContent, Problem>;

    /// Creates or replaces a file, or leaves everything as it was.
    ///
    /// A reader sees the old bytes or the new. An answer means: stored, complete, and of the announced digest.
    /// Dropping the future before it answers leaves the old file, or the whole new one, and no debris. With
    /// `request.in_place`, none of this holds of the bytes of a file that is there: see [`Files::patch`].
    async fn write(&self, grant: &Grant, request: WriteRequest, body: Body) -> Result<Written, Problem>;

    /// Changes a part of a file: writes bytes at an offset or the end, cuts or extends it.
    ///
    /// Appended bytes come after all that is there: two callers never overwrite each other's. With `request.atomic` all is as
    /// of [`Files::write`], and what was changed by others meanwhile is never lost: that is a `conflict`. Without it, a failure
    /// may come halfway, and says what stands; dropping the future leaves what was written. `grant.max_bytes` counts the size
    /// that the call makes the file grow to, of an atomic one the whole file.
    async fn patch(&self, grant: &Grant, request: PatchRequest, body: Body) -> Result<Written, Problem>;

    /// Looks at one entry.
    async fn stat(&self, grant: &Grant, request: StatRequest) -> Result<Entry, Problem>;

    /// Returns one page of a directory, in byte order of the paths.
    async fn list(&self, grant: &Grant, request: ListRequest) -> Result<ListPage, Problem>;

    /// Streams the entries below a directory in the order in which they are read; `cursor` and `limit` are ignored.
    async fn walk(&self, grant: &Grant, request: ListRequest) -> Result<EntryStream, Problem>;

    /// Makes changes to names and metadata, and writes small files, in order.
    ///
    /// A single operation takes full effect or none. Of several, the first that fails ends the call, and those before it
    /// are undone. Dropping the future does not stop the work.
    async fn apply(&self, grant: &Grant, operations: Vec<Operation>) -> Result<Report, Problem>;

    /// Writes many files: all of them, or none.
    ///
    /// Everything is staged and checked before the first file is published. Dropping the future before publishing begins
    /// leaves nothing; after that, the work is finished.
    async fn write_many(&self, grant: &Grant, parts: UploadParts) -> Result<Report, Problem>;
}

/// Many files as one stream.
///
/// # Contract
/// As [`Files`]. An archive is not one instant: each file in it is whole as it was when its turn came.
#[async_trait]
pub trait Archives: Send + Sync {
    /// Streams the chosen paths out. Every path is checked before the first byte: a missing one is `not_found`.
    async fn pack(&self, grant: &Grant, request: ArchiveRequest) -> Result<Body, Problem>;

    /// Unpacks an archive into a directory: all of it, or nothing.
    ///
    /// Files and links replace what has their name; directories that are there stay as they are. Owners are the acting user's;
    /// set-user-ID, set-group-ID and sticky bits are left out. Nothing is written outside `request.directory`, whatever
    /// names, links and races are used: an archive that asks for it is refused. `grant.max_bytes` counts what is unpacked.
    /// Dropping the future before the end of `body` leaves nothing; after that, the work is finished.
    async fn unpack(&self, grant: &Grant, request: UnpackRequest, body: Body) -> Result<Report, Problem>;
}

/// Large files in pieces.
///
/// # Contract
/// As [`Files`]. What an answer, or the offset of a later look, says to be stored survives the death of the agent and of the
/// server. An upload belongs to the user and the root of the grant that began it; to any other it is `upload_not_found`, as
/// is one that expired. Nothing of the file shows under its path before the last piece; then all of it does, under the promises
/// of [`Files::write`].
#[async_trait]
pub trait Uploads: Send + Sync {
    /// Begins an upload. One of no bytes is complete at once.
    async fn create_upload(&self, grant: &Grant, request: UploadRequest) -> Result<UploadStatus, Problem>;

    /// Adds a piece, and publishes the file with the last one; the answer to that has the file's entry.
    ///
    /// A body that breaks off is `interrupted`; what came of it counts unless the piece has a checksum. Dropping the future is
    /// the same. An upload whose publishing fails, for its digest, its condition or its target, is over.
    async fn append_upload(
        &self,
        grant: &Grant,
        chunk: ChunkRequest,
        body: Body,
    ) -> Result<UploadStatus, Problem>;

    /// Says how far an upload is. A complete one is remembered until it expires.
    async fn look_at_upload(&self, grant: &Grant, id: UploadId) -> Result<UploadStatus, Problem>;

    /// Gives an upload up, with what is stored of it. Of a complete one only the memory is removed.
    async fn delete_upload(&self, grant: &Grant, id: UploadId) -> Result<(), Problem>;
}

/// The processes of a box.
///
/// # Contract
/// A process runs as `grant.user`, with standard input, output and error, and nothing else, open. `grant.root` must be
/// the box's own root: a process cannot be confined to a folder.
#[async_trait]
pub trait Processes: Send + Sync {
    /// Starts a program and streams what it says.
    ///
    /// The stream ends after `Exited`, when the process has ended and its output has been read. Dropping the stream
    /// before that kills the whole process tree; so does the end of `request.timeout_ms`. Output is paced by the reader:
    /// a program whose output nobody reads stops at its next write.
    async fn run(
        &self,
        grant: &Grant,
        request: ProcessRequest,
        input: InputStream,
    ) -> Result<EventStream, Problem>;

    /// Lists the processes that were started here and run still.
    async fn processes(&self, grant: &Grant) -> Result<Vec<ProcessSummary>, Problem>;

    /// Sends a signal to a process group, or to the whole tree.
    async fn signal(&self, grant: &Grant, id: ProcessId, request: SignalRequest) -> Result<(), Problem>;
}

/// One box from inside: all there is to do in it.
#[async_trait]
pub trait Guest: Files + Archives + Uploads + Processes {
    /// Says who serves it: protocol versions, features, and the promises of the manual that it keeps.
    async fn greet(&self) -> Result<AgentGreeting, Problem>;
}
