//! How much the caller may, at once and in all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use devbox_guest::contract::{EntryStream, EventStream, InputStream, UploadParts};
use devbox_guest::{Archives, Body, BodyError, FileContent, Files, Guest, Processes, UploadPart, Uploads};
use devbox_types::agent::AgentGreeting;
use devbox_types::archive::{ArchiveRequest, UnpackRequest};
use devbox_types::entry::StatRequest;
use devbox_types::file::{ReadRequest, WriteRequest, Written};
use devbox_types::operation::{Operation, Report};
use devbox_types::patch::PatchRequest;
use devbox_types::process::{ProcessRequest, ProcessSummary, SignalRequest};
use devbox_types::upload::{ChunkRequest, UploadRequest, UploadStatus};
use devbox_types::{Coded as _, Entry, Grant, ListPage, ListRequest, Problem, ProcessId, UploadId};
use futures_util::StreamExt as _;
use tokio::sync::OwnedSemaphorePermit;

use crate::allotment::{Allotment, Direction};

/// Refuses contents that are too large, as early as that shows, and more transfers at once than the key may have.
///
/// A transfer is a call that moves content: it counts until its last byte.
#[derive(Debug)]
pub(crate) struct Limited<G> {
    guest: G,
    max_bytes: u64,
    allotment: Arc<Allotment>,
}

impl<G> Limited<G> {
    pub(crate) fn new(guest: G, max_bytes: u64, allotment: Arc<Allotment>) -> Self {
        Self { guest, max_bytes, allotment }
    }

    /// A place for a transfer to the box. The edge has asked for the rate of its bytes already: short contents are read before
    /// they get here.
    fn slot(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.allotment.open_transfer()
    }

    /// The same for one to the client.
    fn slot_out(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.allotment.admit_content(Direction::Out)?;
        self.allotment.open_transfer()
    }

    fn limit(&self, grant: &Grant) -> u64 {
        grant.max_bytes.map_or(self.max_bytes, |bytes| bytes.min(self.max_bytes))
    }
}

fn too_large(limit_bytes: u64) -> Problem {
    let error = BodyError::TooLarge { limit_bytes };
    Problem::new(error.code(), error.to_string()).with_hint("send it in smaller files or batches")
}

/// What is left of a limit, shared by the parts of a batch.
#[derive(Debug, Clone)]
struct Allowance {
    limit: u64,
    used: Arc<AtomicU64>,
}

impl Allowance {
    fn new(limit: u64) -> Self {
        Self { limit, used: Arc::default() }
    }

    /// Takes `bytes` of it.
    fn take(&self, bytes: u64) -> Result<(), BodyError> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if used > self.limit { Err(BodyError::TooLarge { limit_bytes: self.limit }) } else { Ok(()) }
    }

    /// The same content, which fails where it goes beyond. What is in memory already is passed on as it is.
    fn bound(self, body: Body) -> Result<Body, BodyError> {
        if let Some(bytes) = body.as_bytes() {
            self.take(length_of(bytes))?;
            return Ok(body);
        }
        let length = body.length();
        let bounded = body.map(move |chunk| {
            let chunk = chunk?;
            self.take(length_of(&chunk))?;
            Ok(chunk)
        });
        Ok(Body::from_stream(bounded, length))
    }
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The same content; the slot is given back with its end. What is in memory already has ended.
fn holding(slot: OwnedSemaphorePermit, body: Body) -> Body {
    if body.as_bytes().is_some() {
        return body;
    }
    let length = body.length();
    Body::from_stream(hold(slot, body), length)
}

