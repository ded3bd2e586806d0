//! The inside of one box, as Python calls it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use devbox_client::{LargeOptions, Sandbox};
use devbox_guest::Body;
use devbox_types::archive::{ArchiveRequest, NoSuchFormat, UnpackRequest};
use devbox_types::devbox::Devbox;
use devbox_types::entry::StatRequest;
use devbox_types::etag::WriteCondition;
use devbox_types::file::{ByteRange, Durability, ReadRequest, WriteRequest};
use devbox_types::metadata::{MetadataChange, Xattr};
use devbox_types::operation::Operations;
use devbox_types::patch::{PatchPlace, PatchRequest};
use devbox_types::{ActingUser, BoxPath, ErrorCode, ListRequest, Problem, Timestamp, WirePath};
use futures_util::StreamExt as _;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::batch::{self, Part};
use crate::client::Connector;
use crate::content::Source;
use crate::entry::{Entry, EntryIterator};
use crate::failure::Failure;
use crate::large::{Listener, large_options};
use crate::process::{Process, Spec};
use crate::runtime::{PerProcess, wait};
use crate::save::save;

/// See `_native.pyi`.
#[pyclass(frozen, module = "sealos_devbox._native")]
pub(crate) struct Guest {
    connector: Arc<Connector>,
    devbox: Devbox,
    sandbox: PerProcess<Arc<Sandbox>>,
}

impl Guest {
    pub(crate) fn new(connector: Arc<Connector>, devbox: Devbox) -> Self {
        Self { connector, devbox, sandbox: PerProcess::new() }
    }

    /// The handle of this process on the box, acting as `user`.
    fn act_as(&self, py: Python<'_>, user: &str) -> Result<Arc<Sandbox>, Failure> {
        let sandbox = self.sandbox.get(py, || self.connector.sandbox(py, &self.devbox).map(Arc::new))?;
        if user.is_empty() {
            return Ok(sandbox);
        }
        let user: ActingUser = user.parse().map_err(|error: devbox_types::user::ActingUserError| {
            Problem::new(ErrorCode::InvalidRequest, format!("{user:?}: {error}"))
        })?;
        Ok(Arc::new(sandbox.as_user(user)))
    }
}

/// How a file is written.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct WriteOptions {
    mode: Option<u32>,
    modified_ns: Option<i64>,
    parents: bool,
    nofollow: bool,
    sync: bool,
    verify: bool,
    in_place: bool,
    read_back: bool,
    /// Tags as `If-Match` has them.
    if_match: Option<String>,
    if_absent: bool,
}

/// How a part of a file is changed.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct PatchOptions {
    /// None: after the end.
    offset: Option<u64>,
    truncate: Option<u64>,
    create: bool,
    atomic: bool,
    sync: bool,
    verify: bool,
    /// Tags as `If-Match` has them.
    if_match: Option<String>,
}

#[pymethods]
impl Guest {
    #[pyo3(signature = (path, user, offset, length))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        path: &[u8],
        user: &str,
        offset: u64,
        length: Option<u64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let sandbox = self.act_as(py, user)?;
        let path = BoxPath::parse(path).map_err(Failure::from)?;
        if length == Some(0) {
            return Ok(PyBytes::new(py, b""));
        }
        let request = ReadRequest { range: range(offset, length), ..ReadRequest::whole(path) };
        let read = async move {
            let content = sandbox.open_with(request).await?;
            gather(content.body, content.head.length).await
        };
        let bytes = wait(py, read, None)?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn download(&self, py: Python<'_>, path: &[u8], user: &str, to: PathBuf) -> PyResult<Entry> {
        let sandbox = self.act_as(py, user)?;
        let request = ReadRequest::whole(BoxPath::parse(path).map_err(Failure::from)?);
        let download = async move {
            let content = sandbox.open_with(request).await?;
            save(content.body, &to, Some(&content.head.entry)).await?;
            Ok(content.head.entry)
        };
        wait(py, download, None).map(Entry::from)
    }

