//! What a check stands on: a guest, a fresh folder, and short words for the common calls.

use std::sync::Arc;

use bytes::Bytes;
use devbox_types::entry::StatRequest;
use devbox_types::file::{ReadRequest, WriteRequest, Written};
use devbox_types::operation::{Operation, Report};
use devbox_types::process::{ExitStatus, ProcessEvent, ProcessRequest, StdinSource};
use devbox_types::{BoxPath, Entry, ErrorCode, Etag, Grant, ListRequest, Problem};
use futures_util::stream::{self, StreamExt as _};

use crate::body::{Body, BodyError};
use crate::contract::{EventStream, Guest, InputStream};

/// What is true of the guest under test, where guests may differ.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Whether a grant that is narrower than the whole box can be sent: not through a server, which makes its own.
    pub takes_narrow_grants: bool,
}

impl Default for Facts {
    fn default() -> Self {
        Self { takes_narrow_grants: true }
    }
}

/// A guest and a fresh folder in it.
#[derive(Clone)]
pub struct Ground {
    /// The guest under test.
    pub guest: Arc<dyn Guest>,
    /// An empty folder in it, for this check alone.
    pub folder: BoxPath,
    /// What is true of the guest.
    pub facts: Facts,
    /// The grant of every call: the whole box.
    pub grant: Grant,
}

impl std::fmt::Debug for Ground {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Ground").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// What a process said, and how it ended.
pub(super) struct Outcome {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) status: ExitStatus,
}

impl Ground {
    /// Ground in this folder of this guest.
    #[must_use]
    pub fn new(guest: Arc<dyn Guest>, folder: BoxPath, facts: Facts) -> Self {
        Self { guest, folder, facts, grant: Grant::whole_box() }
    }

    /// A path below the folder; a trailing `/` is kept.
    pub(super) fn path(&self, below: impl AsRef<[u8]>) -> BoxPath {
        let whole = [self.folder.as_bytes(), b"/", below.as_ref()].concat();
        BoxPath::parse(&whole).expect("a path")
    }

    pub(super) async fn try_write(&self, request: WriteRequest, body: Body) -> Result<Written, Problem> {
        self.guest.write(&self.grant, request, body).await
    }

    pub(super) async fn write(&self, name: impl AsRef<[u8]>, bytes: impl Into<Bytes>) -> Written {
        let request = WriteRequest::to(self.path(name));
        self.try_write(request, Body::from_bytes(bytes)).await.expect("a file is written")
    }

    pub(super) async fn try_read(&self, request: ReadRequest) -> Result<Bytes, Problem> {
        let content = self.guest.read(&self.grant, request).await?;
        let length = content.head.length;
        let bytes = content.body.collect(64 << 20).await?;
        assert_eq!(
            u64::try_from(bytes.len()).ok(),
            Some(length),
            "the length of the content is the one announced"
        );
        Ok(bytes)
    }

    pub(super) async fn read(&self, name: impl AsRef<[u8]>) -> Bytes {
        self.try_read(ReadRequest::whole(self.path(name))).await.expect("a file is read")
    }

    pub(super) async fn stat(&self, name: impl AsRef<[u8]>) -> Result<Entry, Problem> {
        self.guest.stat(&self.grant, StatRequest::of(self.path(name))).await
    }

    pub(super) async fn apply(&self, operations: Vec<Operation>) -> Result<Report, Problem> {
        self.guest.apply(&self.grant, operations).await
    }

    pub(super) async fn mkdir(&self, name: &str) {
        self.apply(vec![mkdir(self.path(name))]).await.expect("a directory is made");
    }

    pub(super) async fn symlink(&self, name: &str, target: &str) {
        let link = Operation::Symlink { path: self.path(name), target: target.into() };
        self.apply(vec![link]).await.expect("a link is made");
    }

