//! What a silent agent means.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use devbox_guest::contract::{EntryStream, EventStream, InputStream, UploadParts};
use devbox_guest::{Archives, Body, FileContent, Files, Guest, Processes, UploadPart, Uploads};
use devbox_types::agent::AgentGreeting;
use devbox_types::archive::{ArchiveRequest, UnpackRequest};
use devbox_types::devbox::{BoxState, BoxStatus};
use devbox_types::entry::StatRequest;
use devbox_types::file::{ReadRequest, WriteRequest, Written};
use devbox_types::operation::{Operation, Report};
use devbox_types::patch::PatchRequest;
use devbox_types::process::{ProcessRequest, ProcessSummary, SignalRequest};
use devbox_types::upload::{ChunkRequest, UploadRequest, UploadStatus};
use devbox_types::{BoxId, Entry, ErrorCode, Grant, ListPage, ListRequest, Problem, ProcessId, UploadId};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::vigil::Vigil;
use crate::app::App;
use crate::refusal::Refusal;

/// The connections of a killed agent break before the backend has seen its end: a call waits so long for that to show.
const DEATH_SHOWS: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits for the agent only so long, and asks the backend what became of the box when the agent does not answer: the
/// caller hears that the box does not run, and how to start it, rather than that something is unreachable.
pub(crate) struct Attended {
    app: Arc<App>,
    id: BoxId,
}

impl Attended {
    pub(crate) fn new(app: Arc<App>, id: BoxId) -> Self {
        Self { app, id }
    }

    /// The client of the box's agent.
    async fn guest(&self) -> Result<Arc<dyn Guest>, Problem> {
        let patience = self.app.config.timeouts.agent_answer;
        let guest = self.app.guests.reach(&*self.app.backend, &self.id, patience).await;
        guest.map_err(Refusal::into_problem)
    }

    /// A call whose answer begins as soon as the agent has looked: it has a deadline.
    async fn prompt<T>(&self, call: impl Future<Output = Result<T, Problem>> + Send) -> Result<T, Problem> {
        let answer = timeout(self.app.config.timeouts.agent_answer, call).await;
        let late = |_| {
            Problem::new(ErrorCode::Timeout, "the agent of the box did not answer in time")
                .with_hint("stop and start the box if it stays so")
        };
        self.explained(answer.map_err(late).and_then(|answer| answer)).await
    }

    /// A call that takes as long as its content, or its work, takes: it is watched over.
    async fn patient<T, C>(&self, call: impl FnOnce(Arc<dyn Guest>, Vigil) -> C) -> Result<T, Problem>
    where
        C: Future<Output = Result<T, Problem>>,
    {
        let outcome = async {
            let guest = self.guest().await?;
            let vigil = self.vigil(&guest, Some(self.app.config.timeouts.agent_work));
            vigil.over(call(guest, vigil.clone())).await
        };
        self.explained(outcome.await).await
    }

    /// A call whose answer begins as soon as the agent has looked, and then streams: the beginning has a deadline, the rest
    /// is watched over.
    async fn streaming<T, C>(
        &self,
        call: impl FnOnce(Arc<dyn Guest>, Vigil) -> C + Send,
    ) -> Result<T, Problem>
    where
        C: Future<Output = Result<T, Problem>> + Send,
    {
        self.prompt(async {
            let guest = self.guest().await?;
            let vigil = self.vigil(&guest, Some(self.app.config.timeouts.agent_work));
            call(guest, vigil).await
        })
        .await
    }

    fn vigil(&self, guest: &Arc<dyn Guest>, longest: Option<Duration>) -> Vigil {
        let patience = self.app.config.timeouts.agent_answer;
        Vigil::new(Arc::clone(guest), Arc::clone(&self.app.metrics), patience, longest)
    }

    async fn explained<T>(&self, answer: Result<T, Problem>) -> Result<T, Problem> {
        match answer {
            Err(problem) if problem.code == ErrorCode::AgentUnreachable => Err(self.explain(problem).await),
            answer => answer,
        }
    }

