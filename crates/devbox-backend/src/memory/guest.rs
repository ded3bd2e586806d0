//! Files in a map: what tests of the control plane need of a guest, and no more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use devbox_guest::contract::{EntryStream, EventStream, InputStream, UploadParts};
use devbox_guest::{Archives, Body, FileContent, Files, Guest, Processes, UploadPart, Uploads};
use devbox_types::agent::{AgentGreeting, Feature, PROTOCOL, Promise, ProtocolRange};
use devbox_types::archive::{ArchiveRequest, UnpackRequest};
use devbox_types::entry::StatRequest;
use devbox_types::file::{FileHead, ReadRequest, WriteRequest, Written};
use devbox_types::operation::{Operation, Report};
use devbox_types::patch::{PatchPlace, PatchRequest};
use devbox_types::process::{
    ExitStatus, ProcessEvent, ProcessInput, ProcessRequest, ProcessSummary, SignalRequest, StdinSource,
};
use devbox_types::upload::{ChunkRequest, UploadRequest, UploadStatus};
use devbox_types::{
    Algorithms, BoxPath, DigestAlgorithm, DigestHasher, Digests, Entry, EntryKind, ErrorCode, Etag, Grant,
    ListPage, ListRequest, Problem, ProcessId, Timestamp, UploadId, WirePath, WriteCondition,
};
use futures_util::{StreamExt as _, stream};

/// A guest whose files are entries of a map: flat, so a directory is there when a file is below it.
///
/// It reads, writes, lists and deletes files, and knows four programs: `cat` (standard input to standard output), `exit`
/// (with the code that is its argument), `sleep` (until it is killed) and `panic` (the engine, not the program). All else is
/// `unsupported`.
#[derive(Debug, Default)]
pub struct MemoryGuest {
    files: Mutex<BTreeMap<Vec<u8>, File>>,
    versions: AtomicU64,
    /// What calls with a key did.
    outcomes: Mutex<BTreeMap<String, Report>>,
    /// What it does not say that it has, as an older agent would.
    missing: Vec<Feature>,
}

#[derive(Debug, Clone)]
struct File {
    bytes: Bytes,
    version: u64,
    mode: u32,
}

