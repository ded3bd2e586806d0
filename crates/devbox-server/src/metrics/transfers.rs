//! Counts of files on their way: whole or in pieces, into boxes and out of them.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::RouteLabels;
use crate::route::{ARCHIVE, FILES, UPLOADS};

/// Which sending of a request this is, as the SDKs tell.
const ATTEMPT: HeaderName = HeaderName::from_static("devbox-attempt");
/// A client that says that it has repeated more often than this says nonsense.
const MAX_ATTEMPT: u32 = 1_000;
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");

/// From 1 ms to 4.7 h, in steps of 4: a piece takes milliseconds, a large file over a slow line hours.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 13))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    event: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

/// What a request says of itself that is counted at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Traits {
    /// It goes on with a download that was cut off.
    resumes: bool,
    /// Its answer says that an upload is complete.
    completes: bool,
}

impl Traits {
    pub(super) fn of_request(headers: &HeaderMap) -> Self {
        Self { resumes: headers.contains_key(header::IF_RANGE), completes: false }
    }

    pub(super) fn with_answer(self, headers: &HeaderMap) -> Self {
        let length = headers.get(UPLOAD_LENGTH);
        Self { completes: length.is_some() && headers.get(UPLOAD_OFFSET) == length, ..self }
    }
}

/// Whether a request says that it was sent before.
pub(super) fn is_repeated(headers: &HeaderMap) -> bool {
    let attempt = headers.get(ATTEMPT).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    attempt.is_some_and(|attempt| (2..=MAX_ATTEMPT).contains(&attempt))
}

/// All counts of transfers.
#[derive(Debug)]
pub(super) struct Transfers {
    uploads: Family<EventLabels, Counter>,
    pieces: Family<ResultLabels, Counter>,
    upload_bytes: Counter,
    upload_resumes: Counter,
    downloads: Family<ResultLabels, Counter>,
    download_bytes: Counter,
    retries: Family<RouteLabels, Counter>,
    durations: Family<DirectionLabels, Histogram>,
}

impl Transfers {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let uploads = Family::default();
        registry.register(
            "uploads",
            "Uploads in pieces, parts of files included, by what happened",
            uploads.clone(),
        );
        let pieces = Family::default();
        registry.register("upload_pieces", "Pieces of uploads, by how they ended", pieces.clone());
        let upload_bytes = Counter::default();
        registry.register("upload_bytes", "Bytes of uploads in pieces", upload_bytes.clone());
        let upload_resumes = Counter::default();
        registry.register("upload_resumes", "Looks at how far an upload is", upload_resumes.clone());
        let downloads = Family::default();
        registry.register("downloads", "Contents of files sent, by what of them", downloads.clone());
        let download_bytes = Counter::default();
        registry.register("download_bytes", "Bytes of contents of files", download_bytes.clone());
        let retries = Family::default();
        registry.register("retries", "Requests that were sent before, as clients tell", retries.clone());
        let durations = Family::new_with_constructor(durations as fn() -> Histogram);
        registry.register_with_unit(
            "transfer_duration",
            "Of a file, a piece of one, a batch or an archive, complete, by direction",
            Unit::Seconds,
            durations.clone(),
        );
        Self { uploads, pieces, upload_bytes, upload_resumes, downloads, download_bytes, retries, durations }
    }

    pub(super) fn repeated(&self, labels: RouteLabels) {
        self.retries.get_or_create(&labels).inc();
    }

    pub(super) fn received(&self, route: &'static str, bytes: u64) {
        if route == UPLOADS {
            self.upload_bytes.inc_by(bytes);
        }
    }

    pub(super) fn sent(&self, labels: RouteLabels, bytes: u64) {
        if labels == (RouteLabels { method: "GET", route: FILES }) {
            self.download_bytes.inc_by(bytes);
        }
    }

    /// Counts a request that is complete.
    pub(super) fn ended(&self, labels: RouteLabels, status: StatusCode, traits: Traits, took: Duration) {
        let RouteLabels { method, route } = labels;
        let direction = match (route, method) {
            (FILES, "PUT" | "PATCH" | "POST") | (ARCHIVE, "PUT") | (UPLOADS, "PATCH" | "POST") => Some("up"),
            (FILES, "GET") | (ARCHIVE, "POST") => Some("down"),
            _ => None,
        };
        if let Some(direction) = direction.filter(|_| status.is_success()) {
            self.durations.get_or_create(&DirectionLabels { direction }).observe(took.as_secs_f64());
        }
        match (route, method) {
            (UPLOADS, _) => self.upload(method, status, traits),
            (FILES, "GET") => self.download(status, traits),
            _ => {}
        }
    }

    /// What a request about uploads says of how they go: a piece that broke off or did not fit is sent again, and a client
    /// that comes back asks first how far it had come.
    fn upload(&self, method: &'static str, status: StatusCode, traits: Traits) {
        let happened = |event| self.uploads.get_or_create(&EventLabels { event }).inc();
        let ended = |result| self.pieces.get_or_create(&ResultLabels { result }).inc();
        match (method, status.as_u16()) {
            ("POST", 201) => {
                happened("begun");
            }
            ("DELETE", 204) => {
                happened("given_up");
            }
            ("HEAD" | "GET", _) => {
                self.upload_resumes.inc();
            }
            ("PATCH", 200..300) => {
                ended("stored");
            }
            ("PATCH", 400 | 499) => {
                ended("interrupted");
            }
            ("PATCH", 409) => {
                ended("misplaced");
            }
            ("PATCH", 422) => {
                ended("wrong_digest");
            }
            ("PATCH", 460) => {
                ended("corrupt");
            }
            ("PATCH", _) => {
                ended("failed");
            }
            _ => {}
        }
        if matches!(method, "POST" | "PATCH") && status.is_success() && traits.completes {
            happened("completed");
        }
    }

    fn download(&self, status: StatusCode, traits: Traits) {
        let result = match (status, traits.resumes) {
            (StatusCode::PARTIAL_CONTENT, true) => "resumed",
            (StatusCode::PARTIAL_CONTENT, false) => "range",
            // The file is another one by now.
            (StatusCode::OK, true) => "begun_anew",
            (StatusCode::OK, false) => "whole",
            _ => return,
        };
        self.downloads.get_or_create(&ResultLabels { result }).inc();
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn only_a_sensible_number_of_attempts_is_believed() {
        for (value, repeated) in [
            ("2", true),
            ("1000", true),
            ("1", false),
            ("0", false),
            ("1001", false),
            ("-2", false),
            ("x", false),
        ] {
            assert_eq!(is_repeated(&with(ATTEMPT, value)), repeated, "{value}");
        }
        assert!(!is_repeated(&HeaderMap::new()));
    }

    #[test]
    fn an_answer_says_when_an_upload_is_complete() {
        let mut headers = with(UPLOAD_LENGTH, "10");
        assert!(!Traits::default().with_answer(&headers).completes);
        headers.insert(UPLOAD_OFFSET, HeaderValue::from_static("9"));
        assert!(!Traits::default().with_answer(&headers).completes);
        headers.insert(UPLOAD_OFFSET, HeaderValue::from_static("10"));
        assert!(Traits::default().with_answer(&headers).completes);
        assert!(!Traits::default().with_answer(&HeaderMap::new()).completes);
    }
}
