//! Ids of requests whose clients chose none.

use std::sync::atomic::{AtomicU64, Ordering};

use devbox_types::RequestId;
use http::{HeaderMap, HeaderName};

use crate::error::ServerError;

/// The header that carries one.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes ids that no other request, of this or another start, has: random bits of this start, and a count.
#[derive(Debug)]
pub(crate) struct RequestIds {
    start: [u8; 5],
    count: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Result<Self, ServerError> {
        let mut start = [0; 5];
        getrandom::fill(&mut start).map_err(|source| ServerError::Random { source })?;
        Ok(Self { start, count: AtomicU64::new(0) })
    }

    /// The id that the client chose, if it chose a valid one, or the next of ours.
    pub(crate) fn of(&self, headers: &HeaderMap) -> RequestId {
        let chosen = headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok()?.parse().ok());
        chosen.unwrap_or_else(|| self.next())
    }

    fn next(&self) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut bits = [0; 10];
        bits[..5].copy_from_slice(&self.start);
        bits[5..].copy_from_slice(&count[3..]);
        RequestId::from_random(bits)
    }
}
