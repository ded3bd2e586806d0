//! What calls with an idempotency key did, so that a repeat is answered and not done again.
//!
//! The outcome of a call with a journal is part of the record that commits it, and goes from there into a ring of slots in
//! the state directory; only then does the journal go. So whatever moment a kill comes at, the next start finds either
//! neither effect nor outcome, or both. A call that failed has changed nothing: it is not remembered, and may be tried again.
//!
//! The ring is read back as hostile input: box root can write it, and can only change what repeats are answered in its box.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devbox_types::operation::Report;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::acting::as_the_process;
use crate::attributes::Attributes;
use crate::error::FsError;
use crate::fingerprint::Fingerprint;
use crate::journal::checksum;
use crate::root::Engine;
use crate::view::View;

/// How many outcomes are kept; an older one is forgotten, and its call done again if it is repeated.
const REMEMBERED: usize = 1000;
/// Room for an outcome: three fingerprints and the numbers of a report take 300 bytes.
const SLOT_BYTES: usize = 512;
/// Slots are numbered in the order of their calls; a number beyond is nobody's who counted from 0.
const MAX_SEQUENCE: u64 = 1 << 53;
const RING_NAME: &str = "outcomes";

/// What a call did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    key: Fingerprint,
    /// What is known of the call at its start: what it does, where, for whom.
    call: Fingerprint,
    /// All that it brought.
    content: Fingerprint,
    report: Report,
}

/// Whose key a call came with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyed {
    pub(crate) key: Fingerprint,
    /// The root and the user of its grant.
    pub(crate) caller: Fingerprint,
}

/// What is to become of a call.
#[derive(Debug)]
pub enum Attempt {
    /// It is to be done. With a key, the ticket is held until it is.
    First(Option<Ticket>),
    /// It was done before, if it turns out to be the same.
    Repeat(Repeat),
}

/// The right to do what a key stands for. While it is held, others with the key are told to wait.
#[derive(Debug)]
pub struct Ticket {
    engine: Arc<Engine>,
    key: Fingerprint,
    call: Fingerprint,
}

/// What is known of a call that was done before.
#[derive(Debug)]
pub struct Repeat(Outcome);

/// The outcomes that are remembered.
#[derive(Debug, Default)]
pub(crate) struct Outcomes(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    known: HashMap<Fingerprint, Outcome>,
    /// The keys of those, the oldest first.
    order: VecDeque<Fingerprint>,
    under_way: HashMap<Fingerprint, Fingerprint>,
    next: u64,
    /// Where the ring is; none where nothing outlives this process.
    directory: Option<OwnedFd>,
    ring: Option<OwnedFd>,
}

/// A slot, as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Slot {
    sequence: u64,
    outcome: Outcome,
}

impl View {
    /// Finds out whether a call is a repeat, by the grant's key: `what` tells of the call all that is known at its start.
    ///
    /// # Errors
    /// [`FsError::KeyInUse`] while the first call with the key is under way; [`FsError::KeyMismatch`] if that was another call.
    pub fn attempt(&self, what: &[&[u8]]) -> Result<Attempt, FsError> {
        let Some(Keyed { key, caller }) = self.keyed else { return Ok(Attempt::First(None)) };
        let what = Fingerprint::of(what);
        let call = Fingerprint::of(&[String::from(caller).as_bytes(), String::from(what).as_bytes()]);
        if let Some(outcome) = self.engine.outcomes.claim(key, call)? {
            return Ok(Attempt::Repeat(Repeat(outcome)));
        }
        Ok(Attempt::First(Some(Ticket { engine: Arc::clone(&self.engine), key, call })))
    }
}

impl Repeat {
    /// The answer that the first call got, if this one brought the same.
    ///
    /// # Errors
    /// [`FsError::KeyMismatch`].
    pub fn answer(self, content: Fingerprint) -> Result<Report, FsError> {
        if self.0.content == content { Ok(self.0.report) } else { Err(FsError::KeyMismatch) }
    }
}

impl Ticket {
    /// What is to be remembered of the call once it is done: all of the report but an entry, which may be long and of which
    /// nobody knows what it is by the time of a repeat.
    pub(crate) fn outcome(&self, content: Fingerprint, report: &Report) -> Outcome {
        Outcome { key: self.key, call: self.call, content, report: bounded(report) }
    }
}

/// What of a report fits a slot.
fn bounded(report: &Report) -> Report {
    let Report { entries, bytes, atomic, .. } = *report;
    Report { entries, bytes, atomic, ..Report::default() }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.engine.outcomes.lock().under_way.remove(&self.key);
    }
}

