//! Bytes on their way in.

use bytes::{Bytes, BytesMut};
use devbox_fs::{Attempt, Batch, BoxRoot, Fingerprinter, FsError, Repeat, Ticket, View, Writer};
use devbox_guest::contract::UploadParts;
use devbox_guest::{Body, UploadPart};
use devbox_types::file::{WriteRequest, Written};
use devbox_types::operation::Report;
use devbox_types::{Grant, Problem};
use futures_util::stream::StreamExt as _;

use crate::deadline::Deadline;
use crate::work::{CHUNK, EndsElsewhere, Publishing, STEPS, begin_elsewhere, elsewhere, finished};

/// Writes a file, or a part of one, as its bytes come: while one piece is written, the next is received.
pub(crate) async fn write_streamed(
    root: BoxRoot,
    grant: &Grant,
    begin: impl FnOnce(&View) -> Result<Writer, FsError> + Send + 'static,
    mut body: Body,
) -> Result<Written, Problem> {
    let (deadline, grant) = (Deadline::of(grant), grant.clone());
    let mut writing = begin_elsewhere(move || Ok(EndsElsewhere::new(begin(&root.enter(&grant)?)?)));
    loop {
        let piece = next_piece(&mut body, deadline).await;
        // A target that may not be written is the better answer than a body that broke.
        let mut writer: EndsElsewhere<Writer> = finished(writing).await?;
        let piece = match piece {
            Ok(piece) => piece,
            Err(problem) => return Err(halfway(problem, writer).await),
        };
        if piece.is_empty() {
            return elsewhere(move || in_hand(&mut writer)?.finish()).await;
        }
        writing = begin_elsewhere(move || {
            let mut file = in_hand(&mut writer)?;
            piece.iter().try_for_each(|chunk| file.write(chunk))?;
            Ok(EndsElsewhere::new(file))
        });
    }
}

/// A problem with the content, with what stands of it in a file that is written in its place.
async fn halfway(problem: Problem, mut writer: EndsElsewhere<Writer>) -> Problem {
    match elsewhere(move || Ok(in_hand(&mut writer)?.stands())).await {
        Ok(Some(stands)) => problem.with_stands(stands),
        Ok(None) | Err(_) => problem,
    }
}

/// Gathers chunks until they are worth a hop; nothing at the end.
async fn next_piece(body: &mut Body, deadline: Deadline) -> Result<Vec<Bytes>, Problem> {
    let (piece, broken) = gather(body, deadline).await;
    broken.map_or(Ok(piece), Err)
}

/// Gathers chunks until they are worth a hop, or the body breaks off: then with what it broke off of.
pub(crate) async fn gather(body: &mut Body, deadline: Deadline) -> (Vec<Bytes>, Option<Problem>) {
    let mut piece = Piece::default();
    let mut broken = None;
    while piece.size < CHUNK && broken.is_none() {
        match deadline.bound(body.next()).await {
            Ok(Some(Ok(chunk))) => piece.push(chunk),
            Ok(Some(Err(error))) => broken = Some(error.into()),
            Ok(None) => break,
            Err(late) => broken = Some(late),
        }
    }
    (piece.into_chunks(), broken)
}

/// Chunks that wait for their hop. Short ones are copied together, because a chunk keeps the buffer alive that it was
/// received in: a body that comes byte by byte would keep thousands of times its own size.
#[derive(Debug, Default)]
struct Piece {
    chunks: Vec<Bytes>,
    short: BytesMut,
    size: usize,
}

impl Piece {
    fn push(&mut self, chunk: Bytes) {
        const SHORT: usize = 16 * 1024;
        self.size += chunk.len();
        if chunk.len() < SHORT {
            self.short.extend_from_slice(&chunk);
        } else {
            self.seal();
            self.chunks.push(chunk);
        }
    }

    fn seal(&mut self) {
        if !self.short.is_empty() {
            self.chunks.push(self.short.split().freeze());
        }
    }

    fn into_chunks(mut self) -> Vec<Bytes> {
        self.seal();
        self.chunks
    }
}

/// What is done to a batch.
enum Step {
    /// A whole file.
    Add(WriteRequest, Bytes),
    /// A file, piece by piece.
    Begin(WriteRequest),
    Write(Bytes),
    Finish,
}

impl Step {
    fn print(&self, printer: &mut Fingerprinter) {
        match self {
            Self::Add(request, content) => {
                printer.begin(request);
                printer.content(content);
                printer.end();
            }
            Self::Begin(request) => printer.begin(request),
            Self::Write(chunk) => printer.content(chunk),
            Self::Finish => printer.end(),
        }
    }

    fn run(self, files: &mut Batch) -> Result<(), FsError> {
        match self {
            Self::Add(request, content) => files.add(request, &content),
            Self::Begin(request) => files.begin(request),
            Self::Write(chunk) => files.write(&chunk),
            Self::Finish => files.finish(),
        }
    }
}

