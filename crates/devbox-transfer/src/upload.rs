//! The receiving side of an upload: which bytes count, and when the whole may be published.

use devbox_types::upload::{ChunkRequest, UploadRole};
use devbox_types::{Algorithms, DigestAlgorithm, DigestHasher, Digests, Timestamp};

use crate::checksum::ChunkVerifier;
use crate::error::TransferError;
use crate::record::{Phase, Record};

/// An upload that somebody works on: [`Open`] takes pieces, [`Sealed`] may be published.
///
/// Bytes count once they are stored. The one exception is a piece with a checksum: from before its first byte is stored
/// until the checksum was compared, the record says from where on bytes do not count, so that a kill at any moment leaves
/// nothing unverified.
#[derive(Debug)]
pub struct Upload<State> {
    record: Record,
    state: State,
}

/// Takes pieces.
#[derive(Debug)]
pub struct Open {
    /// How many bytes are stored.
    offset: u64,
    /// The digests of all of them, as far as they are kept.
    whole: Option<DigestHasher>,
    piece: Option<ChunkVerifier>,
}

/// Is whole.
#[derive(Debug)]
pub struct Sealed {
    /// The digests of what came that were kept.
    digests: Digests,
}

/// What whoever holds the bytes does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Proceed,
    /// Store the bytes behind those that are stored.
    Append,
    /// Store the record before anything else.
    Remember,
    /// Cut what is stored back to so many bytes, then store the record.
    Retract {
        /// How many bytes stay.
        to: u64,
    },
}

/// The digests of the bytes so far, kept in memory between two pieces.
#[derive(Debug, Clone)]
pub struct RunningDigest {
    offset: u64,
    hasher: DigestHasher,
}

impl Upload<Open> {
    /// Goes on with an upload of which `stored` bytes are there.
    ///
    /// Without a fitting running digest, as after a restart, the pieces are not hashed any more; [`Upload::seal`] then leaves
    /// the digest to who reads the whole back.
    ///
    /// # Errors
    /// [`TransferError::Expired`]; [`TransferError::Damaged`] if more is stored than was announced.
    pub fn resume(
        mut record: Record,
        stored: u64,
        running: Option<RunningDigest>,
        now: Timestamp,
    ) -> Result<(Self, Step), TransferError> {
        if now >= record.expires {
            return Err(TransferError::Expired { at: record.expires });
        }
        if stored > record.length() {
            return Err(TransferError::Damaged);
        }
        let offset = record.counted(stored);
        let step = match record.unverified_from.take() {
            Some(_) => Step::Retract { to: offset },
            None => Step::Proceed,
        };
        let hashed = hashed(&record);
        let whole = match running {
            Some(running) if running.offset == offset => Some(running.hasher),
            _ => (offset == 0).then(|| DigestHasher::new(hashed)),
        };
        let state = Open { offset, whole: whole.filter(|_| !hashed.is_empty()), piece: None };
        Ok((Self { record, state }, step))
    }

    /// Begins a piece.
    ///
    /// # Errors
    /// [`TransferError::WrongOffset`], [`TransferError::BeyondEnd`], [`TransferError::Contradiction`].
    pub fn begin_chunk(&mut self, chunk: &ChunkRequest) -> Result<Step, TransferError> {
        if matches!(self.record.role, UploadRole::Joined(_)) {
            return Err(TransferError::IsJoined);
        }
        let expected = self.state.offset;
        if chunk.offset != expected {
            return Err(TransferError::WrongOffset { expected, given: chunk.offset });
        }
        let length = self.record.length();
        if chunk.length.is_some_and(|more| more > length - expected) {
            return Err(TransferError::BeyondEnd { length });
        }
        // What a part says of the whole counts once it is joined.
        if self.record.role != UploadRole::Part {
            let digests = self.record.write.digests.join(&chunk.digests);
            self.record.write.digests = digests.map_err(|_| TransferError::Contradiction)?;
        }
        let Some(checksum) = chunk.checksum else { return Ok(Step::Proceed) };
        self.state.piece = Some(ChunkVerifier::new(checksum));
        self.record.unverified_from = Some(expected);
        Ok(Step::Remember)
    }

    /// Takes bytes of a piece, which lie at `offset`.
    ///
    /// # Errors
    /// [`TransferError::WrongOffset`], [`TransferError::BeyondEnd`], [`TransferError::Expired`]; the bytes are not to be stored.
    pub fn on_chunk(&mut self, offset: u64, bytes: &[u8], now: Timestamp) -> Result<Step, TransferError> {
        let expected = self.state.offset;
        if offset != expected {
            return Err(TransferError::WrongOffset { expected, given: offset });
        }
        if now >= self.record.expires {
            return Err(TransferError::Expired { at: self.record.expires });
        }
        let more = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let length = self.record.length();
        if more > length - expected {
            return Err(TransferError::BeyondEnd { length });
        }
        if let Some(hasher) = &mut self.state.whole {
            hasher.update(bytes);
        }
        if let Some(verifier) = &mut self.state.piece {
            verifier.update(bytes);
        }
        self.state.offset = expected + more;
        Ok(Step::Append)
    }

