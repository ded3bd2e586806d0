//! One call on the server: sent, repeated where that is right, and its answer read.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devbox_guest::{
    Body, BodyError, GrantMode, Guest, GuestClient, HttpClient, Patience, SendError, Transport,
};
use devbox_types::{BoxId, Problem};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::ClientConfig;
use crate::endpoint::{Endpoint, EndpointError};
use crate::error::ClientError;
use crate::retry::RetryPolicy;
use crate::transport::{TcpTransport, TlsTransport};

/// The longest answer about boxes and keys that is read: a full page of boxes with full labels stays far below.
const ANSWER_LIMIT: usize = 16 << 20;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// When a call may be sent a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Whatever happened: doing it twice is doing it once.
    Always,
    /// Only if the server did not get it, or turned it away.
    IfUnsent,
}

/// A call, ready to be sent any number of times.
pub(crate) struct Call {
    method: Method,
    path: String,
    body: Option<Bytes>,
    idempotency_key: Option<HeaderValue>,
    repeat: Repeat,
    needs_key: bool,
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>, repeat: Repeat) -> Self {
        let idempotency_key = (method == Method::POST).then(random_key);
        Self { method, path: path.into(), body: None, idempotency_key, repeat, needs_key: true }
    }

    pub(crate) fn with_json(self, body: &impl Serialize) -> Result<Self, ClientError> {
        let bytes = serde_json::to_vec(body).map_err(|source| ClientError::Unwritable { source })?;
        Ok(Self { body: Some(bytes.into()), ..self })
    }

    pub(crate) fn without_key(self) -> Self {
        Self { needs_key: false, ..self }
    }
}

/// How one sending of a call went wrong.
enum Failed {
    /// The server answered: with a problem, or with what is none of ours.
    Answered { error: ClientError, turned_away: bool, retry_after: Option<Duration> },
    /// The server did not get it.
    Unsent(ClientError),
    /// It may have got it.
    Broken(ClientError),
}

/// Sends calls to one server.
#[derive(Debug)]
pub(crate) struct Caller {
    http: HttpClient,
    endpoint: Endpoint,
    authorization: Option<HeaderValue>,
    user_agent: HeaderValue,
    config: ClientConfig,
}

