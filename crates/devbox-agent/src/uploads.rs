//! Large files in pieces: the state machine of `devbox-transfer` over notes and parked files of `devbox-fs`.
//!
//! The SHA-256 of the whole is kept in memory from piece to piece. After a restart it is not saved but made anew, by reading
//! the stored bytes once before the file is published: that takes a second or so per GiB, once, needs no trust in a saved
//! state that the box's root could have written, and proves what is on the disk rather than what had come.

mod join;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use devbox_fs::{BoxRoot, FsError, Note, Parked, Resting, View};
use devbox_guest::{Body, Uploads};
use devbox_transfer::{Open, Phase, Record, RunningDigest, Staging, Step, TransferError, Upload};
use devbox_types::file::WriteRequest;
use devbox_types::upload::{ChunkRequest, UploadRequest, UploadRole, UploadStatus};
use devbox_types::{Entry, ErrorCode, Grant, Problem, Right, Timestamp, UploadId};

use crate::deadline::Deadline;
use crate::guest::LocalGuest;
use crate::upload::gather;
use crate::work::{EndsElsewhere, problem_elsewhere};

/// How long an upload may rest: over a weekend, and no longer, for it holds disk space that nobody sees.
const LIFETIME: Duration = Duration::from_hours(72);
/// The most uploads that are remembered in a box.
const MAX_UPLOADS: usize = 1024;
/// How many digests are kept in memory; the pieces of more uploads at once are read again in the end.
const MAX_DIGESTS: usize = 256;
/// How often expired uploads are looked for, at the most.
const SWEEP_PAUSE: Duration = Duration::from_mins(1);

/// Where uploads are received.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    root: BoxRoot,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    digests: Mutex<HashMap<UploadId, RunningDigest>>,
    swept: Mutex<Option<Instant>>,
}

/// An upload that somebody works on.
#[derive(Debug)]
struct Session {
    desk: Desk,
    note: Note,
    parked: Parked,
    upload: Upload<Open>,
}

/// What became of a call to go on with an upload.
enum Begun {
    /// Bytes may come.
    Session(Box<Session>),
    /// It is complete, and nothing is to be added.
    Complete(Box<UploadStatus>),
}

#[async_trait]
impl Uploads for LocalGuest {
    async fn create_upload(&self, grant: &Grant, request: UploadRequest) -> Result<UploadStatus, Problem> {
        let (desk, grant) = (self.uploads.clone(), grant.clone());
        problem_elsewhere(move || desk.create(&grant, request)).await
    }

    async fn append_upload(
        &self,
        grant: &Grant,
        chunk: ChunkRequest,
        mut body: Body,
    ) -> Result<UploadStatus, Problem> {
        let (desk, deadline, owned) = (self.uploads.clone(), Deadline::of(grant), grant.clone());
        let begun = problem_elsewhere(move || Ok(EndsElsewhere::new(desk.begin(&owned, &chunk)?)));
        let mut begun = begun.await?;
        let session = match begun.take() {
            Some(Begun::Session(session)) => *session,
            Some(Begun::Complete(status)) => return Ok(*status),
            None => return Err(lost()),
        };
        let mut working = tokio::task::spawn_blocking(move || Ok(EndsElsewhere::new(session)));
        loop {
            let (piece, broken) = gather(&mut body, deadline).await;
            let worked: Result<EndsElsewhere<Session>, Problem> = working.await.map_err(|_| lost())?;
            let mut session = worked?;
            if let Some(problem) = broken {
                problem_elsewhere(move || {
                    let mut session = in_hand(&mut session)?;
                    session.take(&piece)?;
                    session.leave();
                    Ok(())
                })
                .await?;
                return Err(problem);
            }
            if piece.is_empty() {
                return problem_elsewhere(move || in_hand(&mut session)?.end()).await;
            }
            working = tokio::task::spawn_blocking(move || {
                let mut session = in_hand(&mut session)?;
                session.take(&piece)?;
                Ok(EndsElsewhere::new(session))
            });
        }
    }

    async fn look_at_upload(&self, grant: &Grant, id: UploadId) -> Result<UploadStatus, Problem> {
        let (desk, grant) = (self.uploads.clone(), grant.clone());
        problem_elsewhere(move || desk.look(&grant, &id)).await
    }

