//! Sending a request over whichever connection there is.

use std::sync::Arc;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, Uri, header};
use hyper::body::Incoming;

use super::connection::{AnswerBody, Driver, Http1, Sending};
use super::error::SendError;
use super::pool::Pool;
use crate::body::Body;
use crate::transport::{Protocol, Transport};

/// An HTTP client of one peer: a pool of HTTP/1.1 connections, or one HTTP/2 connection, as the transport has it.
/// Clones share them.
#[derive(Debug, Clone)]
pub struct HttpClient {
    pool: Arc<Pool>,
    authority: Authority,
    host: HeaderValue,
}

/// Who polls a connection while an answer's body is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exchange {
    /// The reader of the answer: the request's body has been sent by then, or is of no interest any more.
    OneWay,
    /// A task: both bodies stream at once.
    Duplex,
}

impl HttpClient {
    /// A client of the peer at the other end of `transport`; `authority` (`host` or `host:port`) goes into each request.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, authority: Authority) -> Self {
        // An authority is made of visible ASCII.
        let host =
            HeaderValue::from_str(authority.as_str()).unwrap_or_else(|_| HeaderValue::from_static("devbox"));
        Self { pool: Arc::new(Pool::new(transport)), authority, host }
    }

    /// A client of a peer that does not care for its own name, such as an agent.
    #[must_use]
    pub fn nameless(transport: Arc<dyn Transport>) -> Self {
        Self::new(transport, Authority::from_static("devbox"))
    }

    /// Sends a request, whose target is a path and a query, and waits for the head of the answer.
    ///
    /// A connection that died while it was idle is replaced unseen: if nothing of the request was sent, or it is a
    /// `GET` or `HEAD`. Dropping the future, or the answer's body, closes the connection and so ends the call.
    ///
    /// # Errors
    /// [`SendError`]; see there for what may be sent again.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Body>, SendError> {
        self.exchange(request, Exchange::OneWay).await
    }

    /// The same for an exchange in which both bodies stream at once.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_duplex(&self, request: Request<Body>) -> Result<Response<Body>, SendError> {
        self.exchange(request, Exchange::Duplex).await
    }

    async fn exchange(&self, request: Request<Body>, kind: Exchange) -> Result<Response<Body>, SendError> {
        match (self.pool.transport.protocol(), kind) {
            (Protocol::Http1Pool, Exchange::OneWay) => self.exchange_http1(request, kind, None).await,
            (Protocol::Http1Pool, Exchange::Duplex) => {
                let (request, sending) = tied(request);
                self.exchange_http1(request, kind, sending).await
            }
            (Protocol::Http2Single, _) => {
                let (request, sending) = tied(request);
                self.exchange_http2(request, sending).await
            }
        }
    }

    async fn exchange_http1(
        &self,
        mut request: Request<Body>,
        kind: Exchange,
        sending: Option<Sending>,
    ) -> Result<Response<Body>, SendError> {
        request.headers_mut().entry(header::HOST).or_insert_with(|| self.host.clone());
        while let Some(mut connection) = self.pool.take_idle() {
            let again = copy_if_repeatable(&request);
            match connection.exchange(request).await {
                Ok(answer) => return Ok(self.answer(answer, connection, kind, sending)),
                // Connections that are idle die together, when their peer restarts: go on until there is none.
                Err(mut failed) => match failed.take_message().or(again) {
                    Some(unsent) if !failed.error().is_parse() => request = unsent,
                    _ => return Err(SendError::of(failed.into_error())),
                },
            }
        }
        let mut connection = self.pool.open().await?;
        match connection.exchange(request).await {
            Ok(answer) => Ok(self.answer(answer, connection, kind, sending)),
            Err(failed) => Err(SendError::of(failed.into_error())),
        }
    }

    fn answer(
        &self,
        answer: Response<Incoming>,
        connection: Box<Http1>,
        kind: Exchange,
        sending: Option<Sending>,
    ) -> Response<Body> {
        let driver = Driver::Inline { connection, pool: Arc::clone(&self.pool) };
        let driver = if kind == Exchange::Duplex { driver.detach() } else { driver };
        answer.map(|incoming| AnswerBody::new(incoming, driver, sending).into_body())
    }

    async fn exchange_http2(
        &self,
        mut request: Request<Body>,
        mut sending: Option<Sending>,
    ) -> Result<Response<Body>, SendError> {
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(target.unwrap_or_else(|| PathAndQuery::from_static("/")))
            .build()
            .map_err(|source| SendError::Request { source })?;
        let answer = match &mut sending {
            None => self.answer_of_http2(request).await?,
            Some(sending) => tokio::select! {
                biased;
                // First: it is the cause of whatever the answer then says.
                problem = sending.failure() => return Err(SendError::Content(problem)),
                answer = self.answer_of_http2(request) => answer?,
            },
        };
        Ok(answer.map(|incoming| AnswerBody::new(incoming, Driver::Task, sending).into_body()))
    }

    async fn answer_of_http2(&self, request: Request<Body>) -> Result<Response<Incoming>, SendError> {
        let again = copy_if_repeatable(&request);
        match self.pool.http2().await?.try_send_request(request).await {
            Ok(answer) => Ok(answer),
            // The connection may have ended unseen: once more, on a new one.
            Err(mut failed) => match failed.take_message().or(again) {
                Some(unsent) => self.pool.http2().await?.send_request(unsent).await.map_err(SendError::of),
                None => Err(SendError::of(failed.into_error())),
            },
        }
    }
}

/// Ties a body that a task will send to the call that it belongs to. What is in memory is sent in one go anyway.
fn tied(request: Request<Body>) -> (Request<Body>, Option<Sending>) {
    if request.body().as_bytes().is_some() {
        return (request, None);
    }
    let (head, body) = request.into_parts();
    let (body, sending) = Sending::tie(body);
    (Request::from_parts(head, body), Some(sending))
}

/// A copy of a request that may be sent twice: it reads only, and has no body.
fn copy_if_repeatable(request: &Request<Body>) -> Option<Request<Body>> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let empty = request.body().as_bytes().is_some_and(bytes::Bytes::is_empty);
    if !reads || !empty {
        return None;
    }
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