    /// Takes the bytes of a complete part, which were stored at `offset` and did not pass by here: the digests of the whole are
    /// left to who reads it back.
    ///
    /// # Errors
    /// [`TransferError::WrongOffset`], [`TransferError::BeyondEnd`].
    pub fn on_part(&mut self, offset: u64, more: u64) -> Result<(), TransferError> {
        let expected = self.state.offset;
        if offset != expected {
            return Err(TransferError::WrongOffset { expected, given: offset });
        }
        let length = self.record.length();
        if more > length - expected {
            return Err(TransferError::BeyondEnd { length });
        }
        self.state.whole = None;
        self.state.offset = expected + more;
        Ok(())
    }

    /// Ends a piece that came to its end. One that broke off is not ended: what counts of it is decided by the next
    /// [`Upload::resume`], as after a kill.
    ///
    /// # Errors
    /// [`TransferError::ChecksumMismatch`]: nothing of the piece counts.
    pub fn end_chunk(&mut self) -> Result<Step, TransferError> {
        let Some(verifier) = self.state.piece.take() else { return Ok(Step::Proceed) };
        if !verifier.matches() {
            return Err(TransferError::ChecksumMismatch);
        }
        self.record.unverified_from = None;
        Ok(Step::Remember)
    }

    /// How many bytes have come.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.state.offset
    }

    /// Whether all bytes have come.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.state.offset == self.record.length() && self.state.piece.is_none()
    }

    /// The digest so far, to go on with; none in the middle of a piece whose checksum was not compared.
    #[must_use]
    pub fn running(&self) -> Option<RunningDigest> {
        let hasher = self.state.whole.clone().filter(|_| self.state.piece.is_none())?;
        Some(RunningDigest { offset: self.state.offset, hasher })
    }

    /// Ends the upload: no more bytes may come.
    ///
    /// # Errors
    /// [`TransferError::Incomplete`].
    pub fn seal(self) -> Result<Upload<Sealed>, TransferError> {
        let expected = self.record.length();
        if !self.is_full() {
            return Err(TransferError::Incomplete { received: self.state.offset, expected });
        }
        let mut record = self.record;
        record.phase = Phase::Publishing;
        let digests = self.state.whole.map(DigestHasher::finish).unwrap_or_default();
        Ok(Upload { record, state: Sealed { digests } })
    }
}

impl Upload<Sealed> {
    /// Which digests of the stored bytes [`Upload::verify`] needs, for they were announced and not kept: the bytes then have
    /// to be read once.
    #[must_use]
    pub fn wants_digests(&self) -> Option<Algorithms> {
        let announced = self.record.write.digests;
        let kept = self.state.digests.algorithms();
        let lacks = announced.algorithms().iter().any(|algorithm| !kept.contains(algorithm));
        lacks.then(|| announced.algorithms())
    }

    /// Compares the whole with what was announced; `read_back` is of what is stored, if that was wanted.
    ///
    /// # Errors
    /// [`TransferError::DigestMismatch`].
    pub fn verify(&self, read_back: Option<Digests>) -> Result<(), TransferError> {
        let found = read_back.unwrap_or(self.state.digests);
        if self.record.write.digests.are_met_by(&found) { Ok(()) } else { Err(TransferError::DigestMismatch) }
    }

    /// The record of the upload once its file is published.
    #[must_use]
    pub fn published(self) -> Record {
        Record { phase: Phase::Done, ..self.record }
    }
}

impl<State> Upload<State> {
    /// What is to be remembered of it.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }
}

/// Which digests are made as pieces come: those that were announced, or the SHA-256 where some digest is to follow.
fn hashed(record: &Record) -> Algorithms {
    let announced = record.write.digests.algorithms();
    if record.digest_follows { announced.with(DigestAlgorithm::Sha256) } else { announced }
}

#[cfg(test)]
mod tests {
    use devbox_types::upload::ChunkChecksum;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::record::tests::record;

    const NOW: Timestamp = Timestamp::EPOCH;

    fn whole(length: u64) -> Record {
        Record { unverified_from: None, role: UploadRole::File, ..record(length) }
    }

    fn open(length: u64) -> Upload<Open> {
        Upload::resume(whole(length), 0, None, NOW).expect("an upload").0
    }

    fn piece(offset: u64, checksum: Option<ChunkChecksum>) -> ChunkRequest {
        ChunkRequest { id: record(0).id, offset, length: None, checksum, digests: Digests::default() }
    }