    /// The names directly in the folder, in the order in which they are listed.
    pub(super) async fn names(&self) -> Vec<Vec<u8>> {
        let page =
            self.guest.list(&self.grant, ListRequest::of(self.folder.clone())).await.expect("a listing");
        page.entries.iter().map(|entry| entry.path.0.name().expect("a name").to_vec()).collect()
    }

    /// Checks that the folder holds just these names.
    pub(super) async fn holds(&self, names: &[&str]) {
        let found = self.names().await;
        let found: Vec<_> = found.iter().map(|name| String::from_utf8_lossy(name)).collect();
        assert_eq!(found, names, "the folder holds these names and no debris");
    }

    /// The file's tag, once it has become strong: a tag is weak while the clock may not tell the next change.
    pub(super) async fn strong_tag(&self, name: &str) -> Etag {
        loop {
            let tag = self.stat(name).await.expect("the file is there").etag.expect("a file has a tag");
            if !tag.is_weak() {
                return tag;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    pub(super) async fn start(
        &self,
        request: ProcessRequest,
        input: InputStream,
    ) -> Result<EventStream, Problem> {
        self.guest.run(&self.grant, request, input).await
    }

    /// Runs a script to its end, without input.
    pub(super) async fn shell(&self, script: &str) -> Outcome {
        self.run(shell(script)).await
    }

    pub(super) async fn run(&self, request: ProcessRequest) -> Outcome {
        let events = self.start(request, stream::empty().boxed()).await.expect("the program starts");
        outcome(events).await
    }
}

pub(super) fn mkdir(path: BoxPath) -> Operation {
    Operation::Mkdir { path, mode: None, parents: false }
}

pub(super) fn shell(script: &str) -> ProcessRequest {
    program(&["/bin/sh", "-c", script])
}

pub(super) fn program(argv: &[&str]) -> ProcessRequest {
    let argv = argv.iter().map(|argument| (*argument).to_owned()).collect();
    ProcessRequest {
        argv,
        env: std::collections::BTreeMap::new(),
        cwd: None,
        stdin: StdinSource::Null,
        timeout_ms: None,
    }
}

/// Reads the events of a process to their end, and that they come in order.
pub(super) async fn outcome(mut events: EventStream) -> Outcome {
    let first = events.next().await.expect("an event").expect("no problem");
    assert!(matches!(first, ProcessEvent::Started { .. }), "the first event is `Started`");
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match events.next().await.expect("an event").expect("no problem") {
            ProcessEvent::Started { .. } => panic!("`Started` came twice"),
            ProcessEvent::Stdout(bytes) => stdout.extend_from_slice(&bytes),
            ProcessEvent::Stderr(bytes) => stderr.extend_from_slice(&bytes),
            ProcessEvent::Exited(status) => {
                assert!(events.next().await.is_none(), "nothing follows `Exited`");
                return Outcome { stdout, stderr, status };
            }
        }
    }
}

/// Checks that a call failed, and why.
#[track_caller]
pub(super) fn fails_with<T: std::fmt::Debug>(result: Result<T, Problem>, code: ErrorCode) -> Problem {
    let problem = result.expect_err("the call fails");
    assert_eq!(problem.code, code, "{problem:?}");
    problem
}

/// Bytes that repeat nowhere near and compress badly.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let byte = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(byte).take(length).collect()
}

/// Content in chunks of this size, whose length is announced or not.
pub(super) fn chunked(bytes: &[u8], size: usize, announced: bool) -> Body {
    let chunks: Vec<_> = bytes.chunks(size).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let length = announced.then(|| u64::try_from(bytes.len()).expect("a length"));
    Body::from_stream(stream::iter(chunks), length)
}

/// Content that breaks off after these bytes.
pub(super) fn broken(bytes: &'static [u8], length: Option<u64>) -> Body {
    let chunks = [Ok(Bytes::from_static(bytes)), Err(BodyError::Interrupted { source: None })];
    Body::from_stream(stream::iter(chunks), length)
}
