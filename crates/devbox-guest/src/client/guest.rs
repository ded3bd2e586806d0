//! The guest at the far end of a client.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use devbox_types::agent::AgentGreeting;
use devbox_types::{ActingUser, BoxPath, ErrorCode, Grant, Problem, Rights};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use serde::Serialize;
use tokio::time::{sleep, timeout};

use super::answer;
use super::error::SendError;
use super::http::HttpClient;
use crate::body::Body;
use crate::coding::ContentCoding;
use crate::contract::Guest;
use crate::transport::Transport;
use crate::wire::query::TargetWriter;
use crate::wire::{self, json::to_ascii};

/// How long a peer may take to begin its answer to a call that sends and asks for little, if the grant says nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// What to do about a server whose answer is no HTTP.
pub const HINT_OF_TLS: &str = "write the address with https:// if the server has TLS";

/// How a grant travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantMode {
    /// Whole, in a header: to an agent, which trusts whoever may speak to it.
    Header,
    /// Only its user, as a query parameter: to a server, which makes the grant itself. A grant that is narrower than
    /// the caller's key is `unsupported`, for the server would not hear of it.
    Query,
}

impl GrantMode {
    /// What is to be believed of a problem that the peer reports, at whatever place of an answer.
    pub(super) fn believe(self, problem: Problem) -> Problem {
        match self {
            Self::Header if is_of_control_plane(problem.code) => {
                answer::nonsense(format!("an agent cannot answer `{}`", problem.code))
            }
            Self::Header | Self::Query => problem,
        }
    }
}

/// The [`Guest`] contract over HTTP.
///
/// # Cancel safety
/// Dropping a call closes its connection (HTTP/1.1) or resets its stream (HTTP/2); the far side then does what the
/// contract says of a dropped call.
#[derive(Debug, Clone)]
pub struct GuestClient {
    http: HttpClient,
    base: Arc<str>,
    headers: HeaderMap,
    pub(super) mode: GrantMode,
    patience: Patience,
    /// Under which coding the contents of files travel, where they may.
    pub(super) coding: Option<ContentCoding>,
}

/// What is done about a peer that answers `rate_limited` and says how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often a call is sent at the most; 1 means never again.
    pub attempts: u32,
    /// The longest pause that is borne.
    pub longest_pause: Duration,
}

impl Patience {
    /// Every call is sent once.
    pub const NONE: Self = Self { attempts: 1, longest_pause: Duration::ZERO };
}

/// A request head before it is sent.
pub(super) struct Call {
    pub(super) request: Request<Body>,
    deadline: Option<Duration>,
}

impl GuestClient {
    /// The agent at the other end of a transport.
    #[must_use]
    pub fn to_agent(transport: Arc<dyn Transport>) -> Self {
        Self::over(HttpClient::nameless(transport), "/v1", HeaderMap::new(), GrantMode::Header)
    }

    /// A guest over a shared client; `base` is the path of its API without a trailing `/`, `headers` go into each request.
    #[must_use]
    pub fn over(http: HttpClient, base: &str, headers: HeaderMap, mode: GrantMode) -> Self {
        Self { http, base: base.into(), headers, mode, patience: Patience::NONE, coding: None }
    }

    /// The same, sending and asking for the contents of whole files under this coding. An agent is never asked: between it and
    /// a server nothing is gained.
    #[must_use]
    pub fn with_coding(self, coding: Option<ContentCoding>) -> Self {
        Self { coding: coding.filter(|_| self.mode == GrantMode::Query), ..self }
    }

    /// The same, waiting and sending again where the peer asks for it.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Begins the target of a call: the base, the resource, and the path in it.
    pub(super) fn target(&self, resource: &str, path: Option<&BoxPath>) -> TargetWriter {
        let mut target = format!("{}{resource}", self.base);
        if let Some(path) = path {
            // The root's own target is "/".
            target.push_str(&path.to_target());
        }
        TargetWriter::new(target)
    }

