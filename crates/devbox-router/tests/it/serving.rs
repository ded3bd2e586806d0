//! Serving a router to tests: by calls, or over real byte streams with either version of HTTP.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use devbox_guest::{Connection, Guest, GuestClient, Protocol, StreamTransport, Transport};
use devbox_router::agent_router;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tower::ServiceExt as _;

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) head: http::response::Parts,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("json")
    }

    /// The code of the problem that it is, after checking what every problem has.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status());
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        problem["code"].as_str().expect("a code").to_owned()
    }
}

/// Makes one request of an agent's router over this guest.
pub(crate) async fn ask(guest: Arc<dyn Guest>, request: Request<Body>) -> Answer {
    ask_router(agent_router(guest), request).await
}

pub(crate) async fn ask_router(router: Router, request: Request<Body>) -> Answer {
    let response: Response<Body> = router.oneshot(request).await.expect("a router does not fail");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
    Answer { head, body }
}

pub(crate) fn get(target: &str) -> Request<Body> {
    Request::get(target).body(Body::empty()).expect("a request")
}

/// Opens byte streams whose other ends a router serves, one task each.
pub(crate) struct Loopback {
    pub(crate) router: Router,
}

#[async_trait]
impl Transport for Loopback {
    async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let service = TowerToHyperService::new(self.router.clone());
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service));
        Ok(Box::new(near))
    }

    fn protocol(&self) -> Protocol {
        Protocol::Http1Pool
    }
}

/// A client of this guest over HTTP/1.1.
pub(crate) fn over_http1(guest: Arc<dyn Guest>) -> GuestClient {
    GuestClient::to_agent(Arc::new(Loopback { router: agent_router(guest) }))
}

/// A client of this guest over one HTTP/2 stream.
pub(crate) fn over_http2(guest: Arc<dyn Guest>) -> GuestClient {
    let (near, far) = tokio::io::duplex(64 << 10);
    let service = TowerToHyperService::new(agent_router(guest));
    tokio::spawn(
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(256 << 10)
            .serve_connection(TokioIo::new(far), service),
    );
    GuestClient::to_agent(Arc::new(StreamTransport::new(near)))
}