    async fn delete_upload(&self, grant: &Grant, id: UploadId) -> Result<(), Problem> {
        let (desk, grant) = (self.uploads.clone(), grant.clone());
        problem_elsewhere(move || desk.delete(&grant, &id)).await
    }
}

impl Desk {
    pub(crate) fn new(root: BoxRoot) -> Self {
        let desk = Self { root, shared: Arc::default() };
        desk.sweep();
        desk
    }

    fn create(&self, grant: &Grant, request: UploadRequest) -> Result<UploadStatus, Problem> {
        check_write(&request.write)?;
        self.make_room()?;
        if let UploadRole::Joined(parts) = &request.role {
            let parts = parts.clone();
            return self.join(grant, request, &parts);
        }
        let session = self.begin_new(grant, request)?;
        match session.upload.record().length() {
            0 => session.end(),
            _ => Ok(status_of(session.upload.record(), 0, None)),
        }
    }

    /// Begins an upload, with its place on disk and its note.
    fn begin_new(&self, grant: &Grant, request: UploadRequest) -> Result<Session, Problem> {
        let view = self.root.enter(grant)?;
        let (mut parked, resting) = match request.role {
            UploadRole::Part => view.park_part(request.write.length.unwrap_or(0))?,
            UploadRole::File | UploadRole::Joined(_) => view.park(&request.write)?,
        };
        let record = Record {
            id: fresh_id()?,
            user: grant.user.clone(),
            root: grant.root.clone(),
            digest_follows: request.digest_follows,
            metadata: request.metadata,
            expires: now_plus(LIFETIME),
            staging: Staging { directory: resting.directory, name: resting.name, inode: resting.inode },
            unverified_from: None,
            phase: Phase::Open,
            role: request.role,
            joined_into: None,
            made_directories: resting.made_directories,
            write: request.write,
        };
        let note = match self.root.new_note(record.id.as_str(), &record.encode()) {
            Ok(note) => note,
            Err(error) => {
                parked.discard()?;
                return Err(error.into());
            }
        };
        // A kill before this leaves a note of nothing, which the next start removes.
        if let Err(error) = parked.settle() {
            note.remove()?;
            return Err(error.into());
        }
        let (upload, _) = Upload::resume(record, 0, None, now()).map_err(|error| Problem::of(&error))?;
        Ok(Session { desk: self.clone(), note, parked, upload })
    }

    /// Sees to it that one upload more can be remembered: of those that are over, the oldest are forgotten.
    fn make_room(&self) -> Result<(), Problem> {
        self.sweep();
        let names = self.root.notes()?;
        if names.len() < MAX_UPLOADS {
            return Ok(());
        }
        let known = names.iter().filter_map(|name| Record::decode(&self.root.read_note(name).ok()?).ok());
        let mut over: Vec<Record> = known.filter(Record::is_over).collect();
        over.sort_by_key(|record| record.expires);
        // Half of them at once, so that this is not done for each upload from now on.
        over.truncate(over.len().div_ceil(2));
        let forgotten = over.iter().filter(|record| {
            let note = self.root.open_note(record.id.as_str());
            note.is_ok_and(|note| note.remove().is_ok())
        });
        if forgotten.count() == 0 {
            let detail = format!("there are {MAX_UPLOADS} uploads in this box that are not complete");
            return Err(Problem::new(ErrorCode::QuotaExceeded, detail).with_hint("complete or delete some"));
        }
        Ok(())
    }

