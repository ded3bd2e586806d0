//! Many files as one stream.

use async_trait::async_trait;
use devbox_fs::{FsError, View};
use devbox_guest::{Archives, Body, BodyError};
use devbox_types::archive::{ArchiveRequest, UnpackRequest};
use devbox_types::file::ReadRequest;
use devbox_types::operation::Report;
use devbox_types::{BoxPath, Entry, EntryKind, ErrorCode, Grant, ListRequest, Problem};
use futures_util::stream;
use tokio::sync::mpsc;

use crate::deadline::Deadline;
use crate::guest::LocalGuest;
use crate::pack::{Packer, PieceWriter, WAITING_PIECES};
use crate::selection::Selection;
use crate::unpack::unpack;
use crate::work::elsewhere;

#[async_trait]
impl Archives for LocalGuest {
    /// Entries are named by their paths without the leading `/`. FIFOs, sockets and devices below a chosen directory are left
    /// out, since no archive should hold them; one that is itself chosen is `not_a_regular_file`. What vanishes meanwhile is left
    /// out; a file or directory that may not be read ends the stream with that problem.
    ///
    /// # Cancel safety
    /// Dropping the future or the body stops the packing at the next piece.
    async fn pack(&self, grant: &Grant, request: ArchiveRequest) -> Result<Body, Problem> {
        let deadline = Deadline::of(grant);
        if request.paths.is_empty() {
            return Err(Problem::new(
                ErrorCode::InvalidRequest,
                "there is nothing to pack: `paths` is empty",
            ));
        }
        let format = request.format;
        let selection = Selection::of(&request).map_err(|error| Problem::of(&error))?;
        let paths = without_repetition(request.paths.into_iter().map(|path| path.0).collect());
        let (root, own_grant) = (self.root.clone(), grant.clone());
        let (view, chosen) = elsewhere(move || {
            let view = root.enter(&own_grant)?;
            let chosen = paths.iter().map(|path| check(&view, path)).collect::<Result<Vec<_>, _>>()?;
            Ok((view, chosen))
        })
        .await?;
        let turn = deadline.bound(std::sync::Arc::clone(&self.packing).acquire_owned()).await?;
        let (sender, receiver) = mpsc::channel(WAITING_PIECES);
        let packer = Packer::new(view, grant, deadline, selection);
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            if let Err(problem) = packer.pack(format, chosen, PieceWriter::new(sender.clone())) {
                // If nobody listens, nobody wants the problem either.
                let _: Result<(), _> = sender.blocking_send(Err(BodyError::Problem(problem)));
            }
        });
        let pieces = stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
        Ok(Body::from_stream(pieces, None))
    }

    async fn unpack(&self, grant: &Grant, request: UnpackRequest, body: Body) -> Result<Report, Problem> {
        let deadline = Deadline::of(grant);
        let turn = deadline.bound(std::sync::Arc::clone(&self.unpacking).acquire_owned()).await?;
        let turn = turn.map_err(|_| Problem::new(ErrorCode::Internal, "nothing is unpacked any more"))?;
        unpack(self.root.clone(), grant, request, body, turn, self.publishing.later()).await
    }
}

/// Leaves out what is chosen twice, or lies in a chosen directory.
fn without_repetition(mut paths: Vec<BoxPath>) -> Vec<BoxPath> {
    paths.sort();
    let mut chosen: Vec<BoxPath> = Vec::with_capacity(paths.len());
    let mut seen = std::collections::HashSet::new();
    for path in paths {
        if seen.insert(path.as_bytes().to_vec()) && !has_parent_in(&seen, &path) {
            chosen.push(path);
        }
    }
    chosen
}

/// Sorted paths come after their parents, so a parent that was chosen is known by now.
fn has_parent_in(seen: &std::collections::HashSet<Vec<u8>>, path: &BoxPath) -> bool {
    let mut parent = path.parent();
    while let Some(directory) = parent {
        if seen.contains(directory.as_bytes()) {
            return true;
        }
        parent = directory.parent();
    }
    false
}

fn check(view: &View, path: &BoxPath) -> Result<Entry, FsError> {
    let entry = view.stat(path, false)?;
    match entry.kind {
        EntryKind::File => {
            view.open_file(&ReadRequest { head: true, ..ReadRequest::whole(path.clone()) })?;
        }
        EntryKind::Directory => drop(view.walk(&ListRequest::of(path.clone()))?),
        EntryKind::Symlink => (),
        kind
        @ (EntryKind::Fifo | EntryKind::Socket | EntryKind::BlockDevice | EntryKind::CharacterDevice) => {
            return Err(FsError::NotARegularFile { path: path.clone(), kind });
        }
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_chosen_twice_is_packed_once() {
        let paths = ["/a/b/c", "/a-b", "/a", "/a/b", "/a", "/b/c/"];
        let paths = paths.iter().map(|path| BoxPath::parse(path.as_bytes()).expect("a path")).collect();
        let chosen: Vec<String> = without_repetition(paths).iter().map(ToString::to_string).collect();
        assert_eq!(chosen, ["/a", "/a-b", "/b/c"]);
    }
}
