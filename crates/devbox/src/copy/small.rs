//! Many small files out of a box in one request: an archive of just these, written below a folder here as it comes.
//!
//! The archive only saves requests. What it does not bring, for whatever reason, is still missing afterwards, and is fetched
//! file by file, where it succeeds or says why not.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use devbox_archive::{Member, MemberKind, Sink, unpack_tar};
use devbox_client::Sandbox;
use devbox_types::archive::{ArchiveFormat, ArchiveRequest};
use devbox_types::{BoxPath, ErrorCode, Problem, Timestamp, WirePath};
use futures_util::TryStreamExt as _;
use tokio::sync::mpsc;

use super::CopyError;
use super::local_target::{Folder, Name, StagedFile};
use super::progress::Progress;

/// Files up to this size come together.
pub(super) const MOST_BYTES: u64 = 256 << 10;
/// How many entries are looked at together.
pub(super) const MOST_FILES: usize = 500;
/// Fewer are not worth an archive.
const FEWEST_FILES: usize = 4;
/// How many pieces of an archive may wait.
const PIECES: usize = 8;

/// The files that are asked for, by the path that the box has them under.
pub(super) type Wanted = BTreeMap<BoxPath, (Name, u64)>;

/// Fetches these files into a folder, and gives back those that did not come.
pub(super) async fn fetch(
    sandbox: &Sandbox,
    wanted: Wanted,
    folder: &Arc<Folder>,
    progress: &Progress,
) -> Result<Wanted, CopyError> {
    if wanted.len() < FEWEST_FILES {
        return Ok(wanted);
    }
    let paths = wanted.keys().cloned().map(WirePath).collect();
    let Ok(mut archive) = sandbox.pack(ArchiveRequest::of(paths, ArchiveFormat::Tar)).await else {
        return Ok(wanted);
    };
    let (sender, receiver) = mpsc::channel(PIECES);
    let (folder, progress) = (Arc::clone(folder), progress.clone());
    let writing = tokio::task::spawn_blocking(move || {
        let input = Incoming { receiver, piece: Bytes::new() };
        write(input, wanted, &folder, &progress)
    });
    // Whichever side ends first, the archive is then cut off for the other, and it ends too.
    while let Ok(Some(piece)) = archive.try_next().await {
        if sender.send(piece).await.is_err() {
            break;
        }
    }
    drop(sender);
    writing.await.map_err(|_| Problem::new(ErrorCode::Internal, "the work was lost with its thread"))?
}

/// Writes what comes, and gives back what did not come.
fn write(
    input: impl Read,
    wanted: Wanted,
    folder: &Folder,
    progress: &Progress,
) -> Result<Wanted, CopyError> {
    let mut files = Files { wanted, folder, progress, current: None, failure: None };
    // An archive that is cut off or malformed has brought what it has brought.
    let _ = unpack_tar(ArchiveFormat::Tar, input, 0, &mut files);
    match files.failure {
        Some(failure) => Err(failure),
        None => Ok(files.wanted),
    }
}

/// What is written of an archive.
struct Files<'f> {
    wanted: Wanted,
    folder: &'f Folder,
    progress: &'f Progress,
    current: Option<Current<'f>>,
    /// Why nothing more can be written here.
    failure: Option<CopyError>,
}

struct Current<'f> {
    path: BoxPath,
    staged: StagedFile<'f>,
    mode: u32,
    modified: Timestamp,
}

impl<'f> Files<'f> {
    fn begun(&self, member: Member) -> Result<Option<Current<'f>>, CopyError> {
        let (Some((name, _)), MemberKind::File { .. }) = (self.wanted.get(&member.path), &member.kind) else {
            return Ok(None);
        };
        let (Some(mode), Some(modified)) = (member.mode, member.modified) else { return Ok(None) };
        let staged = self.folder.stage(name.clone())?;
        Ok(Some(Current { path: member.path, staged, mode, modified }))
    }

    fn noted<T>(&mut self, outcome: Result<T, CopyError>) -> Result<T, Problem> {
        outcome.map_err(|failure| {
            self.failure = Some(failure);
            Problem::new(ErrorCode::Internal, "the file cannot be written here")
        })
    }
}

