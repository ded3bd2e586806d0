//! Many files in one request.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use devbox_client::Sandbox;
use devbox_guest::UploadPart;
use devbox_guest::contract::UploadParts;
use devbox_types::file::WriteRequest;
use devbox_types::operation::Report;
use devbox_types::{BoxPath, ErrorCode, Problem, Timestamp};
use futures_util::stream::{self, StreamExt as _};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::content::{Source, in_memory};
use crate::failure::Failure;

/// One file of a batch, as Python gives it: path, content, mode, modification time in nanoseconds.
#[derive(FromPyObject)]
pub(crate) struct Part(PyBackedBytes, PartSource, Option<u32>, Option<i64>);

/// Content of a part: in memory, or in a local file that is opened when its turn comes.
#[derive(FromPyObject)]
enum PartSource {
    Bytes(PyBackedBytes),
    Local(PathBuf),
}

/// Why the batch could not be read to its end, if it was for our own side's fault.
type Culprit = Arc<Mutex<Option<Failure>>>;

/// A content that can be read as often as needed.
#[derive(Clone)]
enum Again {
    Bytes(Bytes),
    Local(PathBuf),
}

/// Writes the files: all of them, or none. Sent again if the line breaks, and written once.
pub(crate) async fn upload(sandbox: Arc<Sandbox>, parts: Vec<Part>, verify: bool) -> Result<Report, Failure> {
    let requests = parts.into_iter().map(Part::parse).collect::<Result<Vec<_>, Failure>>()?;
    let culprit = Culprit::default();
    let answer =
        sandbox.upload_parts_of(|| open_in_turn(requests.clone(), verify, Arc::clone(&culprit))).await;
    match culprit.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(failure) => Err(failure),
        None => Ok(answer?),
    }
}

impl Part {
    fn parse(self) -> Result<(WriteRequest, Again), Failure> {
        let Self(path, source, mode, modified) = self;
        let request = WriteRequest {
            mode,
            modified: modified.map(Timestamp::from_nanoseconds),
            make_parents: true,
            ..WriteRequest::to(BoxPath::parse(&path)?)
        };
        let source = match source {
            PartSource::Bytes(bytes) => Again::Bytes(Bytes::from_owner(bytes)),
            PartSource::Local(path) => Again::Local(path),
        };
        Ok((request, source))
    }
}

/// Opens each file when its turn comes, so that at most one is open, and on a thread that may wait for the disk.
fn open_in_turn(requests: Vec<(WriteRequest, Again)>, verify: bool, culprit: Culprit) -> UploadParts {
    let open = move |(request, source): (WriteRequest, Again)| {
        let culprit = Arc::clone(&culprit);
        async move {
            let opened = match source {
                Again::Local(path) => {
                    tokio::task::spawn_blocking(move || Source::Local(path).open(verify)).await.ok()
                }
                Again::Bytes(bytes) => Some(Ok(in_memory(bytes, verify))),
            };
            match opened {
                Some(Ok(content)) => {
                    let (length, digests) = (content.body.length(), content.digests);
                    Ok(UploadPart {
                        request: WriteRequest { length, digests, ..request },
                        body: content.body,
                    })
                }
                failed => {
                    *culprit.lock().unwrap_or_else(PoisonError::into_inner) = failed.and_then(Result::err);
                    Err(Problem::new(ErrorCode::Interrupted, "a local file could not be read"))
                }
            }
        }
    };
    stream::iter(requests).then(open).boxed()
}
