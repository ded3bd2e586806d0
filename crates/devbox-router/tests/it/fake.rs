//! A guest in memory: files in a map, processes that say what they were asked to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use devbox_guest::contract::{EntryStream, EventStream, InputStream, UploadParts};
use devbox_guest::{Archives, Body, FileContent, Files, Guest, Processes, Uploads};
use devbox_types::agent::{AgentGreeting, PROTOCOL, ProtocolRange};
use devbox_types::archive::{ArchiveRequest, UnpackRequest};
use devbox_types::entry::StatRequest;
use devbox_types::file::{FileHead, ReadRequest, WriteRequest, Written};
use devbox_types::metadata::Xattr;
use devbox_types::operation::{Operation, Report};
use devbox_types::patch::PatchRequest;
use devbox_types::problem::Stands;
use devbox_types::process::{
    ExitStatus, ProcessEvent, ProcessInput, ProcessRequest, ProcessSummary, SignalRequest, StdinSource,
};
use devbox_types::upload::{ChunkRequest, UploadRequest, UploadStatus};
use devbox_types::{
    Algorithms, BoxPath, DigestAlgorithm, DigestHasher, Digests, Entry, EntryKind, ErrorCode, Etag, Grant,
    ListPage, ListRequest, Problem, ProcessId, Timestamp, UploadId, WriteCondition,
};
use futures_util::stream::{self, StreamExt as _};

/// What the guest was asked, in order, beside files: enough for tests to look at.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) grants: Vec<Grant>,
    pub(crate) writes: Vec<WriteRequest>,
    pub(crate) patches: Vec<(PatchRequest, Bytes)>,
    pub(crate) lists: Vec<ListRequest>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) unpacked: Vec<UnpackRequest>,
    pub(crate) signals: Vec<(ProcessId, SignalRequest)>,
}

#[derive(Debug, Default)]
pub(crate) struct FakeGuest {
    files: Mutex<BTreeMap<BoxPath, (Bytes, u64)>>,
    seen: Mutex<Seen>,
    pub(crate) runs_ended: Arc<Mutex<usize>>,
    /// Writes that ended, with an answer or without.
    pub(crate) writes_ended: Arc<Mutex<usize>>,
}

impl FakeGuest {
    pub(crate) fn with(files: &[(&str, &[u8])]) -> Arc<Self> {
        let guest = Self::default();
        for (path, content) in files {
            guest.put(path.as_bytes(), content);
        }
        Arc::new(guest)
    }

    pub(crate) fn put(&self, path: &[u8], content: &[u8]) {
        let path = BoxPath::parse(path).expect("a path");
        self.files.lock().expect("a lock").insert(path, (Bytes::copy_from_slice(content), 1));
    }

    pub(crate) fn get(&self, path: &[u8]) -> Option<Bytes> {
        let path = BoxPath::parse(path).expect("a path");
        self.files.lock().expect("a lock").get(&path).map(|(content, _)| content.clone())
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("a lock")
    }

    fn find(&self, path: &BoxPath) -> Result<(Bytes, Entry), Problem> {
        let files = self.files.lock().expect("a lock");
        let missing = || Problem::new(ErrorCode::NotFound, "no entry").with_path(path);
        let (content, version) = files.get(path).ok_or_else(missing)?;
        Ok((content.clone(), entry(path, content, *version)))
    }

    fn store(&self, request: &WriteRequest, content: Bytes) -> Result<Written, Problem> {
        let mut files = self.files.lock().expect("a lock");
        let old = files
            .get(&request.path)
            .map(|(content, version)| (entry(&request.path, content, *version), *version));
        let holds = match (&request.condition, &old) {
            (WriteCondition::None, _)
            | (WriteCondition::Absent, None)
            | (WriteCondition::Present, Some(_)) => true,
            (WriteCondition::Matches(tags), Some((entry, _))) => tags
                .iter()
                .any(|tag| entry.etag.as_ref().is_some_and(|current| tag.matches_strongly(current))),
            _ => false,
        };
        if !holds {
            return Err(Problem::new(ErrorCode::PreconditionFailed, "the condition does not hold"));
        }
        let version = old.as_ref().map_or(1, |(_, version)| version + 1);
        files.insert(request.path.clone(), (content.clone(), version));
        Ok(Written { entry: entry(&request.path, &content, version), created: old.is_none() })
    }
}

