//! A record of the audit while its operation is under way.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use devbox_guest::Body;
use devbox_guest::contract::{EntryStream, EventStream};
use devbox_store::AuditSlot;
use devbox_types::audit::AuditRecord;
use devbox_types::operation::Report;
use devbox_types::process::ProcessEvent;
use devbox_types::{Entry, ErrorCode, Problem, Timestamp};
use futures_util::Stream;
use tokio::time::Instant;

/// Counts bytes from wherever they pass.
pub(super) type Count = Arc<AtomicU64>;

/// Adds to a count.
pub(super) fn add(count: &Count, bytes: &[u8]) {
    count.fetch_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// A record of the audit while its operation is under way. Dropped before it is finished, it records `interrupted`:
/// whatever happens to a request, its record is written.
pub(super) struct OpenRecord {
    /// `None` once it is finished.
    pending: Option<(AuditSlot, AuditRecord)>,
    began: Instant,
    bytes: Count,
}

impl OpenRecord {
    /// Opens one; `time` and `duration_us` are filled in here.
    pub(super) fn begin(slot: AuditSlot, record: AuditRecord) -> Self {
        let record = AuditRecord { time: Timestamp::from(SystemTime::now()), ..record };
        Self { pending: Some((slot, record)), began: Instant::now(), bytes: Count::default() }
    }

    /// Where bytes of this operation are counted.
    pub(super) fn count(&self) -> Count {
        Arc::clone(&self.bytes)
    }

    /// Changes what the record says, until it is finished.
    pub(super) fn note(&mut self, change: impl FnOnce(&mut AuditRecord)) {
        if let Some((_, record)) = &mut self.pending {
            change(record);
        }
    }

    pub(super) fn set_entries(&mut self, entries: u64) {
        self.note(|record| record.entries = entries);
    }

    pub(super) fn succeed(mut self) {
        self.finish(None);
    }

    pub(super) fn fail(mut self, code: ErrorCode) {
        self.finish(Some(code));
    }

    /// Finishes as `answer` ended, and hands it on.
    pub(super) fn conclude<T>(self, answer: Result<T, Problem>) -> Result<T, Problem> {
        match &answer {
            Ok(_) => self.succeed(),
            Err(problem) => self.fail(problem.code),
        }
        answer
    }

    /// The same of a call over many paths, with what it says that it did.
    pub(super) fn conclude_report(mut self, answer: Result<Report, Problem>) -> Result<Report, Problem> {
        if let Ok(report) = &answer {
            self.set_entries(report.entries);
            self.bytes.store(report.bytes, Ordering::Relaxed);
        }
        self.conclude(answer)
    }

    fn finish(&mut self, error: Option<ErrorCode>) {
        let Some((slot, mut record)) = self.pending.take() else { return };
        record.bytes = self.bytes.load(Ordering::Relaxed);
        record.error = error;
        record.duration_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        slot.record(record);
    }

    /// The same content; the record is finished by its end. `length` is what makes it whole, where that is known: whoever
    /// has that much need not ask for the end.
    pub(super) fn follow(self, body: Body) -> Body {
        if let Some(bytes) = body.as_bytes() {
            add(&self.bytes, bytes);
            self.succeed();
            return body;
        }
        let length = body.length();
        if length == Some(0) {
            self.succeed();
            return body;
        }
        Body::from_stream(Followed { body, length, open: Some(self) }, length)
    }

    /// The same entries; the record is finished by their end.
    pub(super) fn follow_entries(self, entries: EntryStream) -> EntryStream {
        Box::pin(FollowedEntries { entries, open: Some(self) })
    }

    /// The same events; the record is finished by the exit.
    pub(super) fn follow_events(self, events: EventStream) -> EventStream {
        Box::pin(FollowedEvents { events, open: Some(self) })
    }
}

impl Drop for OpenRecord {
    fn drop(&mut self) {
        self.finish(Some(ErrorCode::Interrupted));
    }
}

struct Followed {
    body: Body,
    length: Option<u64>,
    open: Option<OpenRecord>,
}

impl Stream for Followed {
    type Item = Result<Bytes, devbox_guest::BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(Pin::new(&mut self.body).poll_next(context));
        if let Some(Ok(chunk)) = &item
            && let Some(open) = &self.open
        {
            add(&open.bytes, chunk);
        }
        let so_far = self.open.as_ref().map(|open| open.bytes.load(Ordering::Relaxed));
        let ended = item.is_none() || (self.length.is_some() && so_far >= self.length);
        match &item {
            Some(Err(error)) => {
                let code = devbox_types::Coded::code(error);
                if let Some(open) = self.open.take() {
                    open.fail(code);
                }
            }
            _ if ended => {
                if let Some(open) = self.open.take() {
                    open.succeed();
                }
            }
            _ => {}
        }
        Poll::Ready(item)
    }
}

struct FollowedEntries {
    entries: EntryStream,
    open: Option<OpenRecord>,
}

impl Stream for FollowedEntries {
    type Item = Result<Entry, Problem>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.entries.as_mut().poll_next(context));
        match &item {
            Some(Ok(_)) => {
                if let Some(open) = &mut self.open {
                    open.note(|record| record.entries += 1);
                }
            }
            Some(Err(problem)) => {
                let code = problem.code;
                if let Some(open) = self.open.take() {
                    open.fail(code);
                }
            }
            None => {
                if let Some(open) = self.open.take() {
                    open.succeed();
                }
            }
        }
        Poll::Ready(item)
    }
}

struct FollowedEvents {
    events: EventStream,
    open: Option<OpenRecord>,
}

impl Stream for FollowedEvents {
    type Item = Result<ProcessEvent<Bytes>, Problem>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.events.as_mut().poll_next(context));
        match &item {
            Some(Ok(ProcessEvent::Stdout(bytes) | ProcessEvent::Stderr(bytes))) => {
                if let Some(open) = &self.open {
                    add(&open.bytes, bytes);
                }
            }
            Some(Ok(ProcessEvent::Exited(status))) => {
                let code = status.shell_code();
                if let Some(mut open) = self.open.take() {
                    open.note(|record| record.exit_code = Some(code));
                    open.succeed();
                }
            }
            Some(Ok(ProcessEvent::Started { .. })) => {}
            Some(Err(problem)) => {
                let code = problem.code;
                if let Some(open) = self.open.take() {
                    open.fail(code);
                }
            }
            // Without `Exited`, this is no end but a break: the record says so when it is dropped.
            None => self.open = None,
        }
        Poll::Ready(item)
    }
}
