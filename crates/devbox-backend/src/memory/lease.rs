//! A guest for as long as its agent would live.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use devbox_guest::contract::{EntryStream, EventStream, InputStream, UploadParts};
use devbox_guest::{Archives, Body, FileContent, Files, Guest, Processes, Uploads};
use devbox_types::agent::AgentGreeting;
use devbox_types::archive::{ArchiveRequest, UnpackRequest};
use devbox_types::entry::StatRequest;
use devbox_types::file::{ReadRequest, WriteRequest, Written};
use devbox_types::operation::{Operation, Report};
use devbox_types::patch::PatchRequest;
use devbox_types::process::{ProcessRequest, ProcessSummary, SignalRequest};
use devbox_types::upload::{ChunkRequest, UploadRequest, UploadStatus};
use devbox_types::{Entry, ErrorCode, Grant, ListPage, ListRequest, Problem, ProcessId, UploadId};

/// Forwards every call while the agent lives; then nothing answers any more.
pub(super) struct Lease {
    guest: Arc<dyn Guest>,
    alive: Arc<AtomicBool>,
}

impl Lease {
    pub(super) fn new(guest: Arc<dyn Guest>, alive: Arc<AtomicBool>) -> Self {
        Self { guest, alive }
    }

    fn guest(&self) -> Result<&dyn Guest, Problem> {
        if self.alive.load(Ordering::Relaxed) {
            return Ok(&*self.guest);
        }
        Err(Problem::new(ErrorCode::AgentUnreachable, "the agent of the box does not answer"))
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Files for Lease {
    async fn read(&self, grant: &Grant, request: ReadRequest) -> Result<FileContent, Problem> {
        self.guest()?.read(grant, request).await
    }

    async fn write(&self, grant: &Grant, request: WriteRequest, body: Body) -> Result<Written, Problem> {
        self.guest()?.write(grant, request, body).await
    }

    async fn patch(&self, grant: &Grant, request: PatchRequest, body: Body) -> Result<Written, Problem> {
        self.guest()?.patch(grant, request, body).await
    }

    async fn stat(&self, grant: &Grant, request: StatRequest) -> Result<Entry, Problem> {
        self.guest()?.stat(grant, request).await
    }

    async fn list(&self, grant: &Grant, request: ListRequest) -> Result<ListPage, Problem> {
        self.guest()?.list(grant, request).await
    }

    async fn walk(&self, grant: &Grant, request: ListRequest) -> Result<EntryStream, Problem> {
        self.guest()?.walk(grant, request).await
    }

    async fn apply(&self, grant: &Grant, operations: Vec<Operation>) -> Result<Report, Problem> {
        self.guest()?.apply(grant, operations).await
    }

    async fn write_many(&self, grant: &Grant, parts: UploadParts) -> Result<Report, Problem> {
        self.guest()?.write_many(grant, parts).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Archives for Lease {
    async fn pack(&self, grant: &Grant, request: ArchiveRequest) -> Result<Body, Problem> {
        self.guest()?.pack(grant, request).await
    }

    async fn unpack(&self, grant: &Grant, request: UnpackRequest, body: Body) -> Result<Report, Problem> {
        self.guest()?.unpack(grant, request, body).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Uploads for Lease {
    async fn create_upload(&self, grant: &Grant, request: UploadRequest) -> Result<UploadStatus, Problem> {
        self.guest()?.create_upload(grant, request).await
    }

    async fn append_upload(
        &self,
        grant: &Grant,
        chunk: ChunkRequest,
        body: Body,
    ) -> Result<UploadStatus, Problem> {
        self.guest()?.append_upload(grant, chunk, body).await
    }

    async fn look_at_upload(&self, grant: &Grant, id: UploadId) -> Result<UploadStatus, Problem> {
        self.guest()?.look_at_upload(grant, id).await
    }

    async fn delete_upload(&self, grant: &Grant, id: UploadId) -> Result<(), Problem> {
        self.guest()?.delete_upload(grant, id).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Processes for Lease {
    async fn run(
        &self,
        grant: &Grant,
        request: ProcessRequest,
        input: InputStream,
    ) -> Result<EventStream, Problem> {
        self.guest()?.run(grant, request, input).await
    }

    async fn processes(&self, grant: &Grant) -> Result<Vec<ProcessSummary>, Problem> {
        self.guest()?.processes(grant).await
    }

    async fn signal(&self, grant: &Grant, id: ProcessId, request: SignalRequest) -> Result<(), Problem> {
        self.guest()?.signal(grant, id, request).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Guest for Lease {
    async fn greet(&self) -> Result<AgentGreeting, Problem> {
        self.guest()?.greet().await
    }
}