    fn write(
        &self,
        py: Python<'_>,
        path: &[u8],
        user: &str,
        source: Source,
        options: WriteOptions,
    ) -> PyResult<Entry> {
        let sandbox = self.act_as(py, user)?;
        let request = options.request(BoxPath::parse(path).map_err(Failure::from)?)?;
        let content = py.detach(|| source.open(options.verify))?;
        let request = WriteRequest { digests: content.digests, ..request };
        let write = async move { Ok(sandbox.write_with(request, content.body).await?) };
        Ok(wait(py, write, content.feeder)?.entry.into())
    }

    fn patch(
        &self,
        py: Python<'_>,
        path: &[u8],
        user: &str,
        source: Source,
        options: PatchOptions,
    ) -> PyResult<Entry> {
        let sandbox = self.act_as(py, user)?;
        let request = options.request(BoxPath::parse(path).map_err(Failure::from)?)?;
        let content = py.detach(|| source.open(options.verify))?;
        let request = PatchRequest { digests: content.digests, ..request };
        let patch = async move { Ok(sandbox.patch_with(request, content.body).await?) };
        Ok(wait(py, patch, content.feeder)?.entry.into())
    }

    /// `change` is the body of `PATCH /entries`.
    fn set_metadata(&self, py: Python<'_>, path: &[u8], user: &str, change: &str) -> PyResult<Entry> {
        let sandbox = self.act_as(py, user)?;
        let change: MetadataChange = serde_json::from_str(change).map_err(|error| {
            Failure::from(Problem::new(
                ErrorCode::InvalidRequest,
                format!("an argument is malformed: {error}"),
            ))
        })?;
        let path = path.to_vec();
        let set = async move { Ok(sandbox.set_metadata(path, change).await?) };
        wait(py, set, None).map(Entry::from)
    }