impl Sink for Files<'_> {
    fn begin(&mut self, member: Member) -> Result<(), Problem> {
        let begun = self.begun(member);
        self.current = self.noted(begun)?;
        Ok(())
    }

    fn content(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let written = current.staged.write(chunk);
        self.noted(written)
    }

    fn hole(&mut self, length: u64) -> Result<(), Problem> {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut left = length;
        while left > 0 && self.current.is_some() {
            let now = left.min(4096);
            self.content(&ZEROS[..usize::try_from(now).unwrap_or(ZEROS.len())])?;
            left -= now;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        let Some(current) = self.current.take() else { return Ok(()) };
        let published = current.staged.publish(current.mode, current.modified);
        self.noted(published)?;
        if let Some((_, size_bytes)) = self.wanted.remove(&current.path) {
            self.progress.advance(usize::try_from(size_bytes).unwrap_or(usize::MAX));
        }
        self.progress.file_done();
        Ok(())
    }
}

/// The archive, for a thread that may block.
struct Incoming {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = self.piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use devbox_archive::{ArchiveWriter, EntryHead};

    use super::*;

    fn head(name: &[u8]) -> EntryHead<'_> {
        let modified = Timestamp::from_parts(7, 8);
        EntryHead { name, mode: 0o640, modified, uid: 0, gid: 0, attributes: &[] }
    }

    fn wanted(names: &[&str]) -> Wanted {
        let each = names.iter().map(|name| {
            let path = BoxPath::parse(format!("/w/{name}").as_bytes()).expect("a path");
            (path, (Name::parse(name.as_bytes()).expect("a name"), 3))
        });
        each.collect()
    }

    fn left(wanted: &Wanted) -> Vec<String> {
        wanted.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn what_an_archive_does_not_bring_is_given_back() {
        let mut archive = ArchiveWriter::new(ArchiveFormat::Tar, Vec::new()).expect("an archive");
        archive.add_file(&head(b"w/a"), 3, &b"one"[..]).expect("a file");
        archive.add_symlink(&head(b"w/b"), b"/etc/passwd").expect("a link");
        archive.add_file(&head(b"w/c"), 3, &b"two"[..]).expect("a file");
        let archive = archive.finish().expect("an archive");
        let here = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(here.path()).expect("a folder");
        let progress = Progress::new(true);

        let missing =
            write(&archive[..], wanted(&["a", "b", "c", "d"]), &folder, &progress).expect("written");
        assert_eq!(left(&missing), ["/w/b", "/w/d"]);
        assert_eq!(std::fs::read(here.path().join("c")).expect("a file"), b"two");

        // Cut off within the last file: that one is missing too, and no half of it is left.
        std::fs::remove_file(here.path().join("c")).expect("removed");
        let cut = &archive[..512 * 4 + 1];
        let missing = write(cut, wanted(&["a", "c"]), &folder, &progress).expect("written");
        assert_eq!(left(&missing), ["/w/c"]);
        assert_eq!(std::fs::read_dir(here.path()).expect("a listing").count(), 1);
    }

    #[test]
    fn attack_archive_with_files_that_nobody_asked_for() {
        let mut archive = ArchiveWriter::new(ArchiveFormat::Tar, Vec::new()).expect("an archive");
        archive.add_file(&head(b"w/.bashrc"), 3, &b"bad"[..]).expect("a file");
        archive.add_file(&head(b"a"), 3, &b"bad"[..]).expect("a file");
        let archive = archive.finish().expect("an archive");
        let here = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(here.path()).expect("a folder");
        let missing =
            write(&archive[..], wanted(&["a"]), &folder, &Progress::new(true)).expect("nothing to write");
        assert_eq!(left(&missing), ["/w/a"]);
        assert_eq!(std::fs::read_dir(here.path()).expect("a listing").count(), 0);
    }
}