fn digests_of(content: &Bytes, wanted: Option<DigestAlgorithm>) -> Digests {
    let wanted = wanted.map(|algorithm| Algorithms::default().with(algorithm));
    DigestHasher::digest(wanted.unwrap_or_default(), content)
}

fn entry(path: &BoxPath, content: &Bytes, version: u64) -> Entry {
    let size_bytes = u64::try_from(content.len()).expect("a length");
    Entry {
        path: path.clone().into(),
        kind: EntryKind::File,
        size_bytes,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        owner: Some("üser".to_owned()),
        modified: Timestamp::from_parts(1_000_000_000, 5),
        changed: Timestamp::from_parts(1_000_000_000, 5),
        links: 1,
        target: None,
        etag: Some(Etag::of_version(version, 7, size_bytes, false)),
        xattrs: None,
    }
}

#[async_trait]
impl Files for FakeGuest {
    async fn read(&self, grant: &Grant, request: ReadRequest) -> Result<FileContent, Problem> {
        self.seen().grants.push(grant.clone());
        let (content, entry) = self.find(&request.path)?;
        let known = |tag: &Etag| entry.etag.as_ref().is_some_and(|current| tag.matches_weakly(current));
        if request.if_none_match.iter().any(known) {
            let head = FileHead {
                entry,
                offset: 0,
                length: 0,
                partial: false,
                not_modified: true,
                digests: Digests::default(),
            };
            return Ok(FileContent { head, body: Body::empty() });
        }
        let is_same = |tag: &Etag| entry.etag.as_ref().is_some_and(|current| tag.matches_strongly(current));
        let range = match &request.if_range {
            Some(tag) if !is_same(tag) => devbox_types::file::ByteRange::Whole,
            Some(_) | None => request.range,
        };
        let (offset, length) = range.within(entry.size_bytes).ok_or_else(|| {
            Problem::new(ErrorCode::RangeNotSatisfiable, "no byte of the file is in the range")
        })?;
        let partial = range != devbox_types::file::ByteRange::Whole;
        let from = usize::try_from(offset).expect("an offset");
        let bytes = content.slice(from..from + usize::try_from(length).expect("a length"));
        let body = if request.head { Body::empty() } else { Body::from_bytes(bytes) };
        Ok(FileContent {
            head: FileHead {
                entry,
                offset,
                length,
                partial,
                not_modified: false,
                digests: digests_of(&content, request.want_digest),
            },
            body,
        })
    }

    async fn write(&self, grant: &Grant, request: WriteRequest, body: Body) -> Result<Written, Problem> {
        self.seen().grants.push(grant.clone());
        self.seen().writes.push(request.clone());
        if grant.max_bytes.is_some_and(|limit| request.length.is_some_and(|length| length > limit)) {
            return Err(Problem::new(ErrorCode::TooLarge, "the content is larger than allowed"));
        }
        // When a call is cut off, HTTP either ends the body with an error or drops the whole call.
        let _ended = Dropped(Arc::clone(&self.writes_ended));
        let content = body.collect(64 << 20).await?;
        if !request.digests.are_met_by(&DigestHasher::digest(request.digests.algorithms(), &content)) {
            return Err(Problem::new(ErrorCode::DigestMismatch, "the digest is another"));
        }
        self.store(&request, content)
    }

    async fn patch(&self, grant: &Grant, request: PatchRequest, body: Body) -> Result<Written, Problem> {
        self.seen().grants.push(grant.clone());
        let content = body.collect(64 << 20).await?;
        self.seen().patches.push((request.clone(), content));
        let (content, _) = self.find(&request.path)?;
        if request.path.name() == Some(b"halfway") {
            let stands = Stands { written_bytes: 3, size_bytes: 7 };
            return Err(Problem::new(ErrorCode::NoSpace, "the disk is full").with_stands(stands));
        }
        self.store(&WriteRequest::to(request.path), content)
    }