fn hold<S: futures_util::Stream>(
    slot: OwnedSemaphorePermit,
    stream: S,
) -> impl futures_util::Stream<Item = S::Item> {
    stream.map(move |item| {
        let _held = &slot;
        item
    })
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl<G: Guest> Files for Limited<G> {
    async fn read(&self, grant: &Grant, request: ReadRequest) -> Result<FileContent, Problem> {
        let slot = self.slot_out()?;
        let FileContent { head, body } = self.guest.read(grant, request).await?;
        Ok(FileContent { head, body: holding(slot, body) })
    }

    async fn write(&self, grant: &Grant, request: WriteRequest, body: Body) -> Result<Written, Problem> {
        let _slot = self.slot()?;
        let limit = self.limit(grant);
        if request.length.is_some_and(|length| length > limit) {
            return Err(too_large(limit).with_path(&request.path));
        }
        let body =
            Allowance::new(limit).bound(body).map_err(|_| too_large(limit).with_path(&request.path))?;
        self.guest.write(grant, request, body).await
    }

    async fn patch(&self, grant: &Grant, request: PatchRequest, body: Body) -> Result<Written, Problem> {
        let _slot = self.slot()?;
        // The content itself may be no larger, and the box counts what the file becomes.
        let limit = self.limit(grant);
        if request.length.is_some_and(|length| length > limit) {
            return Err(too_large(limit).with_path(&request.path));
        }
        let body =
            Allowance::new(limit).bound(body).map_err(|_| too_large(limit).with_path(&request.path))?;
        let grant = Grant { max_bytes: Some(limit), ..grant.clone() };
        self.guest.patch(&grant, request, body).await
    }

    async fn stat(&self, grant: &Grant, request: StatRequest) -> Result<Entry, Problem> {
        self.guest.stat(grant, request).await
    }

    async fn list(&self, grant: &Grant, request: ListRequest) -> Result<ListPage, Problem> {
        self.guest.list(grant, request).await
    }

    async fn walk(&self, grant: &Grant, request: ListRequest) -> Result<EntryStream, Problem> {
        let slot = self.slot_out()?;
        Ok(hold(slot, self.guest.walk(grant, request).await?).boxed())
    }

    async fn apply(&self, grant: &Grant, operations: Vec<Operation>) -> Result<Report, Problem> {
        let inline = |operation: &Operation| {
            if let Operation::Write { content, .. } = operation { length_of(content) } else { 0 }
        };
        let limit = self.limit(grant);
        if operations.iter().map(inline).sum::<u64>() > limit {
            return Err(too_large(limit));
        }
        self.guest.apply(grant, operations).await
    }

    async fn write_many(&self, grant: &Grant, parts: UploadParts) -> Result<Report, Problem> {
        let _slot = self.slot()?;
        let allowance = Allowance::new(self.limit(grant));
        let limit = allowance.limit;
        let bounded = parts.map(move |part| {
            let UploadPart { request, body } = part?;
            let body =
                allowance.clone().bound(body).map_err(|_| too_large(limit).with_path(&request.path))?;
            Ok(UploadPart { request, body })
        });
        self.guest.write_many(grant, bounded.boxed()).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl<G: Guest> Archives for Limited<G> {
    async fn pack(&self, grant: &Grant, request: ArchiveRequest) -> Result<Body, Problem> {
        let slot = self.slot_out()?;
        Ok(holding(slot, self.guest.pack(grant, request).await?))
    }

    async fn unpack(&self, grant: &Grant, request: UnpackRequest, body: Body) -> Result<Report, Problem> {
        let _slot = self.slot()?;
        // The archive itself may be no larger, and the box counts what comes out of it.
        let limit = self.limit(grant);
        let body = Allowance::new(limit).bound(body).map_err(|_| too_large(limit))?;
        let grant = Grant { max_bytes: Some(limit), ..grant.clone() };
        self.guest.unpack(&grant, request, body).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl<G: Guest> Uploads for Limited<G> {
    async fn create_upload(&self, grant: &Grant, request: UploadRequest) -> Result<UploadStatus, Problem> {
        let limit = self.limit(grant);
        if request.write.length.is_some_and(|length| length > limit) {
            return Err(too_large(limit).with_path(&request.write.path));
        }
        self.guest.create_upload(grant, request).await
    }

    async fn append_upload(
        &self,
        grant: &Grant,
        chunk: ChunkRequest,
        body: Body,
    ) -> Result<UploadStatus, Problem> {
        let _slot = self.slot()?;
        let limit = self.limit(grant);
        let left = limit.saturating_sub(chunk.offset);
        let body = Allowance::new(left).bound(body).map_err(|_| too_large(limit))?;
        self.guest.append_upload(grant, chunk, body).await
    }

    async fn look_at_upload(&self, grant: &Grant, id: UploadId) -> Result<UploadStatus, Problem> {
        self.guest.look_at_upload(grant, id).await
    }

    async fn delete_upload(&self, grant: &Grant, id: UploadId) -> Result<(), Problem> {
        self.guest.delete_upload(grant, id).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl<G: Guest> Processes for Limited<G> {
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
impl<G: Guest> Guest for Limited<G> {
    async fn greet(&self) -> Result<AgentGreeting, Problem> {
        self.guest.greet().await
    }
}
