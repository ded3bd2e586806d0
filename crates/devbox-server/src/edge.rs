//! Where requests come in and answers go out.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use axum::{Router, response::IntoResponse as _};
use devbox_router::{Failure, GuestHandle};
use devbox_types::{ErrorCode, Grant, Problem, RequestId};
use futures_util::FutureExt as _;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Request, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tower::Service as _;

use crate::allotment::{Allotment, Direction};
use crate::answer::Answer;
use crate::app::{Actor, App};
use crate::auth::{authenticate, find_box, rights_of};
use crate::body::{Pace, Paced, Received, linger};
use crate::guard::guarded;
use crate::idle::Idle;
use crate::metrics::{Metrics, OpenRequest, RouteLabels};
use crate::refusal::{Refusal, complete_headers};
use crate::request_id::X_REQUEST_ID;
use crate::route::{Area, Place, method_label};

/// Where a grant travels between server and agent. From outside it is ignored: callers do not choose their rights.
const DEVBOX_GRANT: HeaderName = HeaderName::from_static("devbox-grant");

/// The service behind every connection: gives each request an id, measures it, finds out where it belongs, and makes an
/// answer of whatever happens.
#[derive(Clone)]
pub(crate) struct Edge {
    app: Arc<App>,
    control: Router,
    guest: Router,
    idle: Idle,
}

impl Edge {
    pub(crate) fn new(app: Arc<App>, control: Router, guest: Router) -> Self {
        Self { app, control, guest, idle: Idle::new() }
    }

    /// The same for one connection, and what tells whether that is idle.
    pub(crate) fn for_connection(&self) -> (Self, Idle) {
        let idle = Idle::new();
        (Self { idle: idle.clone(), ..self.clone() }, idle)
    }

    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.app.metrics)
    }

    async fn serve(self, request: Request<Incoming>) -> Response<Answer> {
        let busy = self.idle.begin();
        let shared_connection = request.version() >= Version::HTTP_2;
        let (mut parts, body) = request.into_parts();
        let place = Place::of(parts.uri.path());
        let labels = RouteLabels { method: method_label(&parts.method), route: place.label() };
        let mut open = OpenRequest::begin(&self.app.metrics, labels, &parts.headers);
        let request_id = self.app.request_ids.of(&parts.headers);
        // The input of a process may pause for as long as it likes.
        let interactive = matches!(place, Place::Guest { area: Area::Processes, .. });
        let pause = (!interactive).then_some(self.app.config.timeouts.body_pause);
        parts.extensions.insert(request_id.clone());
        let body = Body::new(Received::new(body, Arc::clone(&self.app.metrics), labels.route, pause));
        let request = Request::from_parts(parts, body);

        let mut pace = None;
        let answer = self.answer(request, &request_id, &mut open, &mut pace);
        let answer = AssertUnwindSafe(answer).catch_unwind().await;
        let mut response = answer.unwrap_or_else(|panic| Refusal::of_panic(&*panic).into_response());
        if let Some(refusal) = refusal_in(&mut response) {
            refusal.render(&request_id, &mut response);
        }
        complete_headers(&mut response);
        if let Ok(id) = HeaderValue::from_str(request_id.as_str()) {
            response.headers_mut().insert(X_REQUEST_ID, id);
        }
        open.answered(&response);
        tracing::debug!(request_id = %request_id, route = labels.route, status = response.status().as_u16(), "answered");
        let answer = response.map(|body| Answer::new(body, pace, open, busy));
        if shared_connection {
            answer.map(|answer| answer.watched(self.app.config.timeouts.answer_pause))
        } else {
            answer
        }
    }

    async fn answer(
        &self,
        request: Request<Body>,
        request_id: &RequestId,
        open: &mut OpenRequest,
        pace: &mut Option<Pace>,
    ) -> Response {
        match Place::of(request.uri().path()) {
            Place::Control(_) => infallible(self.control.clone().call(request).await),
            Place::Guest { reference, rest, .. } => {
                let (reference, rest) = (reference.to_owned(), rest.to_owned());
                let mut request = request;
                match self.admit(&mut request, &reference, &rest, request_id) {
                    Ok(Admitted { place, allotment }) => {
                        open.hold(place);
                        *pace = Pace::of(&allotment, Direction::Out);
                        if let Some(pace) = Pace::of(&allotment, Direction::In) {
                            request = request.map(|body| Body::new(Paced::new(body, pace)));
                        }
                        infallible(self.guest.clone().call(request).await)
                    }
                    Err(refusal) => {
                        linger(request);
                        refusal.into_response()
                    }
                }
            }
        }
    }

    /// Prepares a request for the guest router: whose it is, which box it means, through which guards it gets there.
    fn admit(
        &self,
        request: &mut Request<Body>,
        reference: &str,
        rest: &str,
        request_id: &RequestId,
    ) -> Result<Admitted, Refusal> {
        let (key, allotment) = authenticate(&self.app, request.headers())?;
        if !request.body().is_end_stream() {
            allotment.admit_content(Direction::In).map_err(Refusal::passing)?;
        }
        let place = allotment.open_request().map_err(Refusal::passing)?;
        let record = find_box(&self.app.store, &key, reference)?;
        let grant = Grant {
            rights: rights_of(key.role),
            max_bytes: Some(self.app.config.limits.max_transfer_bytes),
            request_id: Some(request_id.clone()),
            ..Grant::whole_box()
        };
        let actor = Actor { key, request_id: request_id.clone() };
        *request.uri_mut() = below(request.uri(), rest)?;
        request.headers_mut().remove(DEVBOX_GRANT);
        request.extensions_mut().insert(grant);
        request.extensions_mut().insert(GuestHandle(guarded(&self.app, actor, record)));
        Ok(Admitted { place, allotment })
    }
}

/// What a request into a box has been given.
struct Admitted {
    /// Its place among the open requests of its key.
    place: OwnedSemaphorePermit,
    allotment: Arc<Allotment>,
}

/// The target as the guest router knows it: without what names the box, byte for byte otherwise.
fn below(uri: &Uri, rest: &str) -> Result<Uri, Refusal> {
    let target = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{rest}?{query}")),
        None => PathAndQuery::try_from(rest),
    };
    target
        .map(Uri::from)
        .map_err(|_| Refusal::new(ErrorCode::InvalidRequest, "the request target is malformed"))
}

fn infallible(answer: Result<Response, Infallible>) -> Response {
    match answer {
        Ok(response) => response,
    }
}

/// The problem that an answer is, whether a control route made it or the guest router.
fn refusal_in(response: &mut Response) -> Option<Refusal> {
    let extensions = response.extensions_mut();
    let guest = extensions.remove::<Failure>().map(|Failure(problem)| Refusal::passing(problem));
    guest.or_else(|| extensions.remove::<Refusal>())
}

impl hyper::service::Service<Request<Incoming>> for Edge {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let edge = self.clone();
        Box::pin(async move { Ok(edge.serve(request).await) })
    }
}

/// What leads nowhere.
pub(crate) async fn no_such_route() -> Refusal {
    Refusal::passing(
        Problem::new(ErrorCode::NotFound, "there is nothing at this address")
            .with_hint("see /openapi.json for what there is"),
    )
}

/// What is there, but not with this method.
pub(crate) async fn no_such_method() -> Refusal {
    Refusal::new(ErrorCode::MethodNotAllowed, "this resource does not take this method")
        .with_hint("see /openapi.json for the methods that it takes")
}