impl MemoryGuest {
    /// A guest whose greeting leaves out these features. That it still has them shows that nobody asked for them.
    #[must_use]
    pub fn without(missing: Vec<Feature>) -> Self {
        Self { missing, ..Self::default() }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, File>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was done under the grant's key.
    fn known(&self, grant: &Grant) -> Option<Report> {
        let key = grant.idempotency_key.as_ref()?.as_str();
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn remember(&self, grant: &Grant, report: Report) -> Report {
        if let Some(key) = &grant.idempotency_key {
            let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            outcomes.insert(key.to_string(), report.clone());
        }
        report
    }

    fn find(&self, path: &BoxPath) -> Result<File, Problem> {
        self.files()
            .get(path.as_bytes())
            .cloned()
            .ok_or_else(|| Problem::new(ErrorCode::NotFound, format!("no entry at {path}")).with_path(path))
    }

    fn store(&self, request: &WriteRequest, bytes: Bytes) -> Result<Written, Problem> {
        if !request.digests.are_met_by(&DigestHasher::digest(request.digests.algorithms(), &bytes)) {
            return Err(Problem::new(ErrorCode::DigestMismatch, "the content has another digest")
                .with_path(&request.path));
        }
        let mut files = self.files();
        let old = files.get(request.path.as_bytes());
        let holds = match (&request.condition, old) {
            (WriteCondition::None, _)
            | (WriteCondition::Absent, None)
            | (WriteCondition::Present, Some(_)) => true,
            (WriteCondition::Matches(tags), Some(old)) => {
                tags.iter().any(|tag| tag.matches_strongly(&etag_of(old)))
            }
            (WriteCondition::Absent, Some(_))
            | (WriteCondition::Present | WriteCondition::Matches(_), None) => false,
        };
        if !holds {
            return Err(Problem::new(ErrorCode::PreconditionFailed, "the condition does not hold")
                .with_path(&request.path));
        }
        let mode = request.mode.or(old.map(|old| old.mode)).unwrap_or(0o644);
        let created = old.is_none();
        let version = self.versions.fetch_add(1, Ordering::Relaxed);
        let file = File { bytes, version, mode };
        let entry = entry_of(&request.path, &file);
        files.insert(request.path.as_bytes().to_vec(), file);
        Ok(Written { entry, created })
    }

    fn below(&self, path: &BoxPath) -> Vec<Entry> {
        let entry = |(name, file): (&Vec<u8>, &File)| {
            let path = BoxPath::parse(name).ok()?;
            Some(entry_of(&path, file))
        };
        let files = self.files();
        let all = files.iter().filter_map(entry);
        all.filter(|entry| entry.path.0.is_within(path) && entry.path.0 != *path).collect()
    }
}

fn etag_of(file: &File) -> Etag {
    Etag::of_version(1, i64::try_from(file.version).unwrap_or(i64::MAX), length_of(&file.bytes), false)
}

fn entry_of(path: &BoxPath, file: &File) -> Entry {
    let now = Timestamp::from(SystemTime::now());
    Entry {
        path: WirePath(path.clone()),
        kind: EntryKind::File,
        size_bytes: length_of(&file.bytes),
        mode: file.mode,
        uid: 1000,
        gid: 1000,
        owner: Some("user".to_owned()),
        modified: now,
        changed: now,
        links: 1,
        target: None,
        etag: Some(etag_of(file)),
        xattrs: None,
    }
}

fn digest_of(algorithm: DigestAlgorithm, bytes: &Bytes) -> Digests {
    DigestHasher::digest(Algorithms::default().with(algorithm), bytes)
}

fn length_of(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn unsupported(what: &str) -> Problem {
    Problem::new(ErrorCode::Unsupported, format!("a guest in memory cannot {what}"))
}

async fn gather(body: Body) -> Result<Bytes, Problem> {
    Ok(body.collect(usize::MAX).await?)
}

#[async_trait]
impl Files for MemoryGuest {
    async fn read(&self, _: &Grant, request: ReadRequest) -> Result<FileContent, Problem> {
        let file = self.find(&request.path)?;
        let size = length_of(&file.bytes);
        let (offset, length) = request.range.within(size).ok_or_else(|| {
            Problem::new(ErrorCode::RangeNotSatisfiable, "the range lies outside the file")
                .with_path(&request.path)
        })?;
        let (from, many) = (usize::try_from(offset).unwrap_or(0), usize::try_from(length).unwrap_or(0));
        let entry = entry_of(&request.path, &file);
        let head = FileHead {
            entry,
            offset,
            length,
            partial: length != size,
            not_modified: false,
            digests: request.want_digest.map(|wanted| digest_of(wanted, &file.bytes)).unwrap_or_default(),
        };
        let bytes = file.bytes.slice(from..from + many);
        // As a stream, because that is what comes from a real agent.
        let chunks: Vec<_> = bytes.chunks(64 << 10).map(Bytes::copy_from_slice).map(Ok).collect();
        let body =
            if request.head { Body::empty() } else { Body::from_stream(stream::iter(chunks), Some(length)) };
        Ok(FileContent { head, body })
    }

    async fn write(&self, _: &Grant, request: WriteRequest, body: Body) -> Result<Written, Problem> {
        let bytes = gather(body).await?;
        if request.length.is_some_and(|length| length != length_of(&bytes)) {
            return Err(
                Problem::new(ErrorCode::Interrupted, "the content ended early").with_path(&request.path)
            );
        }
        self.store(&request, bytes)
    }

    async fn patch(&self, _: &Grant, request: PatchRequest, body: Body) -> Result<Written, Problem> {
        let bytes = gather(body).await?;
        let found = self.find(&request.path);
        let old = if request.create {
            found.map_or_else(|_| Bytes::new(), |file| file.bytes)
        } else {
            found?.bytes
        };
        let mut content = old.to_vec();
        let place = |offset: u64| {
            usize::try_from(offset).map_err(|_| Problem::new(ErrorCode::TooLarge, "no file is that long"))
        };
        if let Some(size) = request.truncate {
            content.resize(place(size)?, 0);
        }
        let first = match request.place {
            PatchPlace::Offset(offset) => place(offset)?,
            PatchPlace::End => content.len(),
        };
        if !bytes.is_empty() {
            content.resize(content.len().max(first + bytes.len()), 0);
            content[first..first + bytes.len()].copy_from_slice(&bytes);
        }
        let whole = WriteRequest { condition: request.condition, ..WriteRequest::to(request.path) };
        self.store(&whole, content.into())
    }

    async fn stat(&self, _: &Grant, request: StatRequest) -> Result<Entry, Problem> {
        let entry = entry_of(&request.path, &self.find(&request.path)?);
        Ok(Entry { xattrs: request.xattrs.then(Vec::new), ..entry })
    }

    async fn list(&self, _: &Grant, request: ListRequest) -> Result<ListPage, Problem> {
        let mut entries = self.below(&request.path);
        entries.truncate(request.limit);
        Ok(ListPage { entries, next_cursor: None })
    }

    async fn walk(&self, _: &Grant, request: ListRequest) -> Result<EntryStream, Problem> {
        Ok(stream::iter(self.below(&request.path)).map(Ok).boxed())
    }

    async fn apply(&self, grant: &Grant, operations: Vec<Operation>) -> Result<Report, Problem> {
        if let Some(report) = self.known(grant) {
            return Ok(report);
        }
        let [Operation::Delete { path, missing_ok, .. }] = &operations[..] else {
            return Err(unsupported("do more than delete one file"));
        };
        let found = self.files().remove(path.as_bytes()).is_some();
        if !found && !missing_ok {
            return Err(Problem::new(ErrorCode::NotFound, format!("no entry at {path}")).with_path(path));
        }
        Ok(self.remember(
            grant,
            Report { entries: u64::from(found), bytes: 0, atomic: true, ..Report::default() },
        ))
    }

    async fn write_many(&self, grant: &Grant, mut parts: UploadParts) -> Result<Report, Problem> {
        let mut staged = Vec::new();
        while let Some(part) = parts.next().await.transpose()? {
            let UploadPart { request, body } = part;
            staged.push((request, gather(body).await?));
        }
        if let Some(report) = self.known(grant) {
            return Ok(report);
        }
        let mut report = Report { atomic: true, ..Report::default() };
        for (request, bytes) in staged {
            report.entries += 1;
            report.bytes += length_of(&bytes);
            self.store(&request, bytes)?;
        }
        Ok(self.remember(grant, report))
    }
}

#[async_trait]
impl Archives for MemoryGuest {
    async fn pack(&self, _: &Grant, _: ArchiveRequest) -> Result<Body, Problem> {
        Err(unsupported("pack archives"))
    }

    async fn unpack(&self, _: &Grant, _: UnpackRequest, _: Body) -> Result<Report, Problem> {
        Err(unsupported("unpack archives"))
    }
}

#[async_trait]
impl Uploads for MemoryGuest {
    async fn create_upload(&self, _: &Grant, _: UploadRequest) -> Result<UploadStatus, Problem> {
        Err(unsupported("take files in pieces"))
    }

    async fn append_upload(&self, _: &Grant, _: ChunkRequest, _: Body) -> Result<UploadStatus, Problem> {
        Err(unsupported("take files in pieces"))
    }

    async fn look_at_upload(&self, _: &Grant, _: UploadId) -> Result<UploadStatus, Problem> {
        Err(unsupported("take files in pieces"))
    }

    async fn delete_upload(&self, _: &Grant, _: UploadId) -> Result<(), Problem> {
        Err(unsupported("take files in pieces"))
    }
}

#[async_trait]
impl Processes for MemoryGuest {
    async fn run(
        &self,
        _: &Grant,
        request: ProcessRequest,
        input: InputStream,
    ) -> Result<EventStream, Problem> {
        let exited = |code| {
            let status = ExitStatus { code: Some(code), signal: None, timed_out: false, duration_ms: 0 };
            Ok(ProcessEvent::Exited(status))
        };
        let begin = stream::iter([Ok(ProcessEvent::Started { id: ProcessId(1), pid: 2 })]);
        let argument = request.argv.get(1).map(String::as_str);
        match (request.argv.first().map(String::as_str), argument) {
            (Some("cat"), None) => {
                let output = input.filter_map(async |input| match input {
                    ProcessInput::Stdin(bytes) => Some(Ok(ProcessEvent::Stdout(bytes))),
                    ProcessInput::EndOfStdin | ProcessInput::Signal(_) => None,
                });
                let text = match request.stdin {
                    StdinSource::Text(text) => Some(Ok(ProcessEvent::Stdout(Bytes::from(text)))),
                    StdinSource::Null | StdinSource::Frames => None,
                };
                let end = stream::iter([exited(0)]);
                Ok(begin.chain(stream::iter(text)).chain(output).chain(end).boxed())
            }
            (Some("exit"), Some(code)) => {
                let code = code.parse().map_err(|_| unsupported("exit with that"))?;
                Ok(begin.chain(stream::iter([exited(code)])).boxed())
            }
            (Some("sleep"), None) => Ok(begin.chain(stream::pending()).boxed()),
            (Some("panic"), None) => panic!("the engine has a bug"),
            _ => Err(Problem::new(ErrorCode::NotFound, "no such program")),
        }
    }

    async fn processes(&self, _: &Grant) -> Result<Vec<ProcessSummary>, Problem> {
        Ok(Vec::new())
    }

    async fn signal(&self, _: &Grant, id: ProcessId, _: SignalRequest) -> Result<(), Problem> {
        Err(Problem::new(ErrorCode::ProcessNotFound, format!("no process {id}")))
    }
}

#[async_trait]
impl Guest for MemoryGuest {
    async fn greet(&self) -> Result<AgentGreeting, Problem> {
        Ok(AgentGreeting {
            protocol: ProtocolRange { min: PROTOCOL, max: PROTOCOL },
            features: Feature::ALL
                .iter()
                .filter(|feature| !self.missing.contains(feature))
                .map(|feature| feature.as_str().to_owned())
                .collect(),
            build: "memory".to_owned(),
            promises: vec![Promise::AllOrNothingBatch],
        })
    }
}