    async fn stat(&self, _grant: &Grant, request: StatRequest) -> Result<Entry, Problem> {
        let (_, entry) = self.find(&request.path)?;
        let xattr = Xattr { name: b"user.\xff".to_vec(), value: vec![0, 1] };
        Ok(Entry { xattrs: request.xattrs.then(|| vec![xattr]), ..entry })
    }

    async fn list(&self, _grant: &Grant, request: ListRequest) -> Result<ListPage, Problem> {
        self.seen().lists.push(request.clone());
        let files = self.files.lock().expect("a lock");
        let after =
            |path: &BoxPath| request.cursor.as_ref().is_none_or(|cursor| path.as_bytes() > &cursor[..]);
        let entries: Vec<_> = files
            .iter()
            .filter(|(path, _)| path.is_within(&request.path) && after(path))
            .map(|(path, (content, version))| entry(path, content, *version))
            .take(request.limit)
            .collect();
        Ok(ListPage { entries, next_cursor: None })
    }

    async fn walk(&self, _grant: &Grant, request: ListRequest) -> Result<EntryStream, Problem> {
        let files = self.files.lock().expect("a lock");
        let mut entries: Vec<_> = files
            .iter()
            .filter(|(path, _)| path.is_within(&request.path))
            .map(|(path, (content, version))| Ok(entry(path, content, *version)))
            .collect();
        if request.path.as_bytes() == b"breaks" {
            entries.push(Err(Problem::new(ErrorCode::Busy, "it broke")));
        }
        Ok(stream::iter(entries).boxed())
    }

    async fn apply(&self, grant: &Grant, operations: Vec<Operation>) -> Result<Report, Problem> {
        self.seen().grants.push(grant.clone());
        let entries = u64::try_from(operations.len()).expect("a length");
        self.seen().operations.extend(operations);
        Ok(Report { entries, bytes: 0, atomic: true, ..Report::default() })
    }

    async fn write_many(&self, _grant: &Grant, mut parts: UploadParts) -> Result<Report, Problem> {
        let mut staged = Vec::new();
        while let Some(part) = parts.next().await.transpose()? {
            self.seen().writes.push(part.request.clone());
            // A part that nobody reads is skipped.
            let skipped = part.request.path.name() == Some(b"skipped");
            let content = if skipped { Bytes::new() } else { part.body.collect(64 << 20).await? };
            staged.push((part.request, content));
        }
        let mut report = Report { atomic: true, ..Report::default() };
        for (request, content) in staged {
            report.entries += 1;
            report.bytes += u64::try_from(content.len()).expect("a length");
            self.store(&request, content)?;
        }
        Ok(report)
    }
}

#[async_trait]
impl Archives for FakeGuest {
    async fn pack(&self, _grant: &Grant, request: ArchiveRequest) -> Result<Body, Problem> {
        for path in &request.paths {
            self.find(&path.0)?;
        }
        Ok(Body::from_stream(
            stream::iter([Ok(Bytes::from_static(b"PK")), Ok(Bytes::from_static(b"..."))]),
            None,
        ))
    }

    async fn unpack(&self, grant: &Grant, request: UnpackRequest, body: Body) -> Result<Report, Problem> {
        self.seen().grants.push(grant.clone());
        self.seen().unpacked.push(request);
        let bytes = body.collect(64 << 20).await?;
        Ok(Report {
            entries: 1,
            bytes: u64::try_from(bytes.len()).expect("a length"),
            atomic: false,
            ..Report::default()
        })
    }
}

/// Counts what is dropped.
struct Dropped(Arc<Mutex<usize>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        *self.0.lock().expect("a lock") += 1;
    }
}

#[async_trait]
impl Uploads for FakeGuest {
    async fn create_upload(&self, _: &Grant, _: UploadRequest) -> Result<UploadStatus, Problem> {
        Err(Problem::new(ErrorCode::Unsupported, "a fake takes no pieces"))
    }

