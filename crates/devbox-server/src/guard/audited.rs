//! What is done is recorded.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use devbox_guest::contract::{EntryStream, EventStream, InputStream, UploadParts};
use devbox_guest::{Archives, Body, FileContent, Files, Guest, Processes, UploadPart, Uploads};
use devbox_store::{BoxRecord, Store};
use devbox_types::agent::AgentGreeting;
use devbox_types::archive::{ArchiveRequest, UnpackRequest};
use devbox_types::audit::{AuditRecord, AuditedOperation};
use devbox_types::entry::StatRequest;
use devbox_types::file::{ReadRequest, WriteRequest, Written};
use devbox_types::operation::{Operation, Report};
use devbox_types::patch::PatchRequest;
use devbox_types::process::{ProcessInput, ProcessRequest, ProcessSummary, SignalRequest, StdinSource};
use devbox_types::upload::{ChunkRequest, UploadRequest, UploadStatus};
use devbox_types::{Entry, Grant, ListPage, ListRequest, Problem, ProcessId, Timestamp, UploadId};
use futures_util::StreamExt as _;

use super::record::{Count, OpenRecord, add};
use crate::app::Actor;
use crate::refusal::Refusal;

/// How many characters of a program's name are recorded: records are kept in memory by the thousands, and no name that runs is
/// longer.
const MAX_PROGRAM: usize = 4_096;

/// Records each call with its outcome, with the bytes that went through and the entries it was about.
///
/// The place in the audit is taken before the call is made, so a call that could not be recorded does not happen; a call
/// that is cut off is recorded as `interrupted`.
pub(crate) struct Audited<G> {
    guest: G,
    store: Arc<Store>,
    actor: Actor,
    record: Arc<BoxRecord>,
}

impl<G> Audited<G> {
    pub(crate) fn new(guest: G, store: Arc<Store>, actor: Actor, record: Arc<BoxRecord>) -> Self {
        Self { guest, store, actor, record }
    }