    /// Makes the request of a call.
    pub(super) fn call(
        &self,
        grant: &Grant,
        method: Method,
        mut target: TargetWriter,
        body: Body,
    ) -> Result<Call, Problem> {
        if self.mode == GrantMode::Query {
            check_whole(grant)?;
            if grant.user != ActingUser::Default {
                target.pair("user", &grant.user);
            }
        }
        let target = Bytes::from(target.finish());
        let uri = http::Uri::from_maybe_shared(target).map_err(|_| unwritable("the path"))?;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        if let Some(id) = &grant.request_id {
            headers.insert(wire::REQUEST_ID, header_value(id.to_string())?);
        }
        if self.mode == GrantMode::Query && grant.attempt > 1 {
            headers.insert(wire::ATTEMPT, HeaderValue::from(grant.attempt));
        }
        if self.mode == GrantMode::Header {
            headers.insert(wire::GRANT, header_value(to_ascii(grant).map_err(|_| unwritable("the grant"))?)?);
        }
        Ok(Call { request, deadline: grant.deadline_ms.map(Duration::from_millis) })
    }

    /// Makes the request of a call that has its effect once, if the grant has a key for it.
    pub(super) fn keyed_call(
        &self,
        grant: &Grant,
        method: Method,
        mut target: TargetWriter,
        body: Body,
    ) -> Result<Call, Problem> {
        let Some(key) = &grant.idempotency_key else { return self.call(grant, method, target, body) };
        // To an agent, the key itself goes within the grant.
        target.flag(wire::IDEMPOTENT, self.mode == GrantMode::Header);
        let mut call = self.call(grant, method, target, body)?;
        if self.mode == GrantMode::Query {
            call.text_header(wire::IDEMPOTENCY_KEY, key.to_string())?;
        }
        Ok(call)
    }

    /// Makes the request of a call whose body is JSON.
    pub(super) fn json_call(
        &self,
        grant: &Grant,
        target: TargetWriter,
        value: &impl Serialize,
    ) -> Result<Call, Problem> {
        let body = serde_json::to_vec(value).map_err(|_| unwritable("the body"))?;
        let mut call = self.keyed_call(grant, Method::POST, target, Body::from_bytes(body))?;
        call.header(header::CONTENT_TYPE, HeaderValue::from_static(wire::JSON));
        Ok(call)
    }

    /// Sends a call that has little to send: its answer must begin in time.
    pub(super) async fn send(&self, call: Call, expected: &[StatusCode]) -> Result<Response<Body>, Problem> {
        let limit = call.deadline.unwrap_or(ANSWER_TIMEOUT);
        self.send_patiently(call.request, Some(limit), expected).await
    }

    /// Sends a call whose body takes as long as it takes, unless the grant has a deadline.
    pub(super) async fn send_stream(
        &self,
        call: Call,
        expected: &[StatusCode],
    ) -> Result<Response<Body>, Problem> {
        self.send_patiently(call.request, call.deadline, expected).await
    }

    /// Sends a request, each time within `limit`, and again as long as it is turned away for coming too fast: then nothing of it
    /// was done. Content that is not in memory cannot be sent twice.
    async fn send_patiently(
        &self,
        mut request: Request<Body>,
        limit: Option<Duration>,
        expected: &[StatusCode],
    ) -> Result<Response<Body>, Problem> {
        let mut attempts = 1;
        loop {
            let may_repeat = attempts < self.patience.attempts;
            let again = may_repeat.then(|| copy_if_in_memory(&request)).flatten();
            let sending = self.http.send(request);
            let answer = match limit {
                Some(limit) => self.in_time(limit, sending).await?,
                None => sending.await.map_err(|error| self.unanswered(error))?,
            };
            let problem = match self.checked(answer, expected).await {
                Err(problem) if problem.code == ErrorCode::RateLimited => problem,
                outcome => return outcome,
            };
            let pause = problem.retry_after.filter(|pause| *pause <= self.patience.longest_pause);
            let (Some(pause), Some(unsent)) = (pause, again) else { return Err(problem) };
            sleep(pause).await;
            (request, attempts) = (unsent, attempts + 1);
        }
    }

