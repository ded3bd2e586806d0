//! The file calls of the contract.

use async_trait::async_trait;
use devbox_fs::{FsError, Walk};
use devbox_guest::contract::{EntryStream, UploadParts};
use devbox_guest::{Body, FileContent, Files};
use devbox_types::file::{ReadRequest, WriteRequest, Written};
use devbox_types::operation::{Operation, Report};
use devbox_types::{BoxPath, Entry, Grant, ListPage, ListRequest, Problem};
use futures_util::stream::{self, StreamExt as _};

use crate::content::body_of;
use crate::deadline::Deadline;
use crate::guest::LocalGuest;
use crate::upload::{write_batch, write_streamed};
use crate::work::{STEPS, are_small, begin_elsewhere, elsewhere, finished, is_small_write};

#[async_trait]
impl Files for LocalGuest {
    async fn read(&self, grant: &Grant, request: ReadRequest) -> Result<FileContent, Problem> {
        let (head, reader) = self.root.enter(grant)?.open_file(&request)?;
        let body = if head.not_modified { Body::empty() } else { body_of(reader, Deadline::of(grant))? };
        Ok(FileContent { head, body })
    }

    async fn write(&self, grant: &Grant, mut request: WriteRequest, body: Body) -> Result<Written, Problem> {
        if request.length.is_none() {
            request.length = body.length();
        }
        match body.as_bytes() {
            Some(content) if is_small_write(content.len(), request.durability) => {
                Ok(self.root.enter(grant)?.write_file(request, content)?)
            }
            _ => write_streamed(self.root.clone(), grant, request, body).await,
        }
    }

    async fn stat(&self, grant: &Grant, path: BoxPath, follow: bool) -> Result<Entry, Problem> {
        Ok(self.root.enter(grant)?.stat(&path, follow)?)
    }

    async fn list(&self, grant: &Grant, request: ListRequest) -> Result<ListPage, Problem> {
        let (root, grant) = (self.root.clone(), grant.clone());
        elsewhere(move || root.enter(&grant)?.list(&request)).await
    }

    async fn walk(&self, grant: &Grant, request: ListRequest) -> Result<EntryStream, Problem> {
        let (root, grant) = (self.root.clone(), grant.clone());
        let walk = elsewhere(move || root.enter(&grant)?.walk(&request)).await?;
        Ok(entries_of(walk))
    }

    async fn apply(&self, grant: &Grant, operations: Vec<Operation>) -> Result<Report, Problem> {
        if are_small(&operations) {
            return Ok(self.root.enter(grant)?.apply(&operations)?);
        }
        let (root, grant) = (self.root.clone(), grant.clone());
        elsewhere(move || root.enter(&grant)?.apply(&operations)).await
    }

    async fn write_many(&self, grant: &Grant, parts: UploadParts) -> Result<Report, Problem> {
        write_batch(self.root.clone(), grant, parts).await
    }
}

/// The entries of a walk, a group of them ahead of who takes them.
fn entries_of(walk: Walk) -> EntryStream {
    let read_group = |mut walk: Walk| {
        begin_elsewhere(move || {
            let group: Vec<Result<Entry, FsError>> = walk.by_ref().take(STEPS).collect();
            Ok((walk, group))
        })
    };
    let groups = stream::unfold(Some(read_group(walk)), move |reading| async move {
        match finished(reading?).await {
            Ok((_, group)) if group.is_empty() => None,
            Ok((walk, group)) => {
                let group = group.into_iter().map(|entry| entry.map_err(Problem::from)).collect();
                Some((group, Some(read_group(walk))))
            }
            Err(problem) => Some((vec![Err(problem)], None)),
        }
    });
    groups.flat_map(stream::iter).boxed()
}