    /// Prepares to take a piece.
    fn begin(&self, grant: &Grant, chunk: &ChunkRequest) -> Result<Begun, Problem> {
        let note = self.root.open_note(chunk.id.as_str()).map_err(no_such_upload)?;
        let mut record = read(&note.read()?, &chunk.id, grant)?;
        let view = self.root.enter(grant)?;
        let resting = resting(&record);
        let parked = match record.phase {
            Phase::Done => return complete(&record, chunk),
            Phase::Open | Phase::Publishing => match unpark(&view, &record) {
                Err(FsError::NotFound { .. }) if record.phase == Phase::Publishing => {
                    // A kill came between publishing and remembering that.
                    let entry = view.published(&resting, &record.write)?;
                    let entry = entry.ok_or_else(|| no_upload(&chunk.id))?;
                    record.phase = Phase::Done;
                    note.write(&record.encode())?;
                    let status = status_of(&record, record.length(), Some(entry));
                    return check_end(status, chunk).map(|status| Begun::Complete(Box::new(status)));
                }
                Err(FsError::NotFound { .. }) => return Err(no_upload(&chunk.id)),
                parked => parked?,
            },
        };
        let running = self.digests().remove(&chunk.id);
        let resumed = Upload::resume(record, parked.stored(), running, now());
        let (upload, step) = resumed.map_err(|error| Problem::of(&error))?;
        let mut session = Session { desk: self.clone(), note, parked, upload };
        session.follow(step)?;
        match session.upload.begin_chunk(chunk) {
            Ok(step) => session.follow(step)?,
            Err(error) => {
                let problem = session.about(&error);
                session.leave();
                return Err(problem);
            }
        }
        Ok(Begun::Session(Box::new(session)))
    }

    fn look(&self, grant: &Grant, id: &UploadId) -> Result<UploadStatus, Problem> {
        let record = read(&self.root.read_note(id.as_str()).map_err(no_such_upload)?, id, grant)?;
        if now() >= record.expires {
            return Err(Problem::of(&TransferError::Expired { at: record.expires }));
        }
        let view = self.root.enter(grant)?;
        let stored = match record.phase {
            Phase::Done => record.length(),
            Phase::Open | Phase::Publishing => match unpark(&view, &record) {
                Ok(parked) => record.counted(parked.stored()),
                Err(FsError::NotFound { .. }) => {
                    let published = view.published(&resting(&record), &record.write)?;
                    published.map(|_| record.length()).ok_or_else(|| no_upload(id))?
                }
                Err(error) => return Err(error.into()),
            },
        };
        Ok(status_of(&record, stored, None))
    }

    fn delete(&self, grant: &Grant, id: &UploadId) -> Result<(), Problem> {
        if !grant.rights.contains(Right::Write) {
            return Err(FsError::Forbidden { right: Right::Write }.into());
        }
        let note = self.root.open_note(id.as_str()).map_err(no_such_upload)?;
        let record = read(&note.read()?, id, grant)?;
        Ok(self.forget(note, &record)?)
    }

    /// Removes what has expired, and what cannot be read. What somebody works on is left alone.
    fn sweep(&self) {
        {
            let mut swept = self.shared.swept.lock().unwrap_or_else(PoisonError::into_inner);
            if swept.is_some_and(|last| last.elapsed() < SWEEP_PAUSE) {
                return;
            }
            *swept = Some(Instant::now());
        }
        for name in self.root.notes().unwrap_or_default() {
            if let Err(error) = self.sweep_one(&name) {
                tracing::warn!(upload = name, %error, "cannot sweep an upload");
            }
        }
    }

    fn sweep_one(&self, name: &str) -> Result<(), FsError> {
        let found = self.root.read_note(name).ok().and_then(|bytes| Record::decode(&bytes).ok());
        if let Some(record) = &found
            && now() < record.expires
            && (record.phase == Phase::Done || self.waits(record)?)
        {
            return Ok(());
        }
        let note = match self.root.open_idle_note(name) {
            Err(FsError::NotFound { .. } | FsError::Busy { .. } | FsError::Invalid { .. }) => return Ok(()),
            note => note?,
        };
        match Record::decode(&note.read()?) {
            Ok(record) if now() < record.expires && record.phase == Phase::Done => Ok(()),
            Ok(record) if now() < record.expires && self.waits(&record)? => Ok(()),
            Ok(record) if now() < record.expires && record.phase == Phase::Publishing => {
                self.settle_published(note, record)
            }
            // It expired; or its bytes are gone, never had a name, or are of parts that are there still.
            Ok(record) => self.forget(note, &record),
            Err(_) => note.remove(),
        }
    }

    /// Whether bytes lie there that somebody may go on with.
    fn waits(&self, record: &Record) -> Result<bool, FsError> {
        Ok(takes_pieces(record) && self.root.has_parked(&resting(record))?)
    }