    fn sha256(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    #[test]
    fn a_piece_begins_where_the_upload_ends() {
        let mut upload = open(10);
        assert_eq!(upload.begin_chunk(&piece(0, None)), Ok(Step::Proceed));
        assert_eq!(upload.on_chunk(0, b"abc", NOW), Ok(Step::Append));
        let wrong = Err(TransferError::WrongOffset { expected: 3, given: 0 });
        assert_eq!(upload.begin_chunk(&piece(0, None)), wrong);
        assert_eq!(upload.on_chunk(3, &[0; 8], NOW), Err(TransferError::BeyondEnd { length: 10 }));
    }

    #[test]
    fn bytes_of_an_unverified_piece_never_count() {
        let mut upload = open(10);
        let checksum = Some(ChunkChecksum::Sha256(sha256(b"right")));
        assert_eq!(upload.begin_chunk(&piece(0, checksum)), Ok(Step::Remember));
        assert_eq!(upload.on_chunk(0, b"wrong", NOW), Ok(Step::Append));
        assert!(upload.running().is_none());
        assert_eq!(upload.end_chunk(), Err(TransferError::ChecksumMismatch));
        let (upload, step) = Upload::resume(upload.record().clone(), 5, None, NOW).expect("an upload");
        assert_eq!((upload.offset(), step), (0, Step::Retract { to: 0 }));
        assert_eq!(upload.record().unverified_from, None);
    }

    #[test]
    fn an_expired_upload_takes_nothing() {
        let record = record(10);
        let at = record.expires;
        assert_eq!(Upload::resume(record, 0, None, at).map(|_| ()), Err(TransferError::Expired { at }));
    }

    #[test]
    fn the_whole_is_compared_with_the_digest_that_came_last() {
        for (content, outcome) in [(b"right", Ok(())), (b"wrong", Err(TransferError::DigestMismatch))] {
            let mut upload = open(5);
            let last = ChunkRequest { digests: Digests::of_sha256(sha256(b"right")), ..piece(0, None) };
            assert_eq!(upload.begin_chunk(&last), Ok(Step::Proceed));
            assert_eq!(upload.on_chunk(0, content, NOW), Ok(Step::Append));
            let sealed = upload.seal().expect("a whole upload");
            assert_eq!(sealed.wants_digests(), None);
            assert_eq!(sealed.verify(None), outcome);
        }
    }

    #[test]
    fn after_a_restart_the_whole_is_read_back() {
        let record = whole(5);
        let (mut upload, _) = Upload::resume(record, 3, None, NOW).expect("an upload");
        let last = ChunkRequest { digests: Digests::of_sha256(sha256(b"right")), ..piece(3, None) };
        assert_eq!(upload.begin_chunk(&last), Ok(Step::Proceed));
        assert_eq!(upload.on_chunk(3, b"ht", NOW), Ok(Step::Append));
        let sealed = upload.seal().expect("a whole upload");
        assert_eq!(sealed.wants_digests(), Some(Algorithms::SHA_256));
        assert_eq!(sealed.verify(None), Err(TransferError::DigestMismatch));
        assert_eq!(sealed.verify(Some(Digests::of_sha256(sha256(b"right")))), Ok(()));
    }

    #[test]
    fn an_upload_that_lacks_bytes_cannot_be_sealed() {
        let refused = open(5).seal().map(|_| ());
        assert_eq!(refused, Err(TransferError::Incomplete { received: 0, expected: 5 }));
    }

    proptest! {
        /// A naive model: pieces with good or bad checksums, kills in the middle, and the bytes that count.
        #[test]
        fn whatever_breaks_the_bytes_that_count_are_a_prefix(
            content in proptest::collection::vec(any::<u8>(), 1..400),
            pieces in proptest::collection::vec((1_usize..90, any::<bool>(), any::<bool>(), any::<bool>()), 1..40),
        ) {
            let mut record = whole(u64::try_from(content.len())?);
            let mut stored: Vec<u8> = Vec::new();
            let mut running = None;
            for (size, checked, good, killed) in pieces {
                let (mut upload, step) =
                    Upload::resume(record.clone(), u64::try_from(stored.len())?, running.take(), NOW)?;
                if let Step::Retract { to } = step {
                    stored.truncate(usize::try_from(to)?);
                    record = upload.record().clone();
                }
                prop_assert_eq!(&stored[..], &content[..stored.len()]);
                let from = stored.len();
                let bytes = &content[from..content.len().min(from + size)];
                let sum = sha256(if good { bytes } else { b"something else" });
                let chunk = piece(upload.offset(), checked.then_some(ChunkChecksum::Sha256(sum)));
                if upload.begin_chunk(&chunk)? == Step::Remember {
                    record = upload.record().clone();
                }
                upload.on_chunk(upload.offset(), bytes, NOW)?;
                stored.extend_from_slice(bytes);
                if killed {
                    continue;
                }
                match upload.end_chunk() {
                    Ok(Step::Remember) => record = upload.record().clone(),
                    Ok(step) => prop_assert_eq!(step, Step::Proceed),
                    Err(error) => {
                        prop_assert_eq!(error, TransferError::ChecksumMismatch);
                        prop_assert!(checked && !good);
                        continue;
                    }
                }
                running = upload.running();
                if upload.is_full() {
                    record.write.digests = Digests::of_sha256(sha256(&content));
                    let sealed = upload.seal()?;
                    prop_assert!(sealed.verify(None).is_ok());
                    break;
                }
            }
        }
    }
}
