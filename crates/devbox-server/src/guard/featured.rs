//! Whether the agent of the box knows what it is asked for.

use std::sync::Arc;

use async_trait::async_trait;
use devbox_guest::contract::{EntryStream, EventStream, InputStream, UploadParts};
use devbox_guest::{Archives, Body, FileContent, Files, Guest, Processes, Uploads};
use devbox_types::agent::{AgentGreeting, Feature};
use devbox_types::archive::{ArchiveRequest, UnpackRequest};
use devbox_types::entry::StatRequest;
use devbox_types::file::{ReadRequest, WriteRequest, Written};
use devbox_types::operation::{Operation, Report};
use devbox_types::patch::PatchRequest;
use devbox_types::process::{ProcessRequest, ProcessSummary, SignalRequest};
use devbox_types::upload::{ChunkRequest, UploadRequest, UploadRole, UploadStatus};
use devbox_types::{Digests, Entry, ErrorCode, Grant, ListPage, ListRequest, Problem, ProcessId, UploadId};
use futures_util::StreamExt as _;

use crate::guests::GET_A_NEW_AGENT;

/// Refuses what the agent of the box is too old for, going by its greeting: an agent passes over headers that it does not know,
/// and so would do half of what it was asked. A wish for a digest is none of this: an old agent grants it no more than a file
/// that changes does.
pub(crate) struct Featured {
    guest: Arc<dyn Guest>,
    missing: Missing,
}

impl Featured {
    pub(crate) fn new(guest: Arc<dyn Guest>, greeting: &AgentGreeting) -> Self {
        let missing = Feature::ALL.into_iter().filter(|feature| !greeting.has(*feature)).collect();
        Self { guest, missing: Missing(missing) }
    }
}

/// The features that an agent does not have.
#[derive(Clone)]
struct Missing(Arc<[Feature]>);

impl Missing {
    /// Refuses a call that needs a feature which the agent does not have.
    fn need(&self, is_needed: bool, feature: Feature) -> Result<(), Problem> {
        if is_needed && self.0.contains(&feature) {
            return Err(too_old_for(feature));
        }
        Ok(())
    }

    fn check_write(&self, request: &WriteRequest) -> Result<(), Problem> {
        self.need(request.in_place || request.verify, Feature::Patch)?;
        self.check_digests(&request.digests)
    }

    /// An old agent checks SHA-256, and would take the others for checked.
    fn check_digests(&self, digests: &Digests) -> Result<(), Problem> {
        self.need(digests.sha512.is_some() || digests.md5.is_some(), Feature::Digests)
    }

    fn check_key(&self, grant: &Grant) -> Result<(), Problem> {
        self.need(grant.idempotency_key.is_some(), Feature::IdempotencyKeys)
    }
}

fn too_old_for(feature: Feature) -> Problem {
    let detail = format!("the agent of the box is too old for this: it does not have `{}`", feature.as_str());
    Problem::new(ErrorCode::Unsupported, detail).with_hint(GET_A_NEW_AGENT)
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Files for Featured {
    async fn read(&self, grant: &Grant, request: ReadRequest) -> Result<FileContent, Problem> {
        self.guest.read(grant, request).await
    }

    async fn write(&self, grant: &Grant, request: WriteRequest, body: Body) -> Result<Written, Problem> {
        self.missing.check_write(&request)?;
        self.guest.write(grant, request, body).await
    }

    async fn patch(&self, grant: &Grant, request: PatchRequest, body: Body) -> Result<Written, Problem> {
        self.missing.need(true, Feature::Patch)?;
        self.missing.check_digests(&request.digests)?;
        self.guest.patch(grant, request, body).await
    }

    async fn stat(&self, grant: &Grant, request: StatRequest) -> Result<Entry, Problem> {
        self.missing.need(request.xattrs, Feature::Metadata)?;
        self.guest.stat(grant, request).await
    }

    async fn list(&self, grant: &Grant, request: ListRequest) -> Result<ListPage, Problem> {
        self.guest.list(grant, request).await
    }

    async fn walk(&self, grant: &Grant, request: ListRequest) -> Result<EntryStream, Problem> {
        self.guest.walk(grant, request).await
    }

    async fn apply(&self, grant: &Grant, operations: Vec<Operation>) -> Result<Report, Problem> {
        self.missing.check_key(grant)?;
        operations.iter().filter_map(feature_of).try_for_each(|feature| self.missing.need(true, feature))?;
        self.guest.apply(grant, operations).await
    }

    async fn write_many(&self, grant: &Grant, parts: UploadParts) -> Result<Report, Problem> {
        self.missing.check_key(grant)?;
        let missing = self.missing.clone();
        let checked = parts.map(move |part| {
            let part = part?;
            missing.check_write(&part.request)?;
            Ok(part)
        });
        self.guest.write_many(grant, checked.boxed()).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Archives for Featured {
    async fn pack(&self, grant: &Grant, request: ArchiveRequest) -> Result<Body, Problem> {
        self.guest.pack(grant, request).await
    }

    async fn unpack(&self, grant: &Grant, request: UnpackRequest, body: Body) -> Result<Report, Problem> {
        self.missing.check_key(grant)?;
        self.guest.unpack(grant, request, body).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Uploads for Featured {
    async fn create_upload(&self, grant: &Grant, request: UploadRequest) -> Result<UploadStatus, Problem> {
        self.missing.need(true, Feature::Uploads)?;
        self.missing.need(request.role != UploadRole::File, Feature::Concatenation)?;
        self.missing.check_write(&request.write)?;
        self.guest.create_upload(grant, request).await
    }

    async fn append_upload(
        &self,
        grant: &Grant,
        chunk: ChunkRequest,
        body: Body,
    ) -> Result<UploadStatus, Problem> {
        self.missing.need(true, Feature::Uploads)?;
        self.missing.check_digests(&chunk.digests)?;
        self.guest.append_upload(grant, chunk, body).await
    }

    async fn look_at_upload(&self, grant: &Grant, id: UploadId) -> Result<UploadStatus, Problem> {
        self.missing.need(true, Feature::Uploads)?;
        self.guest.look_at_upload(grant, id).await
    }

    async fn delete_upload(&self, grant: &Grant, id: UploadId) -> Result<(), Problem> {
        self.missing.need(true, Feature::Uploads)?;
        self.guest.delete_upload(grant, id).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Processes for Featured {
    async fn run(
        &self,
        grant: &Grant,
        request: ProcessRequest,
        input: InputStream,
    ) -> Result<EventStream, Problem> {
        self.guest.run(grant, request, input).await
    }

    async fn processes(&self, grant: &Grant) -> Result<Vec<ProcessSummary>, Problem> {
        self.guest.processes(grant).await
    }

    async fn signal(&self, grant: &Grant, id: ProcessId, request: SignalRequest) -> Result<(), Problem> {
        self.guest.signal(grant, id, request).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Guest for Featured {
    async fn greet(&self) -> Result<AgentGreeting, Problem> {
        self.guest.greet().await
    }
}

/// What an agent needs to have for a change, beyond what every agent has.
fn feature_of(operation: &Operation) -> Option<Feature> {
    match operation {
        Operation::Write { .. } => Some(Feature::Patch),
        Operation::Link { .. } | Operation::SetMetadata { .. } => Some(Feature::Metadata),
        Operation::Mkdir { .. }
        | Operation::Move { .. }
        | Operation::Copy { .. }
        | Operation::Symlink { .. }
        | Operation::Chmod { .. }
        | Operation::Chown { .. }
        | Operation::Utime { .. }
        | Operation::Delete { .. } => None,
    }
}
