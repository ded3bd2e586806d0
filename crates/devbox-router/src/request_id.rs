//! The id of a request: on its answer, in its problem, in the grant of its calls.

use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::response::Response;
use devbox_guest::wire;
use devbox_types::RequestId;
use http::{HeaderValue, Request};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::failure;

/// Takes the `X-Request-Id` that the client chose, if it is one, or makes one; hands it on as a [`RequestId`] among the
/// request's extensions, and writes it on the answer and into the answer's problem.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestIdLayer;

impl<S> Layer<S> for RequestIdLayer {
    type Service = RequestIdService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestIdService { inner }
    }
}

/// The service that [`RequestIdLayer`] makes.
#[derive(Debug, Clone)]
pub struct RequestIdService<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for RequestIdService<S>
where
    S: Service<Request<B>, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = NamedResponse<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let given = request.headers().get(&wire::REQUEST_ID).and_then(|value| value.to_str().ok());
        let id: RequestId = given.and_then(|text| text.parse().ok()).unwrap_or_else(fresh);
        request.extensions_mut().insert(id.clone());
        NamedResponse { response: self.inner.call(request), id: Some(id) }
    }
}

pin_project! {
    /// A response that is given its request's id when it comes.
    #[derive(Debug)]
    pub struct NamedResponse<F> {
        #[pin]
        response: F,
        id: Option<RequestId>,
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for NamedResponse<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.response.poll(context))?;
        if let Some(id) = this.id.take() {
            failure::name_request(&mut response, &id);
            if let Ok(value) = HeaderValue::from_str(id.as_str()) {
                response.headers_mut().insert(wire::REQUEST_ID, value);
            }
        }
        Poll::Ready(Ok(response))
    }
}

/// A new id: five bytes drawn when the process started, and a count. Unique without a system call per request.
fn fresh() -> RequestId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static PROCESS: LazyLock<[u8; 5]> = LazyLock::new(|| {
        let mut bits = [0; 5];
        // Without random numbers, ids of two processes may be the same: they only serve to find log lines.
        let _ = getrandom::fill(&mut bits);
        bits
    });
    let count = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let mut bits = [0; 10];
    bits[..5].copy_from_slice(&*PROCESS);
    bits[5..].copy_from_slice(&count[3..]);
    RequestId::from_random(bits)
}
