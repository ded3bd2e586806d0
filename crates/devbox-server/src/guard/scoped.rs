//! Whether the caller may.

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
use devbox_types::{
    ActingUser, Entry, ErrorCode, Grant, ListPage, ListRequest, Problem, ProcessId, Right, Rights, UploadId,
};

/// Refuses what the caller's key does not allow, before anything reaches the box. The engine asks again, of the grant.
#[derive(Debug)]
pub(crate) struct Scoped<G> {
    guest: G,
    rights: Rights,
}

impl<G> Scoped<G> {
    pub(crate) fn new(guest: G, rights: Rights) -> Self {
        Self { guest, rights }
    }

    fn allow(&self, grant: &Grant, needed: Right) -> Result<(), Problem> {
        let has = |right| self.rights.contains(right) && grant.rights.contains(right);
        if !has(needed) {
            return Err(refused(format!("this key may not {}", verb(needed))));
        }
        if grant.user != ActingUser::Default && !has(Right::ActAsAnyUser) {
            return Err(refused("this key may act as the box's default user only".to_owned()));
        }
        Ok(())
    }
}

fn refused(detail: String) -> Problem {
    Problem::new(ErrorCode::Forbidden, detail).with_hint("use a key that has this right")
}

fn verb(right: Right) -> &'static str {
    match right {
        Right::Read => "read in this box",
        Right::Write => "write in this box",
        Right::Execute => "run programs in this box",
        Right::ActAsAnyUser => "act as another user",
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl<G: Guest> Files for Scoped<G> {
    async fn read(&self, grant: &Grant, request: ReadRequest) -> Result<FileContent, Problem> {
        self.allow(grant, Right::Read)?;
        self.guest.read(grant, request).await
    }

    async fn write(&self, grant: &Grant, request: WriteRequest, body: Body) -> Result<Written, Problem> {
        self.allow(grant, Right::Write)?;
        self.guest.write(grant, request, body).await
    }

    async fn patch(&self, grant: &Grant, request: PatchRequest, body: Body) -> Result<Written, Problem> {
        self.allow(grant, Right::Write)?;
        self.guest.patch(grant, request, body).await
    }

    async fn stat(&self, grant: &Grant, request: StatRequest) -> Result<Entry, Problem> {
        self.allow(grant, Right::Read)?;
        self.guest.stat(grant, request).await
    }

    async fn list(&self, grant: &Grant, request: ListRequest) -> Result<ListPage, Problem> {
        self.allow(grant, Right::Read)?;
        self.guest.list(grant, request).await
    }

    async fn walk(&self, grant: &Grant, request: ListRequest) -> Result<EntryStream, Problem> {
        self.allow(grant, Right::Read)?;
        self.guest.walk(grant, request).await
    }

    async fn apply(&self, grant: &Grant, operations: Vec<Operation>) -> Result<Report, Problem> {
        self.allow(grant, Right::Write)?;
        self.guest.apply(grant, operations).await
    }

    async fn write_many(&self, grant: &Grant, parts: UploadParts) -> Result<Report, Problem> {
        self.allow(grant, Right::Write)?;
        self.guest.write_many(grant, parts).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl<G: Guest> Archives for Scoped<G> {
    async fn pack(&self, grant: &Grant, request: ArchiveRequest) -> Result<Body, Problem> {
        self.allow(grant, Right::Read)?;
        self.guest.pack(grant, request).await
    }

    async fn unpack(&self, grant: &Grant, request: UnpackRequest, body: Body) -> Result<Report, Problem> {
        self.allow(grant, Right::Write)?;
        self.guest.unpack(grant, request, body).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl<G: Guest> Uploads for Scoped<G> {
    async fn create_upload(&self, grant: &Grant, request: UploadRequest) -> Result<UploadStatus, Problem> {
        self.allow(grant, Right::Write)?;
        self.guest.create_upload(grant, request).await
    }

    async fn append_upload(
        &self,
        grant: &Grant,
        chunk: ChunkRequest,
        body: Body,
    ) -> Result<UploadStatus, Problem> {
        self.allow(grant, Right::Write)?;
        self.guest.append_upload(grant, chunk, body).await
    }

    async fn look_at_upload(&self, grant: &Grant, id: UploadId) -> Result<UploadStatus, Problem> {
        self.allow(grant, Right::Write)?;
        self.guest.look_at_upload(grant, id).await
    }

    async fn delete_upload(&self, grant: &Grant, id: UploadId) -> Result<(), Problem> {
        self.allow(grant, Right::Write)?;
        self.guest.delete_upload(grant, id).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl<G: Guest> Processes for Scoped<G> {
    async fn run(
        &self,
        grant: &Grant,
        request: ProcessRequest,
        input: InputStream,
    ) -> Result<EventStream, Problem> {
        self.allow(grant, Right::Execute)?;
        self.guest.run(grant, request, input).await
    }

    async fn processes(&self, grant: &Grant) -> Result<Vec<ProcessSummary>, Problem> {
        self.allow(grant, Right::Execute)?;
        self.guest.processes(grant).await
    }

    async fn signal(&self, grant: &Grant, id: ProcessId, request: SignalRequest) -> Result<(), Problem> {
        self.allow(grant, Right::Execute)?;
        self.guest.signal(grant, id, request).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl<G: Guest> Guest for Scoped<G> {
    async fn greet(&self) -> Result<AgentGreeting, Problem> {
        self.guest.greet().await
    }
}
