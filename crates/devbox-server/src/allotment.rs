//! What each key may use of the server: how much at once, and how much a second.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use devbox_store::KeyRecord;
use devbox_types::{ErrorCode, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;
use crate::metrics::Metrics;
use crate::rate::Meter;

/// From how much debt on new content is refused rather than slowed down: a caller who would wait longer than this for its
/// first byte is better told so.
const LARGE_DEBT: Duration = Duration::from_secs(10);

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client.
    In,
    /// To the client.
    Out,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// Too many requests a second.
    RequestRate,
    /// Too many bytes a second, for some time.
    ByteRate,
    /// Too many requests at once.
    OpenRequests,
    /// Too many transfers at once.
    OpenTransfers,
}

impl Excess {
    /// Its name in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::RequestRate => "request_rate",
            Self::ByteRate => "byte_rate",
            Self::OpenRequests => "open_requests",
            Self::OpenTransfers => "open_transfers",
        }
    }

    fn problem(self) -> Problem {
        let (detail, hint) = match self {
            Self::RequestRate => (
                "this key sends more requests a second than it may",
                "send fewer requests, or put several files or operations into one",
            ),
            Self::ByteRate => (
                "this key has moved more bytes than it may, and has to wait until they are made up for",
                "wait as long as `Retry-After` says, or move fewer bytes at a time",
            ),
            Self::OpenRequests => {
                ("this key has as many requests open as it may", "wait until one of them is complete")
            }
            Self::OpenTransfers => {
                ("this key has as many transfers open as it may", "wait until one of them is complete")
            }
        };
        Problem::new(ErrorCode::RateLimited, detail).with_hint(hint)
    }
}

/// What one key may use, and what of it is in use.
#[derive(Debug)]
pub(crate) struct Allotment {
    transfers: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    request_rate: Option<Meter>,
    received: Option<Meter>,
    sent: Option<Meter>,
    metrics: Arc<Metrics>,
}

impl Allotment {
    /// Counts a request against the rate.
    ///
    /// # Errors
    /// `rate_limited`, with the time until the next one may come.
    pub(crate) fn admit(&self) -> Result<(), Problem> {
        let admitted = self.request_rate.as_ref().map_or(Ok(()), Meter::take_one);
        admitted.map_err(|pause| self.refuse(Excess::RequestRate).with_retry_after(pause))
    }

    /// A place for a request into a box, until it is complete.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(crate) fn open_request(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.requests).try_acquire_owned();
        place.map_err(|_| self.refuse(Excess::OpenRequests))
    }

    /// Whether content may begin to go this way: what is let in is slowed down where it has to be, and never cut off.
    ///
    /// # Errors
    /// `rate_limited`: the debt of earlier content this way is large; with the time until it is not.
    pub(crate) fn admit_content(&self, direction: Direction) -> Result<(), Problem> {
        let debt = self.bytes(direction).map_or(Duration::ZERO, Meter::debt);
        if debt <= LARGE_DEBT {
            return Ok(());
        }
        Err(self.refuse(Excess::ByteRate).with_retry_after(debt.saturating_sub(LARGE_DEBT)))
    }

    /// A place for a transfer, until its last byte.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(crate) fn open_transfer(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.transfers).try_acquire_owned();
        place.map_err(|_| self.refuse(Excess::OpenTransfers))
    }

    /// What counts the bytes that go this way, if they are limited.
    pub(crate) fn bytes(&self, direction: Direction) -> Option<&Meter> {
        match direction {
            Direction::In => self.received.as_ref(),
            Direction::Out => self.sent.as_ref(),
        }
    }

    fn refuse(&self, excess: Excess) -> Problem {
        self.metrics.refused(excess);
        excess.problem()
    }
}

/// The allotments of all keys that were used since the server started.
#[derive(Debug)]
pub(crate) struct Allotments {
    limits: Limits,
    metrics: Arc<Metrics>,
    by_key: RwLock<HashMap<String, Arc<Allotment>>>,
}

impl Allotments {
    pub(crate) fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self { limits, metrics, by_key: RwLock::default() }
    }

    /// The allotment of this key.
    pub(crate) fn of(&self, key: &KeyRecord) -> Arc<Allotment> {
        if let Some(known) = self.by_key.read().unwrap_or_else(PoisonError::into_inner).get(&key.id) {
            return Arc::clone(known);
        }
        let mut by_key = self.by_key.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(by_key.entry(key.id.clone()).or_insert_with(|| Arc::new(self.allot())))
    }

    /// Forgets a key that is revoked.
    pub(crate) fn forget(&self, key_id: &str) {
        self.by_key.write().unwrap_or_else(PoisonError::into_inner).remove(key_id);
    }

    fn allot(&self) -> Allotment {
        let limits = &self.limits;
        let bytes = limits.bytes_per_key;
        Allotment {
            transfers: Arc::new(Semaphore::new(limits.max_transfers_per_key)),
            requests: Arc::new(Semaphore::new(limits.max_requests_per_key)),
            request_rate: limits.requests_per_key.map(Meter::new),
            received: bytes.map(Meter::new),
            sent: bytes.map(Meter::new),
            metrics: Arc::clone(&self.metrics),
        }
    }
}
