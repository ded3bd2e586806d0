//! Putting files into an archive.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};

use bytes::Bytes;
use devbox_archive::{ArchiveError, ArchiveWriter, EntryHead, Segment, SparseMap};
use devbox_fs::{ExtendedAttributes, FsError, Reader, View};
use devbox_guest::BodyError;
use devbox_types::archive::ArchiveFormat;
use devbox_types::file::ReadRequest;
use devbox_types::{BoxPath, Entry, EntryKind, ErrorCode, Grant, ListRequest, Problem};
use tokio::sync::mpsc;

use crate::deadline::Deadline;
use crate::selection::Selection;

/// How many pieces of an archive may wait for its reader, and how large they are.
pub(crate) const WAITING_PIECES: usize = 4;
const PIECE: usize = 64 * 1024;

/// The most files with several names that are remembered; beyond them, further names get the content again.
const MAX_LINKED: usize = 65_536;

/// A file in more pieces than this between holes is packed with the zeros.
const MAX_PIECES: usize = 65_536;

type Archive = ArchiveWriter<PieceWriter>;

/// Puts entries into an archive, as one grant allows.
pub(crate) struct Packer {
    view: View,
    deadline: Deadline,
    bytes_left: Option<u64>,
    entries_left: Option<u64>,
    selection: Selection,
    /// The first name of each file that has several, by its version.
    linked: HashMap<String, BoxPath>,
}

impl Packer {
    pub(crate) fn new(view: View, grant: &Grant, deadline: Deadline, selection: Selection) -> Self {
        Self {
            view,
            deadline,
            bytes_left: grant.max_bytes,
            entries_left: grant.max_entries,
            selection,
            linked: HashMap::new(),
        }
    }

    /// Packs what was chosen, to its end.
    pub(crate) fn pack(
        mut self,
        format: ArchiveFormat,
        chosen: Vec<Entry>,
        output: PieceWriter,
    ) -> Result<(), Problem> {
        let mut archive = Archive::new(format, output).map_err(problem_of)?;
        for entry in chosen {
            let is_directory = entry.kind == EntryKind::Directory;
            let path = entry.path.0.clone();
            let name = if is_directory { b"" } else { path.name().unwrap_or_default() };
            if self.selection.includes(name, is_directory) {
                self.add(&mut archive, entry)?;
            }
            if is_directory {
                self.add_below(&mut archive, path)?;
            }
        }
        archive.finish().map_err(problem_of)?;
        Ok(())
    }