/// Writes many files, all or none: steps are gathered until they are worth a hop.
pub(crate) async fn write_batch(
    root: BoxRoot,
    grant: &Grant,
    mut parts: UploadParts,
    publishing: &Publishing,
) -> Result<Report, Problem> {
    let (deadline, grant) = (Deadline::of(grant), grant.clone());
    let begun = elsewhere(move || {
        let view = root.enter(&grant)?;
        Ok(match view.attempt(&[b"files"])? {
            Attempt::First(ticket) => Begun::First(Box::new(EndsElsewhere::new(view.batch()?)), ticket),
            Attempt::Repeat(repeat) => Begun::Repeat(repeat),
        })
    });
    let (batch, ticket) = match begun.await? {
        Begun::First(batch, ticket) => (batch, ticket),
        Begun::Repeat(repeat) => return answer_again(repeat, parts, deadline).await,
    };
    let printer = ticket.is_some().then(Fingerprinter::default);
    let mut upload = Upload { batch: Some(*batch), ticket, printer, steps: Vec::new(), bytes: 0 };
    while let Some(part) = deadline.bound(parts.next()).await? {
        let mut part = part?;
        if part.request.length.is_none() {
            part.request.length = part.body.length();
        }
        upload.add_part(part, deadline).await?;
    }
    upload.publish(publishing).await
}

/// A batch that is to be written, or was written before.
enum Begun {
    First(Box<EndsElsewhere<Batch>>, Option<Ticket>),
    Repeat(Repeat),
}

/// Answers a batch that was written before: what comes is compared with what came then, and has no effect.
async fn answer_again(repeat: Repeat, mut parts: UploadParts, deadline: Deadline) -> Result<Report, Problem> {
    let mut printer = Fingerprinter::default();
    while let Some(part) = deadline.bound(parts.next()).await? {
        let UploadPart { request, mut body } = part?;
        printer.begin(&request);
        while let Some(chunk) = deadline.bound(body.next()).await? {
            printer.content(&chunk?);
        }
        printer.end();
    }
    Ok(repeat.answer(printer.finish())?)
}

/// A batch, and the steps that wait for their hop.
struct Upload {
    batch: Option<EndsElsewhere<Batch>>,
    /// Of a call with a key: its right to be done, and what it brought so far.
    ticket: Option<Ticket>,
    printer: Option<Fingerprinter>,
    steps: Vec<Step>,
    bytes: usize,
}

impl Upload {
    /// Adds a file: at once if it comes in one chunk, as small ones do.
    async fn add_part(&mut self, part: UploadPart, deadline: Deadline) -> Result<(), Problem> {
        let UploadPart { request, mut body } = part;
        let first = deadline.bound(body.next()).await?.transpose()?.unwrap_or_default();
        let Some(second) = deadline.bound(body.next()).await? else {
            return self.add(Step::Add(request, first)).await;
        };
        self.add(Step::Begin(request)).await?;
        self.add(Step::Write(first)).await?;
        self.add(Step::Write(second?)).await?;
        while let Some(chunk) = deadline.bound(body.next()).await? {
            self.add(Step::Write(chunk?)).await?;
        }
        self.add(Step::Finish).await
    }

    async fn add(&mut self, step: Step) -> Result<(), Problem> {
        if let Step::Add(_, chunk) | Step::Write(chunk) = &step {
            self.bytes += chunk.len();
        }
        self.steps.push(step);
        if self.steps.len() >= STEPS || self.bytes >= CHUNK {
            self.take_steps().await?;
        }
        Ok(())
    }

    async fn take_steps(&mut self) -> Result<(), Problem> {
        let steps = std::mem::take(&mut self.steps);
        self.bytes = 0;
        let Some(mut batch) = self.batch.take() else { return Ok(()) };
        let mut printer = self.printer.take();
        let batch = elsewhere(move || {
            let mut files = in_hand(&mut batch)?;
            steps.into_iter().try_for_each(|step| {
                if let Some(printer) = &mut printer {
                    step.print(printer);
                }
                step.run(&mut files)
            })?;
            Ok((EndsElsewhere::new(files), printer))
        });
        let (batch, printer) = batch.await?;
        (self.batch, self.printer) = (Some(batch), printer);
        Ok(())
    }

    async fn publish(mut self, publishing: &Publishing) -> Result<Report, Problem> {
        self.take_steps().await?;
        let mut batch = self.batch.take();
        let keyed = self.ticket.take().zip(self.printer.take().map(Fingerprinter::finish));
        let under_way = publishing.begin();
        elsewhere(move || {
            let published = match &mut batch {
                Some(batch) => in_hand(batch)?.publish_for(keyed),
                None => Err(lost()),
            };
            drop(under_way);
            published
        })
        .await
    }
}

/// Takes what is worked on out of its wrapping. It is there: each hop puts it back, and one that failed ends the call.
fn in_hand<T: Send + 'static>(wrapped: &mut EndsElsewhere<T>) -> Result<T, FsError> {
    wrapped.take().ok_or_else(lost)
}

fn lost() -> FsError {
    FsError::Invalid { reason: "the call has failed already" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_trickles_is_copied_together_and_stays_in_order() {
        let mut piece = Piece::default();
        let received: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        for byte in &received[..50_000] {
            piece.push(Bytes::copy_from_slice(&[*byte]));
        }
        piece.push(Bytes::copy_from_slice(&received[50_000..80_000]));
        for byte in &received[80_000..] {
            piece.push(Bytes::copy_from_slice(&[*byte]));
        }
        assert_eq!(piece.size, received.len());
        let chunks = piece.into_chunks();
        assert_eq!(chunks.iter().map(Bytes::len).collect::<Vec<_>>(), [50_000, 30_000, 20_000]);
        assert!(chunks.concat() == received);
    }
}