    /// A kill came after an upload was published, or while it was: what it was exchanged for goes, and that it is done stays.
    fn settle_published(&self, note: Note, mut record: Record) -> Result<(), FsError> {
        let grant = Grant { root: record.root.clone(), user: record.user.clone(), ..Grant::whole_box() };
        let published = self.root.enter(&grant)?.published(&resting(&record), &record.write)?;
        if published.is_none() {
            return if takes_pieces(&record) { Ok(()) } else { self.forget(note, &record) };
        }
        self.root.sweep_parked(&resting(&record))?;
        record.phase = Phase::Done;
        note.write(&record.encode())
    }

    /// Removes an upload that nobody will go on with, and what was made for it.
    fn forget(&self, note: Note, record: &Record) -> Result<(), FsError> {
        self.digests().remove(&record.id);
        self.root.discard_parked(&resting(record))?;
        note.remove()
    }

    fn digests(&self) -> std::sync::MutexGuard<'_, HashMap<UploadId, RunningDigest>> {
        self.shared.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Stores bytes.
    fn take(&mut self, piece: &[Bytes]) -> Result<(), Problem> {
        for bytes in piece {
            let step = self.upload.on_chunk(self.upload.offset(), bytes, now());
            let step = step.map_err(|error| self.about(&error))?;
            if step == Step::Append {
                self.parked.append(bytes)?;
            }
        }
        Ok(())
    }

    /// Ends a piece that came whole, and publishes the file if it was the last one.
    fn end(mut self) -> Result<UploadStatus, Problem> {
        let step = self.upload.end_chunk().map_err(|error| self.about(&error))?;
        self.follow(step)?;
        if self.upload.is_full() {
            return match self.upload.record().role {
                UploadRole::Part => self.complete_part(),
                UploadRole::File | UploadRole::Joined(_) => self.publish(),
            };
        }
        let status = status_of(self.upload.record(), self.upload.offset(), None);
        self.leave();
        Ok(status)
    }

    /// Lets go of the upload, to go on another time.
    fn leave(self) {
        let Some(running) = self.upload.running() else { return };
        let mut digests = self.desk.digests();
        if digests.len() < MAX_DIGESTS {
            digests.insert(self.upload.record().id.clone(), running);
        }
    }

    /// A part is not published: its bytes wait where they are.
    fn complete_part(self) -> Result<UploadStatus, Problem> {
        let sealed = self.upload.seal().map_err(|error| Problem::of(&error))?;
        let record = sealed.published();
        self.note.write(&record.encode())?;
        Ok(status_of(&record, record.length(), None))
    }

    fn publish(self) -> Result<UploadStatus, Problem> {
        let Self { desk, note, parked, upload } = self;
        let sealed = upload.seal().map_err(|error| Problem::of(&error))?;
        let read_back = sealed.wants_digests().map(|wanted| parked.digests(wanted)).transpose()?;
        if let Err(error) = sealed.verify(read_back) {
            let problem = Problem::of(&error).with_path(&sealed.record().write.path);
            parked.discard()?;
            note.remove()?;
            return Err(problem);
        }
        note.write(&sealed.record().encode())?;
        match parked.publish(sealed.record().write.clone()) {
            Ok(written) => {
                let record = sealed.published();
                if let Err(error) = note.write(&record.encode()) {
                    // The file is there, and that is found out again.
                    tracing::warn!(upload = %record.id, %error, "cannot remember that an upload is complete");
                }
                Ok(status_of(&record, record.length(), Some(written.entry)))
            }
            // All bytes are there still: an empty piece at the end tries again.
            Err(error) if error.may_pass() => Err(error.into()),
            Err(error) => {
                desk.forget(note, sealed.record())?;
                Err(error.into())
            }
        }
    }

    fn follow(&mut self, step: Step) -> Result<(), Problem> {
        match step {
            Step::Proceed | Step::Append => return Ok(()),
            Step::Remember => {}
            Step::Retract { to } => self.parked.retract(to)?,
        }
        Ok(self.note.write(&self.upload.record().encode())?)
    }

    fn about(&self, error: &TransferError) -> Problem {
        Problem::of(error).with_path(&self.upload.record().write.path)
    }
}

