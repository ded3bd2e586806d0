//! Many files out as one stream.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use async_trait::async_trait;
use bytes::Bytes;
use devbox_archive::{ArchiveError, EntryHead, ZipWriter};
use devbox_fs::{FsError, Reader, View};
use devbox_guest::{Archives, Body, BodyError};
use devbox_types::archive::{ArchiveFormat, ArchiveRequest};
use devbox_types::file::ReadRequest;
use devbox_types::{BoxPath, Entry, EntryKind, ErrorCode, Grant, ListRequest, Problem};
use futures_util::stream;
use tokio::sync::mpsc;

use crate::deadline::Deadline;
use crate::guest::LocalGuest;
use crate::work::elsewhere;

/// How many pieces of an archive may wait for its reader, and how large they are.
const WAITING_PIECES: usize = 4;
const PIECE: usize = 64 * 1024;

#[async_trait]
impl Archives for LocalGuest {
    /// Entries are named by their paths without the leading `/`. FIFOs, sockets and devices below a chosen directory are left
    /// out, since a zip cannot hold them; one that is itself chosen is `not_a_regular_file`. What vanishes meanwhile is left
    /// out; a file or directory that may not be read ends the stream with that problem.
    ///
    /// # Cancel safety
    /// Dropping the future or the body stops the packing at the next piece.
    async fn pack(&self, grant: &Grant, request: ArchiveRequest) -> Result<Body, Problem> {
        let ArchiveFormat::Zip = request.format;
        let deadline = Deadline::of(grant);
        if request.paths.is_empty() {
            return Err(Problem::new(
                ErrorCode::InvalidRequest,
                "there is nothing to pack: `paths` is empty",
            ));
        }
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
        let packer = Packer { view, deadline, bytes_left: grant.max_bytes, entries_left: grant.max_entries };
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            if let Err(problem) = packer.pack(chosen, PieceWriter::new(sender.clone())) {
                // If nobody listens, nobody wants the problem either.
                let _: Result<(), _> = sender.blocking_send(Err(BodyError::Problem(problem)));
            }
        });
        let pieces = stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
        Ok(Body::from_stream(pieces, None))
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

/// Puts entries into an archive, as one grant allows.
struct Packer {
    view: View,
    deadline: Deadline,
    bytes_left: Option<u64>,
    entries_left: Option<u64>,
}

impl Packer {
    fn pack(mut self, chosen: Vec<Entry>, output: PieceWriter) -> Result<(), Problem> {
        let mut zip = ZipWriter::new(output);
        for entry in chosen {
            let is_directory = entry.kind == EntryKind::Directory;
            let path = entry.path.0.clone();
            self.add(&mut zip, entry)?;
            if is_directory {
                self.add_below(&mut zip, path)?;
            }
        }
        zip.finish().map_err(problem_of)?;
        Ok(())
    }

    /// Adds all that is below a directory, however deep.
    fn add_below(&mut self, zip: &mut ZipWriter<PieceWriter>, top: BoxPath) -> Result<(), Problem> {
        let mut tops = VecDeque::from([top]);
        while let Some(top) = tops.pop_front() {
            let depth_of = |path: &BoxPath| path.segments().count();
            let deepest = depth_of(&top).saturating_add(usize::try_from(ListRequest::MAX_DEPTH).unwrap_or(0));
            let request = ListRequest { depth: ListRequest::MAX_DEPTH, ..ListRequest::of(top) };
            let Some(walk) = unless_vanished(self.view.walk(&request))? else { continue };
            for entry in walk {
                let entry = entry?;
                let path = &entry.path.0;
                if entry.kind == EntryKind::Directory {
                    // The walk passes over what it may not enter; an archive must not.
                    drop(unless_vanished(self.view.walk(&ListRequest::of(path.clone())))?);
                    if depth_of(path) >= deepest {
                        tops.push_back(path.clone());
                    }
                }
                self.add(zip, entry)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, zip: &mut ZipWriter<PieceWriter>, entry: Entry) -> Result<(), Problem> {
        self.deadline.check()?;
        count(&mut self.entries_left, 1, "entries")?;
        let path = entry.path.0;
        if path.is_root() {
            return Ok(());
        }
        let head = EntryHead { name: path.as_bytes(), mode: entry.mode, modified: entry.modified };
        match entry.kind {
            EntryKind::Directory => zip.add_directory(&head).map_err(problem_of),
            EntryKind::Symlink => {
                zip.add_symlink(&head, &entry.target.unwrap_or_default()).map_err(problem_of)
            }
            EntryKind::File => self.add_file(zip, &path),
            EntryKind::Fifo | EntryKind::Socket | EntryKind::BlockDevice | EntryKind::CharacterDevice => {
                Ok(())
            }
        }
    }

    fn add_file(&mut self, zip: &mut ZipWriter<PieceWriter>, path: &BoxPath) -> Result<(), Problem> {
        let request = ReadRequest::whole(path.clone());
        let Some((found, reader)) = unless_vanished(self.view.open_file(&request))? else { return Ok(()) };
        count(&mut self.bytes_left, found.length, "bytes")?;
        let entry = found.entry;
        let head = EntryHead { name: path.as_bytes(), mode: entry.mode, modified: entry.modified };
        let content = Content { reader, deadline: self.deadline };
        zip.add_file(&head, found.length, content).map_err(problem_of)
    }
}

fn unless_vanished<T>(result: Result<T, FsError>) -> Result<Option<T>, FsError> {
    match result {
        Err(FsError::NotFound { .. }) => Ok(None),
        other => other.map(Some),
    }
}

fn count(left: &mut Option<u64>, used: u64, what: &str) -> Result<(), Problem> {
    if let Some(left) = left {
        *left = left.checked_sub(used).ok_or_else(|| {
            Problem::new(ErrorCode::TooLarge, format!("the archive has more {what} than this call may have"))
        })?;
    }
    Ok(())
}

/// A file as the archive reads it.
struct Content {
    reader: Reader,
    deadline: Deadline,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.deadline.check().map_err(io::Error::other)?;
        self.reader.read(buffer).map_err(|error| io::Error::other(Problem::from(error)))
    }
}

fn problem_of(error: ArchiveError) -> Problem {
    let problem = Problem::of(&error);
    match error {
        ArchiveError::Read { source, .. } => source.downcast::<Problem>().unwrap_or(problem),
        _ => problem,
    }
}

/// Gathers what is written into pieces for a channel, and waits while too many of them wait.
struct PieceWriter {
    sender: mpsc::Sender<Result<Bytes, BodyError>>,
    piece: Vec<u8>,
}

impl PieceWriter {
    fn new(sender: mpsc::Sender<Result<Bytes, BodyError>>) -> Self {
        Self { sender, piece: Vec::with_capacity(PIECE) }
    }
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        let length = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
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