    fn xattrs<'py>(
        &self,
        py: Python<'py>,
        path: &[u8],
        user: &str,
        follow: bool,
    ) -> PyResult<Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>> {
        let sandbox = self.act_as(py, user)?;
        let path = BoxPath::parse(path).map_err(Failure::from)?;
        let request = StatRequest { path, follow, xattrs: true };
        let look = async move {
            let entry = sandbox.guest().stat(sandbox.grant(), request).await?;
            Ok(entry.xattrs.unwrap_or_default())
        };
        let xattrs = wait(py, look, None)?;
        let pair = |xattr: Xattr| (PyBytes::new(py, &xattr.name), PyBytes::new(py, &xattr.value));
        Ok(xattrs.into_iter().map(pair).collect())
    }

    /// `told(percent, done, sent, total, retries)` says whether to go on.
    #[pyo3(signature = (path, user, local, options, piece, resume, told))]
    #[expect(clippy::too_many_arguments, reason = "Python's call has as many")]
    fn upload_large(
        &self,
        py: Python<'_>,
        path: &[u8],
        user: &str,
        local: PathBuf,
        options: WriteOptions,
        piece: u64,
        resume: bool,
        told: Option<Py<PyAny>>,
    ) -> PyResult<Entry> {
        let sandbox = self.act_as(py, user)?;
        let request = options.request(BoxPath::parse(path).map_err(Failure::from)?)?;
        let mut listener = Listener::new(told);
        let options = large_options(piece, resume);
        let upload = async {
            let outcome = listener.follow(|mut tell| async move {
                sandbox.upload_large_file(&local, request, &options, &mut *tell).await
            });
            let outcome = outcome.await;
            listener.conclude(outcome)
        };
        wait(py, upload, None).map(Entry::from)
    }

    #[pyo3(signature = (path, user, local, resume, told))]
    fn download_large(
        &self,
        py: Python<'_>,
        path: &[u8],
        user: &str,
        local: PathBuf,
        resume: bool,
        told: Option<Py<PyAny>>,
    ) -> PyResult<Entry> {
        let sandbox = self.act_as(py, user)?;
        let mut listener = Listener::new(told);
        let options = large_options(LargeOptions::PIECE_BYTES, resume);
        let download = async {
            let outcome = listener.follow(|mut tell| async move {
                sandbox.download_large_file(path, &local, &options, &mut *tell).await
            });
            let outcome = outcome.await;
            listener.conclude(outcome)
        };
        wait(py, download, None).map(Entry::from)
    }

    fn write_many(&self, py: Python<'_>, user: &str, parts: Vec<Part>, verify: bool) -> PyResult<(u64, u64)> {
        let sandbox = self.act_as(py, user)?;
        let report = wait(py, batch::upload(sandbox, parts, verify), None)?;
        Ok((report.entries, report.bytes))
    }

    fn stat(&self, py: Python<'_>, path: &[u8], user: &str, follow: bool) -> PyResult<Entry> {
        let sandbox = self.act_as(py, user)?;
        let stat = async move {
            Ok(if follow { sandbox.stat_target(path).await? } else { sandbox.stat(path).await? })
        };
        wait(py, stat, None).map(Entry::from)
    }

    fn list(&self, py: Python<'_>, path: &[u8], user: &str, depth: u32) -> PyResult<Vec<Entry>> {
        let sandbox = self.act_as(py, user)?;
        let list = async move {
            let mut stream = sandbox.walk(path, depth).await?;
            let mut entries = Vec::new();
            while let Some(entry) = stream.next().await {
                entries.push(entry?);
            }
            entries.sort_by(|left, right| left.path.0.cmp(&right.path.0));
            Ok(entries)
        };
        Ok(wait(py, list, None)?.into_iter().map(Entry::from).collect())
    }

    fn walk(&self, py: Python<'_>, path: &[u8], user: &str) -> PyResult<EntryIterator> {
        let sandbox = self.act_as(py, user)?;
        let walk = async move { Ok(sandbox.walk(path, ListRequest::MAX_DEPTH).await?) };
        wait(py, walk, None).map(EntryIterator::from)
    }

    fn apply(&self, py: Python<'_>, user: &str, operations: &str) -> PyResult<(u64, bool)> {
        let sandbox = self.act_as(py, user)?;
        let Operations { operations } = serde_json::from_str(operations).map_err(|error| {
            Failure::from(Problem::new(
                ErrorCode::InvalidRequest,
                format!("an argument is malformed: {error}"),
            ))
        })?;
        let report = wait(py, async move { Ok(sandbox.apply(operations).await?) }, None)?;
        Ok((report.entries, report.atomic))
    }

    fn pack<'py>(
        &self,
        py: Python<'py>,
        user: &str,
        paths: Vec<PyBackedBytes>,
        options: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let sandbox = self.act_as(py, user)?;
        let request = archive_request(&sandbox, &paths, options)?;
        let pack = async move { gather(sandbox.pack(request).await?, 0).await };
        let bytes = wait(py, pack, None)?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn pack_to(
        &self,
        py: Python<'_>,
        user: &str,
        paths: Vec<PyBackedBytes>,
        options: &str,
        to: PathBuf,
    ) -> PyResult<u64> {
        let sandbox = self.act_as(py, user)?;
        let request = archive_request(&sandbox, &paths, options)?;
        let pack = async move {
            let body = sandbox.pack(request).await?;
            save(body, &to, None).await
        };
        wait(py, pack, None)
    }

    /// Calls `write` with the archive, chunk by chunk.
    fn pack_into(
        &self,
        py: Python<'_>,
        user: &str,
        paths: Vec<PyBackedBytes>,
        options: &str,
        write: Py<PyAny>,
    ) -> PyResult<u64> {
        let sandbox = self.act_as(py, user)?;
        let request = archive_request(&sandbox, &paths, options)?;
        let pack = async move {
            let mut body = sandbox.pack(request).await?;
            let mut size = 0;
            while let Some(chunk) = body.next().await.transpose()? {
                Python::attach(|py| write.call1(py, (PyBytes::new(py, &chunk),)))?;
                size += u64::try_from(chunk.len()).unwrap_or(0);
            }
            Ok(size)
        };
        wait(py, pack, None)
    }

    /// `options`: the format, how many segments names lose, and whether the directory is made.
    fn unpack(
        &self,
        py: Python<'_>,
        directory: &[u8],
        user: &str,
        source: Source,
        options: (String, u32, bool),
    ) -> PyResult<(u64, u64)> {
        let sandbox = self.act_as(py, user)?;
        let (format, strip, make_parents) = options;
        let format = format
            .parse()
            .map_err(|error: NoSuchFormat| Problem::new(ErrorCode::InvalidRequest, error.to_string()))
            .map_err(Failure::from)?;
        let directory = BoxPath::parse(directory).map_err(Failure::from)?;
        let request = UnpackRequest { directory, format, strip, make_parents };
        let content = py.detach(|| source.open(false))?;
        let unpack = async move { Ok(sandbox.unpack(request, content.body).await?) };
        let report = wait(py, unpack, content.feeder)?;
        Ok((report.entries, report.bytes))
    }

    fn spawn(&self, py: Python<'_>, user: &str, spec: Spec) -> PyResult<Process> {
        let sandbox = self.act_as(py, user)?;
        Process::spawn(py, sandbox, spec)
    }
}

