//! What is known of one name in a box, as a Python object, and streams of them.

use std::collections::VecDeque;
use std::sync::Mutex;

use devbox_guest::contract::EntryStream;
use devbox_types::{Entry as WireEntry, EntryKind, Problem};
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, ReadyChunks};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDateTime, PyDelta, PyString, PyTzInfo};

use crate::failure::Failure;
use crate::process::{busy, locked};
use crate::runtime::wait;

/// See `_native.pyi`.
#[pyclass(frozen, eq, module = "sealos_devbox")]
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry(WireEntry);

impl From<WireEntry> for Entry {
    fn from(entry: WireEntry) -> Self {
        Self(entry)
    }
}

#[pymethods]
impl Entry {
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        let bytes = self.0.path.0.as_bytes();
        text(py, &[b"/", bytes].concat())
    }

    #[getter]
    fn name<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, self.0.path.0.name().unwrap_or_default())
    }

    #[getter]
    fn kind(&self) -> &'static str {
        match self.0.kind {
            EntryKind::File => "file",
            EntryKind::Directory => "directory",
            EntryKind::Symlink => "symlink",
            EntryKind::Fifo => "fifo",
            EntryKind::Socket => "socket",
            EntryKind::BlockDevice => "block_device",
            EntryKind::CharacterDevice => "character_device",
        }
    }

    #[getter]
    fn is_file(&self) -> bool {
        self.0.kind == EntryKind::File
    }

    #[getter]
    fn is_dir(&self) -> bool {
        self.0.kind == EntryKind::Directory
    }

    #[getter]
    fn is_symlink(&self) -> bool {
        self.0.kind == EntryKind::Symlink
    }

    #[getter]
    fn size(&self) -> u64 {
        self.0.size_bytes
    }

    #[getter]
    fn mode(&self) -> u32 {
        self.0.mode
    }

    #[getter]
    fn uid(&self) -> u32 {
        self.0.uid
    }

    #[getter]
    fn gid(&self) -> u32 {
        self.0.gid
    }

    #[getter]
    fn owner(&self) -> Option<&str> {
        self.0.owner.as_deref()
    }

    #[getter]
    fn links(&self) -> u64 {
        self.0.links
    }

    #[getter]
    fn modified<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // From the epoch by addition, which is exact to the microsecond and knows times before it.
        let (seconds, fraction) = self.0.modified.parts();
        let (days, seconds) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let days = i32::try_from(days).unwrap_or(i32::MAX);
        let seconds = i32::try_from(seconds).unwrap_or(0);
        let microseconds = i32::try_from(fraction / 1000).unwrap_or(0);
        let utc = PyTzInfo::utc(py)?;
        let epoch = PyDateTime::new(py, 1970, 1, 1, 0, 0, 0, 0, Some(&utc))?;
        epoch.add(PyDelta::new(py, days, seconds, microseconds, true)?)
    }

    #[getter]
    fn modified_ns(&self) -> i64 {
        self.0.modified.nanoseconds()
    }

    #[getter]
    fn changed_ns(&self) -> i64 {
        self.0.changed.nanoseconds()
    }

    #[getter]
    fn target<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        self.0.target.as_deref().map(|target| text(py, target)).transpose()
    }

    #[getter]
    fn etag(&self) -> Option<String> {
        self.0.etag.as_ref().map(ToString::to_string)
    }

    fn __fspath__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.path(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let path = self.path(py)?.repr()?.to_string();
        Ok(format!("<Entry {path} {} {} bytes mode {:04o}>", self.kind(), self.0.size_bytes, self.0.mode))
    }
}

/// Bytes of the box as Python has file names: UTF-8, and what is not as surrogate escapes.
fn text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(PyString::new(py, text)),
        Err(_) => {
            PyString::from_encoded_object(&PyBytes::new(py, bytes), Some(c"utf-8"), Some(c"surrogateescape"))
        }
    }
}

/// How many entries that are there already are taken at once: the interpreter lock changes hands once for them.
const BATCH: usize = 256;

/// See `_native.pyi`.
#[pyclass(frozen, module = "sealos_devbox._native")]
pub(crate) struct EntryIterator(Mutex<Option<State>>);

struct State {
    stream: ReadyChunks<BoxStream<'static, Result<WireEntry, Problem>>>,
    ready: VecDeque<Result<WireEntry, Problem>>,
}

impl From<EntryStream> for EntryIterator {
    fn from(stream: EntryStream) -> Self {
        Self(Mutex::new(Some(State { stream: stream.ready_chunks(BATCH), ready: VecDeque::new() })))
    }
}

#[pymethods]
impl EntryIterator {
    fn __iter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Entry>> {
        let mut state = locked(&self.0).take().ok_or_else(busy)?;
        let next = state.next(py);
        *locked(&self.0) = Some(state);
        next
    }
}

impl State {
    fn next(&mut self, py: Python<'_>) -> PyResult<Option<Entry>> {
        if self.ready.is_empty() {
            let more = wait(py, async { Ok::<_, Failure>(self.stream.next().await) }, None)?;
            self.ready = more.unwrap_or_default().into();
        }
        match self.ready.pop_front() {
            Some(entry) => Ok(Some(entry.map_err(Failure::from)?.into())),
            None => Ok(None),
        }
    }
}
