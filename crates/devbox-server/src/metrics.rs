//! Counts for whoever watches the server.

mod transfers;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Instant;

use devbox_types::devbox::BoxState;
use http::{HeaderMap, Response, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::OwnedSemaphorePermit;

use self::transfers::{Traits, Transfers};
use crate::allotment::Excess;

/// The media type of [`Metrics::text`].
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From 100 µs to 105 s, in steps of 4: small file calls take a fraction of a millisecond, runs and large files minutes.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 4.0, 11))
}

/// What a request is counted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RouteLabels {
    pub(crate) method: &'static str,
    pub(crate) route: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    method: &'static str,
    route: &'static str,
    code: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StallLabels {
    of: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

/// What did not go on, until it was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stall {
    /// The client did not send its request's body.
    Request,
    /// The client did not read its answer.
    Answer,
    /// The agent of the box showed no sign of life.
    Agent,
}

impl Stall {
    fn label(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Answer => "answer",
            Self::Agent => "agent",
        }
    }
}

/// All counts of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<AnswerLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    transfers: Transfers,
    refusals: Family<RefusalLabels, Counter>,
    stalls: Family<StallLabels, Counter>,
    bytes_in: Counter,
    bytes_out: Counter,
    open: Gauge<i64, AtomicI64>,
    connections: Gauge<i64, AtomicI64>,
    boxes: Family<StateLabels, Gauge<i64, AtomicI64>>,
    audit_free: Gauge<i64, AtomicI64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("devbox");
        let requests = Family::default();
        registry.register("requests", "Requests answered", requests.clone());
        let durations = Family::new_with_constructor(durations as fn() -> Histogram);
        registry.register_with_unit(
            "request_duration",
            "From the head of the request to the end of the answer",
            Unit::Seconds,
            durations.clone(),
        );
        let transfers = Transfers::new(&mut registry);
        let refusals = Family::default();
        registry.register("refusals", "Requests beyond what their key may, by the limit", refusals.clone());
        let stalls = Family::default();
        registry.register("stalls", "Calls ended because one side did not go on, by which", stalls.clone());
        let bytes_in = Counter::default();
        registry.register("received_bytes", "Bytes of request bodies", bytes_in.clone());
        let bytes_out = Counter::default();
        registry.register("sent_bytes", "Bytes of answers", bytes_out.clone());
        let open = Gauge::default();
        registry.register("open_requests", "Requests whose answers are not complete", open.clone());
        let connections = Gauge::default();
        registry.register("open_connections", "Connections from clients", connections.clone());
        let boxes = Family::default();
        registry.register("boxes", "Boxes, when last looked at", boxes.clone());
        let audit_free = Gauge::default();
        registry.register("audit_free_slots", "Places left in the audit queue", audit_free.clone());
        Self {
            registry,
            requests,
            durations,
            transfers,
            refusals,
            stalls,
            bytes_in,
            bytes_out,
            open,
            connections,
            boxes,
            audit_free,
        }
    }

    pub(crate) fn received(&self, route: &'static str, bytes: u64) {
        self.bytes_in.inc_by(bytes);
        self.transfers.received(route, bytes);
    }

    pub(crate) fn refused(&self, excess: Excess) {
        self.refusals.get_or_create(&RefusalLabels { reason: excess.label() }).inc();
    }

    pub(crate) fn stalled(&self, stall: Stall) {
        self.stalls.get_or_create(&StallLabels { of: stall.label() }).inc();
    }

    pub(crate) fn connection_opened(&self) {
        self.connections.inc();
    }

    pub(crate) fn connection_closed(&self) {
        self.connections.dec();
    }

    /// Everything as text. What only a look can tell is passed in.
    pub(crate) fn text(&self, states: &[(BoxState, i64)], audit_free: usize) -> String {
        for (state, count) in states {
            self.boxes.get_or_create(&StateLabels { state: state_label(*state) }).set(*count);
        }
        self.audit_free.set(i64::try_from(audit_free).unwrap_or(i64::MAX));
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing to a String does not fail.
            Err(std::fmt::Error) => String::new(),
        }
    }
}

fn state_label(state: BoxState) -> &'static str {
    match state {
        BoxState::Starting => "starting",
        BoxState::Running => "running",
        BoxState::Stopped => "stopped",
        BoxState::Failed => "failed",
    }
}

/// One request from its head to the end of its answer: counted when this is dropped.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    metrics: Arc<Metrics>,
    labels: RouteLabels,
    began: Instant,
    status: StatusCode,
    traits: Traits,
    /// Its place among those of its key.
    place: Option<OwnedSemaphorePermit>,
}

impl OpenRequest {
    pub(crate) fn begin(metrics: &Arc<Metrics>, labels: RouteLabels, headers: &HeaderMap) -> Self {
        metrics.open.inc();
        if transfers::is_repeated(headers) {
            metrics.transfers.repeated(labels);
        }
        let traits = Traits::of_request(headers);
        // 499, as nginx has it: the client went away before there was an answer.
        let status = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
        Self { metrics: Arc::clone(metrics), labels, began: Instant::now(), status, traits, place: None }
    }

    pub(crate) fn answered<B>(&mut self, response: &Response<B>) {
        self.status = response.status();
        self.traits = self.traits.with_answer(response.headers());
    }

    /// Bytes of the answer went out.
    pub(crate) fn sent(&self, bytes: u64) {
        self.metrics.bytes_out.inc_by(bytes);
        self.metrics.transfers.sent(self.labels, bytes);
    }

    /// Holds the request's place among those of its key, as long as it is open.
    pub(crate) fn hold(&mut self, place: OwnedSemaphorePermit) {
        self.place = Some(place);
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let RouteLabels { method, route } = self.labels;
        self.metrics.open.dec();
        let took = self.began.elapsed();
        self.metrics.durations.get_or_create(&self.labels).observe(took.as_secs_f64());
        self.metrics.transfers.ended(self.labels, self.status, self.traits, took);
        let answer = AnswerLabels { method, route, code: self.status.as_u16() };
        self.metrics.requests.get_or_create(&answer).inc();
    }
}
