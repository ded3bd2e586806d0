//! Joining complete parts to a file: copied within the file system, published in one step, and only then given up.

use std::collections::{BTreeMap, BTreeSet};

use devbox_fs::{FsError, Note, Parked};
use devbox_transfer::{FoundPart, Joining, Phase, Record, TransferError};
use devbox_types::file::WriteRequest;
use devbox_types::upload::{UploadRequest, UploadRole, UploadStatus};
use devbox_types::{Grant, Problem, UploadId};

use super::{Desk, Session, no_such_upload, no_upload, now, read, resting, status_of, unpark};

/// A part that nobody else works on meanwhile.
struct Held {
    note: Note,
    record: Record,
    /// Its bytes, unless they went into another file.
    parked: Option<Parked>,
}

impl Desk {
    /// Makes a file of parts. Until it is published nothing has changed; after that, the parts are over.
    ///
    /// A kill between these two leaves the parts, which may then be joined once more or expire.
    pub(super) fn join(
        &self,
        grant: &Grant,
        request: UploadRequest,
        parts: &[UploadId],
    ) -> Result<UploadStatus, Problem> {
        let held = self.hold(grant, parts)?;
        let in_order: Vec<&Held> = parts.iter().filter_map(|id| held.get(id)).collect();
        let found: Vec<FoundPart<'_>> = in_order.iter().map(|part| part.found()).collect();
        let length = match Joining::of(&found, now()).map_err(|error| Problem::of(&error))? {
            Joining::Join { length } => length,
            Joining::JoinedBefore { id } => return self.joined_before(grant, &request, &id, &found),
        };
        let write = WriteRequest { length: Some(length), ..request.write };
        let mut session = self.begin_new(grant, UploadRequest { write, ..request })?;
        if let Err(problem) = session.take_parts(&in_order) {
            session.give_up()?;
            return Err(problem);
        }
        let id = session.upload.record().id.clone();
        let status = session.publish().inspect_err(|_| self.take_back(&id))?;
        for part in held.into_values() {
            let id = part.record.id.clone();
            if let Err(error) = part.give_up(&status.id) {
                // The file is published; the part takes space until it expires.
                tracing::warn!(upload = %id, %error, "cannot give up a part that was joined");
            }
        }
        Ok(status)
    }

    /// Takes hold of each part once, however often it is named.
    fn hold(&self, grant: &Grant, parts: &[UploadId]) -> Result<BTreeMap<UploadId, Held>, Problem> {
        let view = self.root.enter(grant)?;
        let mut held = BTreeMap::new();
        // In one order, so that of two calls over the same parts one waits.
        for id in parts.iter().collect::<BTreeSet<_>>() {
            let note = self.root.open_note(id.as_str()).map_err(no_such_upload)?;
            let record = read(&note.read()?, id, grant)?;
            let has_bytes = record.role == UploadRole::Part && record.joined_into.is_none();
            let parked =
                has_bytes.then(|| unpark(&view, &record)).transpose().map_err(|error| match error {
                    FsError::NotFound { .. } => no_upload(id),
                    error => error.into(),
                })?;
            held.insert(id.clone(), Held { note, record, parked });
        }
        Ok(held)
    }

    /// Removes what an error left of a joined upload: no piece can go on with it, and the parts are there still.
    fn take_back(&self, id: &UploadId) {
        let taken_back = || {
            let note = self.root.open_idle_note(id.as_str())?;
            match Record::decode(&note.read()?) {
                Ok(record) => self.forget(note, &record),
                Err(_) => note.remove(),
            }
        };
        match taken_back() {
            Ok(()) | Err(FsError::NotFound { .. }) => {}
            // The next start does it.
            Err(error) => tracing::warn!(upload = %id, %error, "cannot take a joined upload back"),
        }
    }

    /// The file that the same parts became before, for a client that did not get the answer.
    fn joined_before(
        &self,
        grant: &Grant,
        request: &UploadRequest,
        id: &UploadId,
        parts: &[FoundPart<'_>],
    ) -> Result<UploadStatus, Problem> {
        let spent = || {
            let id = parts.first().map_or_else(|| id.clone(), |part| part.record.id.clone());
            Problem::of(&TransferError::Spent { id })
        };
        let record = self.root.read_note(id.as_str()).map_err(|_| spent())?;
        let record = read(&record, id, grant).map_err(|_| spent())?;
        let is_same = record.role == request.role && record.write.path == request.write.path;
        if !is_same || record.phase != Phase::Done {
            return Err(spent());
        }
        let entry = self.root.enter(grant)?.published(&resting(&record), &record.write)?;
        Ok(status_of(&record, record.length(), entry))
    }
}

impl Held {
    fn found(&self) -> FoundPart<'_> {
        let stored = self.parked.as_ref().map_or(0, Parked::stored);
        FoundPart { record: &self.record, stored }
    }

    fn give_up(mut self, joined_into: &UploadId) -> Result<(), FsError> {
        self.record.joined_into = Some(joined_into.clone());
        self.note.write(&self.record.encode())?;
        self.parked.map_or(Ok(()), Parked::discard)
    }
}

impl Session {
    fn take_parts(&mut self, parts: &[&Held]) -> Result<(), Problem> {
        for parked in parts.iter().filter_map(|part| part.parked.as_ref()) {
            let step = self.upload.on_part(self.upload.offset(), parked.stored());
            step.map_err(|error| self.about(&error))?;
            self.parked.append_part(parked)?;
        }
        Ok(())
    }

    /// Takes back all that was begun.
    fn give_up(self) -> Result<(), Problem> {
        self.parked.discard()?;
        Ok(self.note.remove()?)
    }
}