    /// Adds all that is below a directory, however deep.
    fn add_below(&mut self, archive: &mut Archive, chosen: BoxPath) -> Result<(), Problem> {
        let mut tops = VecDeque::from([chosen.clone()]);
        while let Some(top) = tops.pop_front() {
            let depth_of = |path: &BoxPath| path.segments().count();
            let deepest = depth_of(&top).saturating_add(usize::try_from(ListRequest::MAX_DEPTH).unwrap_or(0));
            let request = ListRequest { depth: ListRequest::MAX_DEPTH, ..ListRequest::of(top) };
            let choose = self.selection.chooser(&self.view, &chosen);
            let Some(walk) = unless_vanished(self.view.walk_chosen(&request, choose))? else { continue };
            for entry in walk {
                let entry = entry?;
                let path = &entry.path.0;
                let is_directory = entry.kind == EntryKind::Directory;
                if is_directory {
                    // The walk passes over what it may not enter; an archive must not.
                    drop(unless_vanished(self.view.walk(&ListRequest::of(path.clone())))?);
                    if depth_of(path) >= deepest {
                        tops.push_back(path.clone());
                    }
                }
                if self.selection.includes(below(&chosen, path), is_directory) {
                    self.add(archive, entry)?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, archive: &mut Archive, entry: Entry) -> Result<(), Problem> {
        self.deadline.check()?;
        count(&mut self.entries_left, 1, "entries")?;
        let path = &entry.path.0;
        if path.is_root() {
            return Ok(());
        }
        match entry.kind {
            EntryKind::Directory => {
                let Some(attributes) = self.attributes(archive, path)? else { return Ok(()) };
                archive.add_directory(&head(path, &entry, &attributes)).map_err(problem_of)
            }
            EntryKind::Symlink => {
                let target = entry.target.as_deref().unwrap_or_default();
                archive.add_symlink(&head(path, &entry, &[]), target).map_err(problem_of)
            }
            EntryKind::File => self.add_file(archive, path),
            EntryKind::Fifo | EntryKind::Socket | EntryKind::BlockDevice | EntryKind::CharacterDevice => {
                Ok(())
            }
        }
    }

    fn add_file(&mut self, archive: &mut Archive, path: &BoxPath) -> Result<(), Problem> {
        let request = ReadRequest::whole(path.clone());
        let Some((found, reader)) = unless_vanished(self.view.open_file(&request))? else { return Ok(()) };
        if let Some(first) = self.first_name(archive, &found.entry)
            && let ArchiveWriter::Tar(tar) = archive
        {
            let head = head(path, &found.entry, &[]);
            return tar.add_hard_link(&head, first.as_bytes()).map_err(problem_of);
        }
        // It is open: if its name vanished meanwhile, it is packed all the same, for other names of it may refer to it.
        let attributes = self.attributes(archive, path)?.unwrap_or_default();
        count(&mut self.bytes_left, found.length, "bytes")?;
        let head = head(path, &found.entry, &attributes);
        if let ArchiveWriter::Tar(tar) = archive
            && let Some(pieces) = reader.data(MAX_PIECES)?
        {
            let pieces = pieces.into_iter().map(|(offset, length)| Segment { offset, length }).collect();
            let map = SparseMap::new(found.length, pieces).map_err(problem_of)?;
            let content = Content::of_pieces(reader, self.deadline, map.segments().to_vec());
            return tar.add_sparse_file(&head, &map, content).map_err(problem_of);
        }
        archive.add_file(&head, found.length, Content::whole(reader, self.deadline)).map_err(problem_of)
    }

    /// Under which name the archive has this file already. A version is of one inode, so it tells files apart.
    fn first_name(&mut self, archive: &Archive, entry: &Entry) -> Option<BoxPath> {
        if !archive.is_rich() || entry.links < 2 {
            return None;
        }
        let version = entry.etag.as_ref()?.to_string();
        let first = self.linked.get(&version).cloned();
        if first.is_none() && self.linked.len() < MAX_LINKED {
            self.linked.insert(version, entry.path.0.clone());
        }
        first
    }

    /// Extended attributes, where the format has them; `None` if the entry vanished.
    fn attributes(&self, archive: &Archive, path: &BoxPath) -> Result<Option<ExtendedAttributes>, Problem> {
        match archive.is_rich() {
            true => Ok(unless_vanished(self.view.attributes(path))?),
            false => Ok(Some(Vec::new())),
        }
    }
}

fn head<'a>(path: &'a BoxPath, entry: &Entry, attributes: &'a [(Vec<u8>, Vec<u8>)]) -> EntryHead<'a> {
    EntryHead {
        name: path.as_bytes(),
        mode: entry.mode,
        modified: entry.modified,
        uid: entry.uid,
        gid: entry.gid,
        attributes,
    }
}

/// A path as seen from a directory above it.
pub(crate) fn below<'a>(top: &BoxPath, path: &'a BoxPath) -> &'a [u8] {
    let rest = path.as_bytes().strip_prefix(top.as_bytes()).unwrap_or(path.as_bytes());
    rest.strip_prefix(b"/").unwrap_or(rest)
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
    /// How much is left of the piece that is read.
    left: u64,
    /// Those that come after it.
    pieces: std::vec::IntoIter<Segment>,
}

impl Content {
    fn whole(reader: Reader, deadline: Deadline) -> Self {
        Self { left: reader.left(), reader, deadline, pieces: Vec::new().into_iter() }
    }

    /// What a file with holes has between them.
    fn of_pieces(reader: Reader, deadline: Deadline, pieces: Vec<Segment>) -> Self {
        Self { left: 0, reader, deadline, pieces: pieces.into_iter() }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.deadline.check().map_err(io::Error::other)?;
        let failed = |error: FsError| io::Error::other(Problem::from(error));
        while self.left == 0 {
            let Some(Segment { offset, length }) = self.pieces.next() else { return Ok(0) };
            self.reader.go_to(offset).map_err(failed)?;
            self.left = length;
        }
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let length = self.reader.read(&mut buffer[..wanted]).map_err(failed)?;
        self.left = self.left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
        Ok(length)
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
pub(crate) struct PieceWriter {
    sender: mpsc::Sender<Result<Bytes, BodyError>>,
    piece: Vec<u8>,
}

impl PieceWriter {
    pub(crate) fn new(sender: mpsc::Sender<Result<Bytes, BodyError>>) -> Self {
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