    async fn append_upload(&self, _: &Grant, _: ChunkRequest, _: Body) -> Result<UploadStatus, Problem> {
        Err(Problem::new(ErrorCode::Unsupported, "a fake takes no pieces"))
    }

    async fn look_at_upload(&self, _: &Grant, _: UploadId) -> Result<UploadStatus, Problem> {
        Err(Problem::new(ErrorCode::Unsupported, "a fake takes no pieces"))
    }

    async fn delete_upload(&self, _: &Grant, _: UploadId) -> Result<(), Problem> {
        Err(Problem::new(ErrorCode::Unsupported, "a fake takes no pieces"))
    }
}

#[async_trait]
impl Processes for FakeGuest {
    /// `cat` echoes its input; `large N` says N bytes; `env` tells its request; anything else is not found.
    async fn run(
        &self,
        grant: &Grant,
        request: ProcessRequest,
        input: InputStream,
    ) -> Result<EventStream, Problem> {
        self.seen().grants.push(grant.clone());
        let exited = |code| {
            Ok(ProcessEvent::Exited(ExitStatus {
                code: Some(code),
                signal: None,
                timed_out: false,
                duration_ms: 1,
            }))
        };
        let begun = stream::iter([Ok(ProcessEvent::Started { id: ProcessId(1), pid: 2 })]);
        let argv: Vec<&str> = request.argv.iter().map(String::as_str).collect();
        match argv[..] {
            ["cat"] if request.stdin == StdinSource::Frames => {
                let running = Dropped(Arc::clone(&self.runs_ended));
                let echo = input.map(move |input| match (&running, input).1 {
                    ProcessInput::Stdin(bytes) => Ok(ProcessEvent::Stdout(bytes)),
                    ProcessInput::EndOfStdin => exited(0),
                    ProcessInput::Signal(signal) => Ok(ProcessEvent::Exited(ExitStatus {
                        code: None,
                        signal: Some(i32::from(signal)),
                        timed_out: false,
                        duration_ms: 1,
                    })),
                });
                Ok(begun.chain(echo).boxed())
            }
            ["large", size] => {
                let size: usize = size.parse().expect("a size");
                let chunks = (0..size.div_ceil(100_000)).map(move |chunk| {
                    let length = (size - chunk * 100_000).min(100_000);
                    Ok(ProcessEvent::Stdout(Bytes::from(vec![b'x'; length])))
                });
                Ok(begun.chain(stream::iter(chunks)).chain(stream::iter([exited(0)])).boxed())
            }
            ["words"] => {
                let said = [
                    Ok(ProcessEvent::Stdout(Bytes::from_static("out ü".as_bytes()))),
                    Ok(ProcessEvent::Stderr(Bytes::from_static(b"err \xff"))),
                    exited(3),
                ];
                Ok(begun.chain(stream::iter(said)).boxed())
            }
            ["breaks"] => {
                Ok(begun.chain(stream::iter([Err(Problem::new(ErrorCode::Internal, "it broke"))])).boxed())
            }
            _ => Err(Problem::new(ErrorCode::NotFound, "there is no such program")),
        }
    }

    async fn processes(&self, _grant: &Grant) -> Result<Vec<ProcessSummary>, Problem> {
        Ok(vec![ProcessSummary { id: ProcessId(1), pid: 2, argv: vec!["cat".to_owned()], running_ms: 3 }])
    }

    async fn signal(&self, _grant: &Grant, id: ProcessId, request: SignalRequest) -> Result<(), Problem> {
        self.seen().signals.push((id, request));
        if id == ProcessId(1) {
            Ok(())
        } else {
            Err(Problem::new(ErrorCode::ProcessNotFound, "no such process"))
        }
    }
}

#[async_trait]
impl Guest for FakeGuest {
    async fn greet(&self) -> Result<AgentGreeting, Problem> {
        let protocol = ProtocolRange { min: PROTOCOL, max: PROTOCOL };
        Ok(AgentGreeting { protocol, features: Vec::new(), build: "fake".to_owned(), promises: Vec::new() })
    }
}
