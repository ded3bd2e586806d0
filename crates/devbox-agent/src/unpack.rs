//! Many files in, as one stream: all of them, or none.

use std::io::{self, Read};
use std::sync::Weak;

use bytes::{Bytes, BytesMut};
use devbox_archive::{Member, MemberKind, ReadAt, Sink, unpack_tar, unpack_zip};
use devbox_fs::{Attempt, Batch, BoxRoot, Fingerprint, Fingerprinter, Spool};
use devbox_guest::{Body, BodyError};
use devbox_types::archive::{ArchiveFormat, UnpackRequest};
use devbox_types::file::WriteRequest;
use devbox_types::operation::Report;
use devbox_types::{Coded as _, ErrorCode, Grant, Problem};
use futures_util::stream::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::deadline::Deadline;

/// The most archives that are unpacked at a time, each on a thread of its own; more wait their turn. Two of the largest, at a
/// kilobyte for each of 100,000 entries, are what the agent's memory (256 MiB) holds.
pub(crate) const MAX_UNPACKING: usize = 2;

/// How many pieces of an archive may wait to be unpacked.
const WAITING_PIECES: usize = 4;

/// What the thread that unpacks is sent: the next bytes, the end, or why there is none.
enum Piece {
    Bytes(Bytes),
    End,
    Broken(Problem),
}

/// Unpacks on a thread of its own, which waits for the bytes as they come: `turn` is the place of one such thread.
///
/// Once this future is dropped before the end of the body, the thread hears no end, and takes everything back.
pub(crate) async fn unpack(
    root: BoxRoot,
    grant: &Grant,
    request: UnpackRequest,
    mut body: Body,
    turn: OwnedSemaphorePermit,
    publishing: Weak<()>,
) -> Result<Report, Problem> {
    let (deadline, grant) = (Deadline::of(grant), grant.clone());
    let (sender, receiver) = mpsc::channel(WAITING_PIECES);
    let unpacking = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let view = root.enter(&grant)?;
        let mut input = Incoming { receiver, piece: Bytes::new(), ended: false, printer: None };
        let ticket = match view.attempt(&what(&request, &request.strip.to_le_bytes()))? {
            Attempt::First(ticket) => ticket,
            Attempt::Repeat(repeat) => return Ok(repeat.answer(input.fingerprint()?)?),
        };
        input.printer = ticket.is_some().then(Fingerprinter::default);
        let batch = view.batch_below(&request.directory, request.make_parents)?;
        let batch = extract(batch, &request, &mut input)?;
        let keyed = ticket.zip(input.printer.take().map(Fingerprinter::finish));
        let _under_way = publishing.upgrade();
        Ok(batch.publish_for(keyed)?)
    });
    loop {
        let next = tokio::select! {
            biased;
            // Whoever stops listening has an answer already.
            () = sender.closed() => break,
            next = deadline.bound(body.next()) => next,
        };
        let piece = match next {
            Ok(Some(Ok(bytes))) if bytes.is_empty() => continue,
            Ok(Some(Ok(bytes))) => Piece::Bytes(bytes),
            Ok(Some(Err(error))) => Piece::Broken(Problem::of(&error)),
            Ok(None) => Piece::End,
            Err(late) => Piece::Broken(late),
        };
        let more = matches!(piece, Piece::Bytes(_));
        if sender.send(piece).await.is_err() || !more {
            break;
        }
    }
    match unpacking.await {
        Ok(answer) => answer,
        Err(_) => Err(Problem::new(ErrorCode::Internal, "the work was lost with its thread")),
    }
}

/// What tells one request from another, beside the archive.
fn what<'r>(request: &'r UnpackRequest, strip: &'r [u8]) -> [&'r [u8]; 5] {
    let made: &[u8] = if request.make_parents { b"parents" } else { b"" };
    [b"archive", request.directory.as_bytes(), request.format.as_str().as_bytes(), made, strip]
}

fn extract(batch: Batch, request: &UnpackRequest, input: &mut Incoming) -> Result<Batch, Problem> {
    let strip = usize::try_from(request.strip).unwrap_or(usize::MAX);
    let mut files = Files { batch };
    match request.format {
        ArchiveFormat::Zip => {
            let mut spool = files.batch.spool()?;
            let mut chunk = BytesMut::zeroed(64 << 10);
            loop {
                let length = input.read(&mut chunk).map_err(problem_of)?;
                if length == 0 {
                    break;
                }
                spool.write(&chunk[..length])?;
            }
            let length = spool.length();
            unpack_zip(&Spooled(spool), length, strip, files.batch.most_entries(), &mut files)?;
        }
        format => unpack_tar(format, &mut *input, strip, &mut files)?,
    }
    Ok(files.batch)
}

fn problem_of(error: io::Error) -> Problem {
    error.downcast::<Problem>().unwrap_or_else(|error| Problem::new(ErrorCode::Internal, error.to_string()))
}

/// The entries of an archive, as they become part of a batch.
struct Files {
    batch: Batch,
}

impl Sink for Files {
    fn begin(&mut self, member: Member) -> Result<(), Problem> {
        let Member { path, mode, modified, attributes, kind } = member;
        match kind {
            MemberKind::Directory => self.batch.directory(&path, mode, modified, attributes)?,
            MemberKind::Symlink { target } => self.batch.symlink(&path, &target, modified)?,
            MemberKind::HardLink { first } => self.batch.hard_link(&path, &first)?,
            MemberKind::File { size, sparse } => {
                let request = WriteRequest {
                    mode,
                    modified,
                    // Room for a length is asked for ahead, and holes need none.
                    length: (!sparse).then_some(size),
                    make_parents: true,
                    nofollow: true,
                    ..WriteRequest::to(path)
                };
                self.batch.begin(request)?;
                for (name, value) in attributes {
                    self.batch.attribute(&name, &value)?;
                }
            }
        }
        Ok(())
    }

    fn content(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        Ok(self.batch.write(chunk)?)
    }

    fn hole(&mut self, length: u64) -> Result<(), Problem> {
        Ok(self.batch.skip(length)?)
    }

    fn end(&mut self) -> Result<(), Problem> {
        Ok(self.batch.finish()?)
    }
}

struct Spooled(Spool);

impl ReadAt for Spooled {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
}

/// The body, for a thread that may block.
struct Incoming {
    receiver: mpsc::Receiver<Piece>,
    piece: Bytes,
    ended: bool,
    /// Of a call with a key: what came so far.
    printer: Option<Fingerprinter>,
}

impl Incoming {
    /// Reads to the end, for nothing but what it is.
    fn fingerprint(&mut self) -> Result<Fingerprint, Problem> {
        let mut printer = self.printer.take().unwrap_or_default();
        let mut chunk = BytesMut::zeroed(64 << 10);
        loop {
            match self.read(&mut chunk).map_err(problem_of)? {
                0 => return Ok(printer.finish()),
                length => printer.content(&chunk[..length]),
            }
        }
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.piece = bytes,
                Some(Piece::End) => self.ended = true,
                Some(Piece::Broken(problem)) => return Err(io::Error::other(problem)),
                None => {
                    let error = BodyError::Interrupted { source: None };
                    return Err(io::Error::other(Problem::new(error.code(), error.to_string())));
                }
            }
        }
        let length = self.piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        if let Some(printer) = &mut self.printer {
            printer.content(&buffer[..length]);
        }
        Ok(length)
    }
}
