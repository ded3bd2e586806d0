//! The file calls of the contract.

use async_trait::async_trait;
use devbox_fs::{FsError, Walk};
use devbox_guest::contract::{EntryStream, UploadParts};
use devbox_guest::{Body, FileContent, Files};
use devbox_types::entry::StatRequest;
use devbox_types::file::{ReadRequest, WriteRequest, Written};
use devbox_types::operation::{Operation, Report};
use devbox_types::patch::PatchRequest;
use devbox_types::{Entry, Grant, ListPage, ListRequest, Problem};
use futures_util::stream::{self, StreamExt as _};

use crate::content::{body_of, digests_of};
use crate::deadline::Deadline;
use crate::guest::LocalGuest;
use crate::upload::{write_batch, write_streamed};
use crate::work::{STEPS, are_small, begin_elsewhere, elsewhere, finished, is_small_write};

#[async_trait]
impl Files for LocalGuest {
    async fn read(&self, grant: &Grant, request: ReadRequest) -> Result<FileContent, Problem> {
        let deadline = Deadline::of(grant);
        let (mut head, reader) = self.root.enter(grant)?.open_file(&request)?;
        let (digests, reader) = digests_of(reader, deadline).await?;
        head.digests = digests;
        let body = if head.not_modified { Body::empty() } else { body_of(reader, deadline)? };
        Ok(FileContent { head, body })
    }

    async fn write(&self, grant: &Grant, mut request: WriteRequest, body: Body) -> Result<Written, Problem> {
        if request.length.is_none() {
            request.length = body.length();
        }
        match body.as_bytes() {
            Some(content) if is_small_write(content.len(), &request) && !self.publishing.is_under_way() => {
                Ok(self.root.enter(grant)?.write_file(request, content)?)
            }
            Some(content) if request.in_place => {
                let (root, grant, content) = (self.root.clone(), grant.clone(), content.clone());
                elsewhere(move || root.enter(&grant)?.write_file(request, &content)).await
            }
            _ => write_streamed(self.root.clone(), grant, |view| view.begin_write(request), body).await,
        }
    }

    async fn patch(&self, grant: &Grant, mut request: PatchRequest, body: Body) -> Result<Written, Problem> {
        if request.length.is_none() {
            request.length = body.length();
        }
        match body.as_bytes() {
            Some(content) => {
                let (root, grant, content) = (self.root.clone(), grant.clone(), content.clone());
                elsewhere(move || root.enter(&grant)?.patch_file(&request, &content)).await
            }
            None => {
                write_streamed(self.root.clone(), grant, move |view| view.begin_patch(&request), body).await
            }
        }
    }

    async fn stat(&self, grant: &Grant, request: StatRequest) -> Result<Entry, Problem> {
        Ok(self.root.enter(grant)?.look(&request)?)
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
        write_batch(self.root.clone(), grant, parts, &self.publishing).await
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

#[cfg(test)]
mod tests {
    use devbox_types::BoxPath;
    use devbox_types::file::WriteRequest;
    use futures_util::FutureExt as _;

    use super::*;
    use crate::LocalGuestOptions;

    #[test]
    fn what_may_take_long_does_not_hold_up_the_thread_of_the_calls() {
        let folder = tempfile::tempdir().expect("a folder");
        let guest = LocalGuest::open(LocalGuestOptions::below(folder.path())).expect("a guest");
        let grant = Grant::whole_box();
        let path = || BoxPath::parse(b"/file").expect("a path");
        let write = || guest.write(&grant, WriteRequest::to(path()), Body::from_bytes("x")).now_or_never();
        let apply = |operation| guest.apply(&grant, vec![operation]).now_or_never();
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build();
        let runtime = runtime.expect("a runtime");
        let _entered = runtime.enter();
        // The one thread for blocking work has no time, so what goes there cannot be done yet.
        let (end, ended) = std::sync::mpsc::channel::<()>();
        runtime.spawn_blocking(move || ended.recv());
        let published = guest.publishing.begin();
        assert!(write().is_none(), "it could wait for the batch");
        drop(published);
        assert!(write().is_some(), "it is done at once");
        assert!(apply(Operation::Chmod { path: path(), mode: 0o600 }).is_none());
        assert!(apply(Operation::Delete { path: path(), recursive: false, missing_ok: true }).is_some());
        drop(end);
    }
}