    async fn begin(
        &self,
        operation: AuditedOperation,
        path: Option<String>,
        sha256: Option<[u8; 32]>,
    ) -> Result<OpenRecord, Problem> {
        let slot = self.store.audit().reserve().await;
        let slot = slot.map_err(|error| Refusal::from(error).into_problem())?;
        let record = AuditRecord {
            time: Timestamp::from_nanoseconds(0),
            request_id: self.actor.request_id.clone(),
            key_id: self.actor.key.id.clone(),
            project: self.actor.key.project.clone(),
            box_id: Some(self.record.id.clone()),
            operation,
            path,
            bytes: 0,
            entries: 1,
            sha256: sha256.map(|digest| hexadecimal(&digest)),
            error: None,
            exit_code: None,
            duration_us: 0,
        };
        Ok(OpenRecord::begin(slot, record))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The same content, counted. What is in memory already is counted at once.
fn counted(body: Body, count: Count) -> Body {
    if let Some(bytes) = body.as_bytes() {
        add(&count, bytes);
        return body;
    }
    let length = body.length();
    let stream = body.inspect(move |chunk| {
        if let Ok(chunk) = chunk {
            add(&count, chunk);
        }
    });
    Body::from_stream(stream, length)
}

/// The path that stands for a list of operations.
fn first_path(operations: &[Operation]) -> Option<String> {
    operations.first().map(|operation| match operation {
        Operation::Mkdir { path, .. }
        | Operation::Symlink { path, .. }
        | Operation::Write { path, .. }
        | Operation::SetMetadata { path, .. }
        | Operation::Chmod { path, .. }
        | Operation::Chown { path, .. }
        | Operation::Utime { path, .. }
        | Operation::Delete { path, .. } => path.to_string(),
        Operation::Move { from, .. } | Operation::Copy { from, .. } | Operation::Link { from, .. } => {
            from.to_string()
        }
    })
}

fn number_of<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl<G: Guest> Files for Audited<G> {
    async fn read(&self, grant: &Grant, request: ReadRequest) -> Result<FileContent, Problem> {
        let open = self.begin(AuditedOperation::FileRead, Some(request.path.to_string()), None).await?;
        match self.guest.read(grant, request).await {
            Ok(FileContent { head, body }) => Ok(FileContent { head, body: open.follow(body) }),
            Err(problem) => open.conclude(Err(problem)),
        }
    }

    async fn write(&self, grant: &Grant, request: WriteRequest, body: Body) -> Result<Written, Problem> {
        let path = Some(request.path.to_string());
        let open = self.begin(AuditedOperation::FileWrite, path, request.digests.sha256).await?;
        let body = counted(body, open.count());
        open.conclude(self.guest.write(grant, request, body).await)
    }

    async fn patch(&self, grant: &Grant, request: PatchRequest, body: Body) -> Result<Written, Problem> {
        let path = Some(request.path.to_string());
        let open = self.begin(AuditedOperation::FilePatch, path, request.digests.sha256).await?;
        let body = counted(body, open.count());
        open.conclude(self.guest.patch(grant, request, body).await)
    }

    async fn stat(&self, grant: &Grant, request: StatRequest) -> Result<Entry, Problem> {
        let open = self.begin(AuditedOperation::FileStat, Some(request.path.to_string()), None).await?;
        open.conclude(self.guest.stat(grant, request).await)
    }

    async fn list(&self, grant: &Grant, request: ListRequest) -> Result<ListPage, Problem> {
        let mut open = self.begin(AuditedOperation::FileList, Some(request.path.to_string()), None).await?;
        let answer = self.guest.list(grant, request).await;
        if let Ok(page) = &answer {
            open.set_entries(number_of(&page.entries));
        }
        open.conclude(answer)
    }

    async fn walk(&self, grant: &Grant, request: ListRequest) -> Result<EntryStream, Problem> {
        let mut open = self.begin(AuditedOperation::FileWalk, Some(request.path.to_string()), None).await?;
        open.set_entries(0);
        match self.guest.walk(grant, request).await {
            Ok(entries) => Ok(open.follow_entries(entries)),
            Err(problem) => open.conclude(Err(problem)),
        }
    }

    async fn apply(&self, grant: &Grant, operations: Vec<Operation>) -> Result<Report, Problem> {
        let mut open = self.begin(AuditedOperation::FileApply, first_path(&operations), None).await?;
        open.set_entries(number_of(&operations));
        open.conclude_report(self.guest.apply(grant, operations).await)
    }

    async fn write_many(&self, grant: &Grant, parts: UploadParts) -> Result<Report, Problem> {
        // The first path is known only when the first part comes.
        let mut open = self.begin(AuditedOperation::FileWriteMany, None, None).await?;
        let seen = Arc::new(Mutex::new((None::<String>, 0_u64)));
        let (count, noted) = (open.count(), Arc::clone(&seen));
        let parts = parts.map(move |part| {
            let UploadPart { request, body } = part?;
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.0.get_or_insert_with(|| request.path.to_string());
            noted.1 += 1;
            Ok(UploadPart { request, body: counted(body, Arc::clone(&count)) })
        });
        let answer = self.guest.write_many(grant, parts.boxed()).await;
        let (path, entries) = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        open.note(|record| (record.path, record.entries) = (path, entries));
        open.conclude_report(answer)
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl<G: Guest> Archives for Audited<G> {
    async fn pack(&self, grant: &Grant, request: ArchiveRequest) -> Result<Body, Problem> {
        let first = request.paths.first().map(|path| path.0.to_string());
        let mut open = self.begin(AuditedOperation::FilePack, first, None).await?;
        open.set_entries(number_of(&request.paths));
        match self.guest.pack(grant, request).await {
            Ok(body) => Ok(open.follow(body)),
            Err(problem) => open.conclude(Err(problem)),
        }
    }

    async fn unpack(&self, grant: &Grant, request: UnpackRequest, body: Body) -> Result<Report, Problem> {
        let path = Some(request.directory.to_string());
        let open = self.begin(AuditedOperation::FileUnpack, path, None).await?;
        let body = counted(body, open.count());
        open.conclude_report(self.guest.unpack(grant, request, body).await)
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl<G: Guest> Uploads for Audited<G> {
    async fn create_upload(&self, grant: &Grant, request: UploadRequest) -> Result<UploadStatus, Problem> {
        let path = Some(request.write.path.to_string());
        let open = self.begin(AuditedOperation::UploadCreate, path, request.write.digests.sha256).await?;
        open.conclude(self.guest.create_upload(grant, request).await)
    }

    async fn append_upload(
        &self,
        grant: &Grant,
        chunk: ChunkRequest,
        body: Body,
    ) -> Result<UploadStatus, Problem> {
        // Which path that is, only the box knows: until it answers, the record has the id.
        let id = Some(chunk.id.to_string());
        let mut open = self.begin(AuditedOperation::UploadAppend, id, chunk.digests.sha256).await?;
        let body = counted(body, open.count());
        let answer = self.guest.append_upload(grant, chunk, body).await;
        if let Ok(status) = &answer {
            open.note(|record| record.path = Some(status.path.0.to_string()));
        }
        open.conclude(answer)
    }

    async fn look_at_upload(&self, grant: &Grant, id: UploadId) -> Result<UploadStatus, Problem> {
        let open = self.begin(AuditedOperation::UploadLook, Some(id.to_string()), None).await?;
        open.conclude(self.guest.look_at_upload(grant, id).await)
    }

    async fn delete_upload(&self, grant: &Grant, id: UploadId) -> Result<(), Problem> {
        let open = self.begin(AuditedOperation::UploadDelete, Some(id.to_string()), None).await?;
        open.conclude(self.guest.delete_upload(grant, id).await)
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl<G: Guest> Processes for Audited<G> {
    async fn run(
        &self,
        grant: &Grant,
        request: ProcessRequest,
        input: InputStream,
    ) -> Result<EventStream, Problem> {
        // Arguments may hold secrets; the name of the program does not.
        let program = request.argv.first().map(|program| program.chars().take(MAX_PROGRAM).collect());
        let open = self.begin(AuditedOperation::ProcessRun, program, None).await?;
        let count = open.count();
        if let StdinSource::Text(text) = &request.stdin {
            add(&count, text.as_bytes());
        }
        let input = input.inspect(move |input| {
            if let ProcessInput::Stdin(bytes) = input {
                add(&count, bytes);
            }
        });
        match self.guest.run(grant, request, input.boxed()).await {
            Ok(events) => Ok(open.follow_events(events)),
            Err(problem) => open.conclude(Err(problem)),
        }
    }

    async fn processes(&self, grant: &Grant) -> Result<Vec<ProcessSummary>, Problem> {
        let mut open = self.begin(AuditedOperation::ProcessList, None, None).await?;
        let answer = self.guest.processes(grant).await;
        if let Ok(processes) = &answer {
            open.set_entries(number_of(processes));
        }
        open.conclude(answer)
    }

    async fn signal(&self, grant: &Grant, id: ProcessId, request: SignalRequest) -> Result<(), Problem> {
        let open = self.begin(AuditedOperation::ProcessSignal, Some(id.to_string()), None).await?;
        open.conclude(self.guest.signal(grant, id, request).await)
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl<G: Guest> Guest for Audited<G> {
    async fn greet(&self) -> Result<AgentGreeting, Problem> {
        self.guest.greet().await
    }
}
