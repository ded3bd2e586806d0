//! What a call over many names is about to do, written down first, so that the next start can undo or finish it.
//!
//! Lines of a checksum and a JSON record. Each is written before what it tells of is done, and tells how to undo it; so a
//! torn last line is of something that was not done. After `Committed` there is only rubbish to remove.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::attributes::FileId;
use crate::confine::open_listing;
use crate::directory_table::{DirectoryNumber, DirectoryTable, Spot};
use crate::outcomes::Outcome;
use crate::reserved;
use crate::root::Engine;
use crate::state::MAX_JOURNAL_BYTES;
use crate::tree::remove_tree;
use crate::undo::{Undo, roll_back};

/// The first bytes of a line's SHA-256, in hexadecimal.
const CHECKSUM_LENGTH: usize = 16;
/// The longest line that is read: the value of an extended attribute, in base64, with room to spare.
const MAX_LINE: u64 = 128 << 10;
/// Lines are gathered to this size where many are written at once.
const BUFFER: usize = 64 << 10;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Record {
    /// The next directory number. Names that begin with the prefix may be made in it, and are rubbish afterwards.
    Directory {
        #[serde(with = "bytes")]
        path: Vec<u8>,
        inode: u64,
        #[serde(with = "bytes")]
        prefix: Vec<u8>,
    },
    Undo(Undo),
    /// What is to be removed once all is committed, and stays otherwise.
    Doomed {
        #[serde(with = "WrittenSpot")]
        at: Spot,
        inode: u64,
    },
    Committed,
    /// The same of a call with a key: its outcome is to be remembered before the journal goes. A version that does not know
    /// this record reads no further, and takes the call back, key and all.
    CommittedAs(Outcome),
    /// The call has ended, and everything before this is done. What follows is what could not be done.
    Remaining,
}

/// The journal of a call that is at work.
#[derive(Debug)]
pub(crate) struct Journal {
    file: OwnedFd,
    pub(crate) name: String,
    buffer: Vec<u8>,
    length: u64,
}

impl Journal {
    pub(crate) fn new(file: OwnedFd, name: String) -> Self {
        Self { file, name, buffer: Vec::new(), length: 0 }
    }

    /// Adds a record; it counts once [`Self::flush`] returns. EFBIG where recovery would not read it.
    pub(crate) fn add(&mut self, record: &Record) -> Result<(), Errno> {
        let json = serde_json::to_vec(record).map_err(|_| Errno::INVAL)?;
        let line = u64::try_from(CHECKSUM_LENGTH + json.len() + 1).map_err(|_| Errno::FBIG)?;
        if line > MAX_LINE || self.length + line > MAX_JOURNAL_BYTES {
            return Err(Errno::FBIG);
        }
        self.length += line;
        self.buffer.extend_from_slice(&checksum(&json));
        self.buffer.extend_from_slice(&json);
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    pub(crate) fn flush(&mut self) -> Result<(), Errno> {
        let mut rest = &self.buffer[..];
        while !rest.is_empty() {
            match rustix::io::write(&self.file, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        self.buffer.clear();
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), Errno> {
        rustix::fs::fsync(&self.file)
    }
}

/// Undoes what a dead engine's journal tells of, or, if it was committed, removes what it left.
pub(crate) fn recover(engine: &Engine, file: &OwnedFd) -> Result<(), Errno> {
    let mut table = DirectoryTable::default();
    let mut undos = Vec::new();
    let mut rubbish: Vec<(DirectoryNumber, Vec<u8>)> = Vec::new();
    let mut doomed = Vec::new();
    let mut committed = false;
    let mut outcome = None;
    let file = File::from(file.try_clone().map_err(|_| Errno::MFILE)?);
    for record in records(BufReader::new(file)) {
        match record {
            Record::Directory { path, inode, prefix } => {
                rubbish.push((rubbish.len(), prefix));
                table.push_closed(path, FileId { device: 0, inode });
            }
            Record::Undo(undo) if undo.is_well_formed() => undos.push(undo),
            Record::Undo(_) => {}
            // A journal is hostile input, and these are the same steps as an undo's.
            Record::Doomed { at, inode } => doomed.push(Undo::Remove { at, inode, tree: true }),
            Record::Committed => committed = true,
            Record::CommittedAs(done) => {
                committed = true;
                outcome = Some(done);
            }
            Record::Remaining => {
                undos.clear();
                doomed.clear();
                committed = false;
            }
        }
    }
    if let Some(outcome) = outcome {
        // If it cannot be written, this process at least knows it.
        let _ = engine.outcomes.record(engine, outcome, false);
    }
    if committed {
        doomed.retain(Undo::is_well_formed);
        undos = doomed;
    }
    // What cannot be undone, because a process in the box took its place, stays as that process left it.
    roll_back(&undos, engine, &mut table, |table| {
        rubbish.iter().fold(true, |clean, (number, prefix)| {
            let swept = table.get(*number, engine.anchor()).and_then(|directory| sweep(&directory, prefix));
            swept.is_ok() && clean
        })
    });
    Ok(())
}

/// Removes the names in a directory that begin with a prefix, which must be a reserved one.
fn sweep(directory: &OwnedFd, prefix: &[u8]) -> Result<(), Errno> {
    if !reserved::is_reserved(prefix) || prefix == reserved::PREFIX {
        return Ok(());
    }
    let listing = open_listing(directory.as_fd(), b".")?;
    for entry in rustix::fs::Dir::new(listing)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name.starts_with(prefix) && name != reserved::STATE_DIRECTORY {
            remove_tree(directory.as_fd(), name, &|| Ok::<(), Errno>(()))?;
        }
    }
    Ok(())
}

/// The records of a journal up to the first line that is damaged or torn.
fn records(journal: impl BufRead) -> impl Iterator<Item = Record> {
    let mut journal = journal.take(MAX_JOURNAL_BYTES);
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        (&mut journal).take(MAX_LINE).read_until(b'\n', &mut line).ok()?;
        let (sum, json) = line.strip_suffix(b"\n")?.split_at_checked(CHECKSUM_LENGTH)?;
        if sum != checksum(json) {
            return None;
        }
        serde_json::from_slice(json).ok()
    })
}

pub(crate) fn checksum(json: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha256::digest(json);
    let mut text = [0; CHECKSUM_LENGTH];
    for (place, byte) in digest.iter().take(CHECKSUM_LENGTH / 2).enumerate() {
        text[2 * place] = DIGITS[usize::from(byte >> 4)];
        text[2 * place + 1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// Bytes as base64.
pub(crate) mod bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        BASE64.encode(bytes).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        BASE64.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Spot")]
pub(crate) struct WrittenSpot {
    pub(crate) directory: DirectoryNumber,
    #[serde(with = "bytes")]
    pub(crate) name: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: &[u8]) -> Vec<u8> {
        [&checksum(json)[..], json, b"\n"].concat()
    }

    #[test]
    fn a_journal_is_read_up_to_the_first_damaged_line() {
        let good = line(b"\"Committed\"");
        let mut damaged = good.clone();
        damaged[3] ^= 1;
        let torn = &good[..good.len() - 1];
        let count = |bytes: &[u8]| records(bytes).count();
        assert_eq!(count(&[&good[..], &good, &damaged, &good].concat()), 2);
        assert_eq!(count(&[&good[..], torn].concat()), 1);
        assert_eq!(count(&line(b"{\"Unknown\":1}")), 0);
        assert_eq!(count(b"\n\n"), 0);
        assert_eq!(count(&vec![b' '; 1 << 20]), 0);
    }
}