impl WriteOptions {
    fn request(&self, path: BoxPath) -> Result<WriteRequest, Failure> {
        let condition = match (&self.if_match, self.if_absent) {
            (None, false) => WriteCondition::None,
            (None, true) => WriteCondition::Absent,
            (Some(tags), false) => WriteCondition::from_headers(Some(tags), None)
                .map_err(|error| Problem::new(ErrorCode::InvalidRequest, error.to_string()))?,
            (Some(_), true) => {
                return Err(Problem::new(
                    ErrorCode::InvalidRequest,
                    "give `if_match` or `if_absent`, not both",
                )
                .into());
            }
        };
        Ok(WriteRequest {
            condition,
            mode: self.mode,
            modified: self.modified_ns.map(Timestamp::from_nanoseconds),
            make_parents: self.parents,
            nofollow: self.nofollow,
            in_place: self.in_place,
            verify: self.read_back,
            durability: if self.sync { Durability::Power } else { Durability::Process },
            ..WriteRequest::to(path)
        })
    }
}

impl PatchOptions {
    fn request(&self, path: BoxPath) -> Result<PatchRequest, Failure> {
        let condition = match &self.if_match {
            None => WriteCondition::None,
            Some(tags) => WriteCondition::from_headers(Some(tags), None)
                .map_err(|error| Problem::new(ErrorCode::InvalidRequest, error.to_string()))?,
        };
        let place = self.offset.map_or(PatchPlace::End, PatchPlace::Offset);
        Ok(PatchRequest {
            truncate: self.truncate,
            condition,
            create: self.create,
            atomic: self.atomic,
            durability: if self.sync { Durability::Power } else { Durability::Process },
            ..PatchRequest::at(path, place)
        })
    }
}

/// What to pack: paths as the caller wrote them, and the other fields of the request as JSON.
fn archive_request(
    sandbox: &Sandbox,
    paths: &[PyBackedBytes],
    options: &str,
) -> Result<ArchiveRequest, Failure> {
    let request: ArchiveRequest = serde_json::from_str(options).map_err(|error| {
        Problem::new(ErrorCode::InvalidRequest, format!("an argument is malformed: {error}"))
    })?;
    let paths = paths.iter().map(|path| Ok(WirePath(sandbox.resolve(path)?)));
    Ok(ArchiveRequest { paths: paths.collect::<Result<_, Failure>>()?, ..request })
}

/// Collects content into memory; `length` is how much was announced.
async fn gather(mut body: Body, length: u64) -> Result<Bytes, Failure> {
    /// Memory is asked for ahead up to this size; an announcement is not to be trusted with more.
    const MAX_AHEAD: usize = 1 << 30;
    let Some(first) = body.next().await.transpose()? else { return Ok(Bytes::new()) };
    let Some(second) = body.next().await.transpose()? else { return Ok(first) };
    let mut whole = Vec::with_capacity(usize::try_from(length).unwrap_or(MAX_AHEAD).min(MAX_AHEAD));
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&second);
    while let Some(chunk) = body.next().await.transpose()? {
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.into())
}

fn range(offset: u64, length: Option<u64>) -> ByteRange {
    match (offset, length) {
        (0, None) => ByteRange::Whole,
        (first, length) => ByteRange::FromTo {
            first,
            last: length.map(|length| first.saturating_add(length).saturating_sub(1)),
        },
    }
}