impl Caller {
    pub(crate) fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let endpoint: Endpoint =
            config.url.parse().map_err(|source| ClientError::BadUrl { url: config.url.clone(), source })?;
        let authorization = config.api_key.as_deref().map(bearer).transpose()?;
        let user_agent = HeaderValue::try_from(&config.user_agent).map_err(|_| ClientError::BadUserAgent)?;
        let authority = endpoint
            .authority()
            .parse()
            .map_err(|_| ClientError::BadUrl { url: config.url.clone(), source: EndpointError::NotUrl })?;
        let http = HttpClient::new(transport_to(&endpoint, &config)?, authority);
        Ok(Self { http, endpoint, authorization, user_agent, config })
    }

    pub(crate) fn url(&self) -> String {
        self.endpoint.to_string()
    }

    pub(crate) fn retry(&self) -> RetryPolicy {
        self.config.retry
    }

    pub(crate) fn guest(&self, id: &BoxId) -> Result<Arc<dyn Guest>, ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, self.authorization.clone().ok_or(ClientError::NoApiKey)?);
        headers.insert(USER_AGENT, self.user_agent.clone());
        let base = format!("{}/v1/devboxes/{id}", self.endpoint.prefix());
        let RetryPolicy { attempts, longest_pause, .. } = self.config.retry;
        let guest = GuestClient::over(self.http.clone(), &base, headers, GrantMode::Query);
        let guest = guest.with_coding(self.config.compress);
        Ok(Arc::new(guest.with_patience(Patience { attempts, longest_pause })))
    }

    /// Sends a call and reads its answer.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, ClientError> {
        let (status, answer) = self.send(&call).await?;
        serde_json::from_slice(&answer).map_err(|_| self.bad_answer(&call, status))
    }

    /// Sends a call whose answer says nothing more than that it was done.
    pub(crate) async fn done(&self, call: Call) -> Result<(), ClientError> {
        self.send(&call).await.map(drop)
    }

    async fn send(&self, call: &Call) -> Result<(StatusCode, Bytes), ClientError> {
        if call.needs_key && self.authorization.is_none() {
            return Err(ClientError::NoApiKey);
        }
        let after = self.config.request_timeout;
        let out_of_time = || ClientError::Timeout { url: self.url(), after };
        tokio::time::timeout(after, self.send_patiently(call)).await.map_err(|_| out_of_time())?
    }

    async fn send_patiently(&self, call: &Call) -> Result<(StatusCode, Bytes), ClientError> {
        let mut attempt = 1;
        loop {
            let failed = match self.send_once(call).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let (error, may_repeat, retry_after) = match failed {
                Failed::Answered { error, turned_away, retry_after } => (error, turned_away, retry_after),
                Failed::Unsent(error) => (error, true, None),
                Failed::Broken(error) => (error, call.repeat == Repeat::Always, None),
            };
            let pause = self.config.retry.pause_after(attempt, retry_after, random::<1>()[0]);
            match pause.filter(|_| may_repeat) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
            attempt += 1;
        }
    }

    async fn send_once(&self, call: &Call) -> Result<(StatusCode, Bytes), Failed> {
        let response = self.http.send(self.request(call)?).await.map_err(|error| self.not_sent(error))?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let is_problem = has_type(response.headers(), "application/problem+json");
        let body = response.into_body().collect(ANSWER_LIMIT).await.map_err(|error| match error {
            BodyError::TooLarge { .. } => Failed::Broken(self.bad_answer(call, status)),
            error => Failed::Broken(self.broken(io::Error::other(error))),
        })?;
        if status.is_success() {
            return Ok((status, body));
        }
        let problem = is_problem.then(|| serde_json::from_slice::<Problem>(&body).ok()).flatten();
        let error = problem.map_or_else(|| self.bad_answer(call, status), ClientError::from);
        let turned_away = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        Err(Failed::Answered { error, turned_away, retry_after })
    }

    fn request(&self, call: &Call) -> Result<Request<Body>, Failed> {
        let target = format!("{}{}", self.endpoint.prefix(), call.path);
        let mut request = Request::new(call.body.clone().map_or_else(Body::empty, Body::from_bytes));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() =
            target.parse().map_err(|_| Failed::Unsent(self.bad_answer(call, StatusCode::BAD_REQUEST)))?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, application/problem+json"));
        headers.insert(USER_AGENT, self.user_agent.clone());
        if let Some(authorization) = self.authorization.clone().filter(|_| call.needs_key) {
            headers.insert(AUTHORIZATION, authorization);
        }
        if let Some(key) = call.idempotency_key.clone() {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        if call.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(request)
    }

    fn not_sent(&self, error: SendError) -> Failed {
        match error {
            SendError::Connect { source } => Failed::Unsent(ClientError::Connect { url: self.url(), source }),
            error => Failed::Broken(self.broken(io::Error::other(error))),
        }
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Broken { url: self.url(), source }
    }

    fn bad_answer(&self, call: &Call, status: StatusCode) -> ClientError {
        ClientError::BadAnswer {
            url: self.url(),
            method: call.method.to_string(),
            path: call.path.clone(),
            status: status.as_u16(),
        }
    }
}

/// Escapes a text as a part of a path or as a value of a query.
pub(crate) fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn transport_to(endpoint: &Endpoint, config: &ClientConfig) -> Result<Arc<dyn Transport>, ClientError> {
    let (host, port, timeout) = (endpoint.host(), endpoint.port(), config.connect_timeout);
    Ok(if endpoint.is_tls() {
        Arc::new(TlsTransport::new(host, port, timeout, config.ca_file.as_deref())?)
    } else {
        Arc::new(TcpTransport::new(host, port, timeout))
    })
}

fn bearer(key: &str) -> Result<HeaderValue, ClientError> {
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ClientError::BadApiKey);
    }
    let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| ClientError::BadApiKey)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Seconds only: a date would trust the two clocks to agree.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn has_type(headers: &HeaderMap, media_type: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(media_type)
}

fn random_key() -> HeaderValue {
    let text: String = random::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

pub(crate) fn random<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).expect("the kernel's random numbers are always there");
    bytes
}