    /// What to tell a caller whose call found no agent.
    async fn explain(&self, problem: Problem) -> Problem {
        let Self { app, id } = self;
        app.guests.forget(id);
        let deadline = Instant::now() + DEATH_SHOWS;
        let word = loop {
            match app.backend.status(id).await {
                Ok(BoxStatus { state: BoxState::Stopped, .. }) => break "is stopped",
                Ok(BoxStatus { state: BoxState::Failed, .. }) => break "has failed",
                Ok(BoxStatus { state: BoxState::Running, .. }) if Instant::now() < deadline => {
                    sleep(LOOK_AGAIN).await;
                }
                Ok(BoxStatus { state: BoxState::Running | BoxState::Starting, .. }) => return problem,
                Err(error) => {
                    tracing::warn!(box_id = %id, error = %error, "status_unknown");
                    return problem;
                }
            }
        };
        Problem::new(ErrorCode::NotRunning, format!("box {id} {word}"))
            .with_hint(format!("start it with `devbox start {id}`"))
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Files for Attended {
    async fn read(&self, grant: &Grant, request: ReadRequest) -> Result<FileContent, Problem> {
        // For a digest the agent reads the file to its end first.
        let takes_long = request.want_digest.is_some();
        let call = async |guest: Arc<dyn Guest>, vigil: Vigil| {
            let FileContent { head, body } = guest.read(grant, request).await?;
            Ok(FileContent { head, body: vigil.receiving(body) })
        };
        if takes_long { self.patient(call).await } else { self.streaming(call).await }
    }

    async fn write(&self, grant: &Grant, request: WriteRequest, body: Body) -> Result<Written, Problem> {
        self.patient(async |guest, vigil| guest.write(grant, request, vigil.sending(body)).await).await
    }

    async fn patch(&self, grant: &Grant, request: PatchRequest, body: Body) -> Result<Written, Problem> {
        self.patient(async |guest, vigil| guest.patch(grant, request, vigil.sending(body)).await).await
    }

    async fn stat(&self, grant: &Grant, request: StatRequest) -> Result<Entry, Problem> {
        self.prompt(async { self.guest().await?.stat(grant, request).await }).await
    }

    async fn list(&self, grant: &Grant, request: ListRequest) -> Result<ListPage, Problem> {
        self.prompt(async { self.guest().await?.list(grant, request).await }).await
    }

    async fn walk(&self, grant: &Grant, request: ListRequest) -> Result<EntryStream, Problem> {
        self.streaming(async |guest, vigil| {
            let entries = guest.walk(grant, request).await?;
            Ok(vigil.watched(entries, std::convert::identity).boxed())
        })
        .await
    }

    async fn apply(&self, grant: &Grant, operations: Vec<Operation>) -> Result<Report, Problem> {
        self.patient(async |guest, _| guest.apply(grant, operations).await).await
    }

    async fn write_many(&self, grant: &Grant, parts: UploadParts) -> Result<Report, Problem> {
        self.patient(async |guest, vigil| {
            let parts = parts.map(move |part| {
                let UploadPart { request, body } = part?;
                Ok(UploadPart { request, body: vigil.sending(body) })
            });
            guest.write_many(grant, parts.boxed()).await
        })
        .await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Archives for Attended {
    async fn pack(&self, grant: &Grant, request: ArchiveRequest) -> Result<Body, Problem> {
        self.streaming(async |guest, vigil| Ok(vigil.receiving(guest.pack(grant, request).await?))).await
    }

    async fn unpack(&self, grant: &Grant, request: UnpackRequest, body: Body) -> Result<Report, Problem> {
        self.patient(async |guest, vigil| guest.unpack(grant, request, vigil.sending(body)).await).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Uploads for Attended {
    async fn create_upload(&self, grant: &Grant, request: UploadRequest) -> Result<UploadStatus, Problem> {
        self.patient(async |guest, _| guest.create_upload(grant, request).await).await
    }

    async fn append_upload(
        &self,
        grant: &Grant,
        chunk: ChunkRequest,
        body: Body,
    ) -> Result<UploadStatus, Problem> {
        self.patient(async |guest, vigil| guest.append_upload(grant, chunk, vigil.sending(body)).await).await
    }

    async fn look_at_upload(&self, grant: &Grant, id: UploadId) -> Result<UploadStatus, Problem> {
        self.prompt(async { self.guest().await?.look_at_upload(grant, id).await }).await
    }

    async fn delete_upload(&self, grant: &Grant, id: UploadId) -> Result<(), Problem> {
        self.prompt(async { self.guest().await?.delete_upload(grant, id).await }).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Processes for Attended {
    async fn run(
        &self,
        grant: &Grant,
        request: ProcessRequest,
        input: InputStream,
    ) -> Result<EventStream, Problem> {
        self.prompt(async {
            let guest = self.guest().await?;
            // A program may be silent for as long as it runs.
            let vigil = self.vigil(&guest, None);
            let events = guest.run(grant, request, input).await?;
            Ok(vigil.watched(events, std::convert::identity).boxed())
        })
        .await
    }

    async fn processes(&self, grant: &Grant) -> Result<Vec<ProcessSummary>, Problem> {
        self.prompt(async { self.guest().await?.processes(grant).await }).await
    }

    async fn signal(&self, grant: &Grant, id: ProcessId, request: SignalRequest) -> Result<(), Problem> {
        self.prompt(async { self.guest().await?.signal(grant, id, request).await }).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Guest for Attended {
    async fn greet(&self) -> Result<AgentGreeting, Problem> {
        self.prompt(async { self.guest().await?.greet().await }).await
    }
}