/// The record of an upload, if it is this caller's: to any other there is none.
fn read(bytes: &[u8], id: &UploadId, grant: &Grant) -> Result<Record, Problem> {
    let record = Record::decode(bytes).map_err(|error| Problem::of(&error))?;
    let is_his = record.id == *id && record.user == grant.user && record.root == grant.root;
    if is_his { Ok(record) } else { Err(no_upload(id)) }
}

/// Whether more may come. What was to be joined is joined anew by whoever repeats the call: the parts are there until it is
/// published.
fn takes_pieces(record: &Record) -> bool {
    !matches!(record.role, UploadRole::Joined(_))
}

/// What an upload can be asked for is what its record keeps.
fn check_write(write: &WriteRequest) -> Result<(), Problem> {
    let refused = match (write.in_place, write.verify) {
        (false, false) => return Ok(()),
        (true, _) => "an upload replaces its file, and cannot be written in place",
        (false, true) => "an upload is not read back: announce its digest",
    };
    Err(Problem::new(ErrorCode::InvalidRequest, refused).with_path(&write.path))
}

/// Finds the bytes of an upload again.
fn unpark(view: &View, record: &Record) -> Result<Parked, FsError> {
    match record.role {
        UploadRole::Part => view.unpark_part(&resting(record)),
        UploadRole::File | UploadRole::Joined(_) => view.unpark(&resting(record), &record.write.path),
    }
}

fn complete(record: &Record, chunk: &ChunkRequest) -> Result<Begun, Problem> {
    if matches!(record.role, UploadRole::Joined(_)) {
        return Err(Problem::of(&TransferError::IsJoined).with_path(&record.write.path));
    }
    let status = status_of(record, record.length(), None);
    check_end(status, chunk).map(|status| Begun::Complete(Box::new(status)))
}

/// An empty piece at the end of a complete upload adds nothing and is welcome; any other does not fit.
fn check_end(status: UploadStatus, chunk: &ChunkRequest) -> Result<UploadStatus, Problem> {
    if chunk.offset == status.length_bytes && chunk.length == Some(0) {
        return Ok(status);
    }
    let error = TransferError::WrongOffset { expected: status.length_bytes, given: chunk.offset };
    Err(Problem::of(&error).with_path(&status.path.0))
}

fn resting(record: &Record) -> Resting {
    let Staging { directory, name, inode } = record.staging.clone();
    // Those of a file that was published are its own.
    let made_directories = if record.phase == Phase::Done { 0 } else { record.made_directories };
    Resting { directory, name, inode, made_directories }
}

fn status_of(record: &Record, offset_bytes: u64, entry: Option<Entry>) -> UploadStatus {
    UploadStatus {
        id: record.id.clone(),
        path: record.write.path.clone().into(),
        offset_bytes,
        length_bytes: record.length(),
        expires: record.expires,
        metadata: record.metadata.clone(),
        part: record.role == UploadRole::Part,
        parts: match &record.role {
            UploadRole::Joined(parts) => parts.clone(),
            UploadRole::File | UploadRole::Part => Vec::new(),
        },
        entry,
    }
}

fn no_such_upload(error: FsError) -> Problem {
    match error {
        FsError::NotFound { .. } => Problem::new(ErrorCode::UploadNotFound, "there is no such upload"),
        FsError::Busy { .. } => {
            let hint = "wait until the other request has ended, or cut its connection";
            Problem::new(ErrorCode::Busy, "another request works on this upload").with_hint(hint)
        }
        error => error.into(),
    }
}

fn no_upload(id: &UploadId) -> Problem {
    Problem::new(ErrorCode::UploadNotFound, format!("there is no upload {id}"))
        .with_hint("begin a new upload")
}

fn fresh_id() -> Result<UploadId, Problem> {
    let mut bits = [0; 10];
    getrandom::fill(&mut bits).map_err(|_| Problem::new(ErrorCode::Internal, "no random numbers"))?;
    Ok(UploadId::from_random(bits))
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn now_plus(span: Duration) -> Timestamp {
    SystemTime::now().checked_add(span).unwrap_or(SystemTime::UNIX_EPOCH).into()
}

fn in_hand(session: &mut EndsElsewhere<Session>) -> Result<Session, Problem> {
    session.take().ok_or_else(lost)
}

fn lost() -> Problem {
    Problem::new(ErrorCode::Internal, "the work was lost with its thread")
}