impl Outcomes {
    /// Reads what earlier processes remembered, and goes on from there.
    pub(crate) fn open(&self, directory: &OwnedFd) -> Result<(), Errno> {
        let mut remembered = self.lock();
        remembered.directory = Some(directory.try_clone().map_err(|_| Errno::MFILE)?);
        remembered.ring = match open_ring(directory, OFlags::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            ring => Some(ring?),
        };
        let mut slots = remembered.slots();
        slots.sort_by_key(|slot| slot.sequence);
        for Slot { sequence, outcome } in slots {
            remembered.next = sequence + 1;
            remembered.insert(outcome);
        }
        Ok(())
    }

    /// Remembers what a call did, for this process at least, and if there is no error for the next one too: with `power`
    /// whatever becomes of this machine.
    pub(crate) fn record(&self, engine: &Engine, outcome: Outcome, power: bool) -> Result<(), Errno> {
        let mut remembered = self.lock();
        // One that was read from a journal may be as long as a line of it.
        let outcome = Outcome { report: bounded(&outcome.report), ..outcome };
        if remembered.known.get(&outcome.key) == Some(&outcome) {
            return Ok(());
        }
        let slot = Slot { sequence: remembered.next, outcome };
        let written = as_the_process(engine.own(), || remembered.write(&slot, power));
        remembered.next += 1;
        remembered.insert(slot.outcome);
        written
    }

    /// What was done under a key. If nothing was, the key is taken until its ticket is dropped.
    fn claim(&self, key: Fingerprint, call: Fingerprint) -> Result<Option<Outcome>, FsError> {
        let mut remembered = self.lock();
        if let Some(outcome) = remembered.known.get(&key) {
            return if outcome.call == call { Ok(Some(outcome.clone())) } else { Err(FsError::KeyMismatch) };
        }
        match remembered.under_way.get(&key) {
            Some(other) if *other != call => Err(FsError::KeyMismatch),
            Some(_) => Err(FsError::KeyInUse),
            None => {
                remembered.under_way.insert(key, call);
                Ok(None)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    fn insert(&mut self, outcome: Outcome) {
        let key = outcome.key;
        if self.known.insert(key, outcome).is_some() {
            self.order.retain(|known| *known != key);
        }
        self.order.push_back(key);
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    fn write(&mut self, slot: &Slot, power: bool) -> Result<(), Errno> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let json = serde_json::to_vec(slot).map_err(|_| Errno::INVAL)?;
        let mut block = [&checksum(&json)[..], &json, b"\n"].concat();
        if block.len() > SLOT_BYTES {
            return Err(Errno::FBIG);
        }
        block.resize(SLOT_BYTES, 0);
        let ring = match &mut self.ring {
            Some(ring) => ring,
            none => none.insert(open_ring(directory, OFlags::CREATE)?),
        };
        let at = slot.sequence % REMEMBERED as u64 * SLOT_BYTES as u64;
        if rustix::io::pwrite(&*ring, &block, at)? != SLOT_BYTES {
            return Err(Errno::NOSPC);
        }
        if power { rustix::fs::fdatasync(&*ring) } else { Ok(()) }
    }

    /// The slots that are whole.
    fn slots(&self) -> Vec<Slot> {
        let Some(ring) = &self.ring else { return Vec::new() };
        let mut block = [0; SLOT_BYTES];
        let blocks = (0..REMEMBERED as u64).filter_map(|number| {
            let length = rustix::io::pread(ring, &mut block[..], number * SLOT_BYTES as u64).ok()?;
            let line = block[..length].split(|byte| *byte == b'\n').next()?;
            let (sum, json) = line.split_at_checked(checksum(b"").len())?;
            let slot: Slot = (*sum == checksum(json)).then(|| serde_json::from_slice(json).ok())??;
            (slot.sequence < MAX_SEQUENCE).then_some(slot)
        });
        blocks.collect()
    }
}

fn open_ring(directory: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let ring = rustix::fs::openat(directory, RING_NAME, flags, Mode::RUSR | Mode::WUSR)?;
    if Attributes::of(std::os::fd::AsFd::as_fd(&ring))?.is_file() { Ok(ring) } else { Err(Errno::INVAL) }
}

#[cfg(test)]
mod tests {
    use devbox_types::{BoxPath, Grant};

    use super::*;
    use crate::{BoxRoot, RootOptions};

    #[test]
    fn attack_a_long_outcome_of_a_journal_is_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = BoxRoot::open(folder.path(), RootOptions::default()).expect("a root");
        let view = root.enter(&Grant::whole_box()).expect("a view");
        let entry = view.stat(&BoxPath::root(), false).expect("an entry");
        let (key, call) = (Fingerprint::of(&[b"key"]), Fingerprint::of(&[b"call"]));
        let report = Report { entries: 1, entry: Some(Box::new(entry)), ..Report::default() };
        let outcome = Outcome { key, call, content: call, report };
        let outcomes = Outcomes::default();
        outcomes.record(root.engine(), outcome, false).expect("recorded");
        let kept = outcomes.claim(key, call).expect("a claim").expect("an outcome").report;
        assert_eq!(kept, Report { entries: 1, ..Report::default() });
    }
}