    /// Sends a call in which both bodies stream at once.
    pub(super) async fn send_duplex(
        &self,
        call: Call,
        expected: &[StatusCode],
    ) -> Result<Response<Body>, Problem> {
        let limit = call.deadline.unwrap_or(ANSWER_TIMEOUT);
        self.checked(self.in_time(limit, self.http.send_duplex(call.request)).await?, expected).await
    }

    async fn in_time(
        &self,
        limit: Duration,
        sending: impl Future<Output = Result<Response<Body>, SendError>>,
    ) -> Result<Response<Body>, Problem> {
        match timeout(limit, sending).await {
            Ok(answer) => answer.map_err(|error| self.unanswered(error)),
            Err(_) => Err(Problem::new(ErrorCode::Timeout, "no answer came in time")),
        }
    }

    /// Why there is no answer. What is no HTTP at all is, from a server, most often TLS.
    fn unanswered(&self, error: SendError) -> Problem {
        let may_be_tls = self.mode == GrantMode::Query && matches!(error, SendError::Malformed { .. });
        let problem = Problem::from(error);
        if may_be_tls { problem.with_hint(HINT_OF_TLS) } else { problem }
    }

    async fn checked(
        &self,
        answer: Response<Body>,
        expected: &[StatusCode],
    ) -> Result<Response<Body>, Problem> {
        answer::expect(answer, expected).await.map_err(|problem| self.mode.believe(problem))
    }
}

impl Call {
    pub(super) fn header(&mut self, name: HeaderName, value: HeaderValue) {
        self.request.headers_mut().insert(name, value);
    }

    /// Its answer may take as long to begin, unless the grant has a deadline.
    pub(super) fn takes_up_to(&mut self, limit: Duration) {
        self.deadline.get_or_insert(limit);
    }

    /// Sends a header, if it is there, under another name.
    pub(super) fn rename_header(&mut self, name: &HeaderName, other: HeaderName) {
        if let Some(value) = self.request.headers_mut().remove(name) {
            self.header(other, value);
        }
    }

    pub(super) fn text_header(&mut self, name: HeaderName, value: String) -> Result<(), Problem> {
        self.header(name, header_value(value)?);
        Ok(())
    }
}

/// A copy of a request whose content is in memory, if it has any.
fn copy_if_in_memory(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(Body::from_bytes(request.body().as_bytes()?.clone()));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

/// Writes several things as one comma-separated header.
pub(super) fn list_of(items: &[impl std::fmt::Display]) -> String {
    let mut list = String::new();
    for item in items {
        let separator = if list.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(list, "{separator}{item}");
    }
    list
}

fn header_value(text: String) -> Result<HeaderValue, Problem> {
    HeaderValue::from_maybe_shared(Bytes::from(text)).map_err(|_| unwritable("a header"))
}

fn unwritable(what: &str) -> Problem {
    Problem::new(ErrorCode::InvalidRequest, format!("{what} cannot be written as HTTP"))
}

/// A server makes its own grants, so it cannot be asked for less than all.
fn check_whole(grant: &Grant) -> Result<(), Problem> {
    let limited = grant.max_bytes.is_some() || grant.max_entries.is_some();
    if !grant.root.is_root() || grant.rights != Rights::all() || limited {
        let detail = "a narrower grant cannot be sent to a server";
        return Err(Problem::new(ErrorCode::Unsupported, detail).with_hint("use a key with fewer rights"));
    }
    Ok(())
}

/// What only a control plane says. From an agent it would be believed to be the server's own word. Quotas are also the
/// box's: its disk's, and that of its processes.
fn is_of_control_plane(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Unauthorized
            | ErrorCode::DevboxNotFound
            | ErrorCode::RuntimeNotFound
            | ErrorCode::KeyNotFound
            | ErrorCode::NotRunning
            | ErrorCode::RateLimited
    )
}

#[async_trait]
impl Guest for GuestClient {
    async fn greet(&self) -> Result<AgentGreeting, Problem> {
        let call = self.call(&Grant::whole_box(), Method::GET, self.target("/agent", None), Body::empty())?;
        answer::json(self.send(call, &[StatusCode::OK]).await?).await
    }
}
