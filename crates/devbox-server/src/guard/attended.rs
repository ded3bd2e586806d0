//! What a silent agent means.

use std::sync::Arc;

use async_trait::async_trait;
use devbox_guest::contract::{EntryStream, EventStream, InputStream, UploadParts};
use devbox_guest::{Archives, Body, FileContent, Files, Guest, Processes};
use devbox_types::agent::AgentGreeting;
use devbox_types::archive::ArchiveRequest;
use devbox_types::devbox::{BoxState, BoxStatus};
use devbox_types::file::{ReadRequest, WriteRequest, Written};
use devbox_types::operation::{Operation, Report};
use devbox_types::process::{ProcessRequest, ProcessSummary, SignalRequest};
use devbox_types::{BoxId, BoxPath, Entry, ErrorCode, Grant, ListPage, ListRequest, Problem, ProcessId};
use tokio::time::timeout;

use crate::app::App;

/// Waits for the agent only so long, and asks the backend what became of the box when the agent does not answer: the
/// caller hears that the box does not run, and how to start it, rather than that something is unreachable.
pub(crate) struct Attended {
    app: Arc<App>,
    id: BoxId,
    guest: Arc<dyn Guest>,
}

impl Attended {
    pub(crate) fn new(app: Arc<App>, id: BoxId, guest: Arc<dyn Guest>) -> Self {
        Self { app, id, guest }
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

    async fn explained<T>(&self, answer: Result<T, Problem>) -> Result<T, Problem> {
        match answer {
            Err(problem) if problem.code == ErrorCode::AgentUnreachable => {
                Err(explain(&self.app, &self.id, problem).await)
            }
            answer => answer,
        }
    }
}

/// What to tell a caller whose call found no agent.
pub(crate) async fn explain(app: &App, id: &BoxId, problem: Problem) -> Problem {
    app.guests.forget(id);
    let word = match app.backend.status(id).await {
        Ok(BoxStatus { state: BoxState::Stopped, .. }) => "is stopped",
        Ok(BoxStatus { state: BoxState::Failed, .. }) => "has failed",
        Ok(BoxStatus { state: BoxState::Running | BoxState::Starting, .. }) => return problem,
        Err(error) => {
            tracing::warn!(box_id = %id, error = %error, "status_unknown");
            return problem;
        }
    };
    Problem::new(ErrorCode::NotRunning, format!("box {id} {word}"))
        .with_hint(format!("start it with `devbox start {id}`"))
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Files for Attended {
    async fn read(&self, grant: &Grant, request: ReadRequest) -> Result<FileContent, Problem> {
        self.prompt(self.guest.read(grant, request)).await
    }

    async fn write(&self, grant: &Grant, request: WriteRequest, body: Body) -> Result<Written, Problem> {
        self.explained(self.guest.write(grant, request, body).await).await
    }

    async fn stat(&self, grant: &Grant, path: BoxPath, follow: bool) -> Result<Entry, Problem> {
        self.prompt(self.guest.stat(grant, path, follow)).await
    }

    async fn list(&self, grant: &Grant, request: ListRequest) -> Result<ListPage, Problem> {
        self.prompt(self.guest.list(grant, request)).await
    }

    async fn walk(&self, grant: &Grant, request: ListRequest) -> Result<EntryStream, Problem> {
        self.prompt(self.guest.walk(grant, request)).await
    }

    async fn apply(&self, grant: &Grant, operations: Vec<Operation>) -> Result<Report, Problem> {
        // Copies and recursive deletes take as long as they take.
        self.explained(self.guest.apply(grant, operations).await).await
    }

    async fn write_many(&self, grant: &Grant, parts: UploadParts) -> Result<Report, Problem> {
        self.explained(self.guest.write_many(grant, parts).await).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Archives for Attended {
    async fn pack(&self, grant: &Grant, request: ArchiveRequest) -> Result<Body, Problem> {
        self.prompt(self.guest.pack(grant, request)).await
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
        self.prompt(self.guest.run(grant, request, input)).await
    }

    async fn processes(&self, grant: &Grant) -> Result<Vec<ProcessSummary>, Problem> {
        self.prompt(self.guest.processes(grant)).await
    }

    async fn signal(&self, grant: &Grant, id: ProcessId, request: SignalRequest) -> Result<(), Problem> {
        self.prompt(self.guest.signal(grant, id, request)).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a decorator forwards every call")]
#[async_trait]
impl Guest for Attended {
    async fn greet(&self) -> Result<AgentGreeting, Problem> {
        self.prompt(self.guest.greet()).await
    }
}
