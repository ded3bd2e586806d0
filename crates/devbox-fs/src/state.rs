//! The hidden directory at the box's root that remembers what is half done, and repairing it at the next start.
//!
//! Every live engine holds a lock on its own files in there; what nobody holds was left by one that died. The contents are
//! read back as hostile input: box root can write them, and can only make the engine remove or rename reserved names
//! inside the box.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use devbox_types::BoxPath;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::acting::as_the_process;
use crate::attributes::Attributes;
use crate::confine::open_listing;
use crate::error::{At as _, FsError};
use crate::journal;
use crate::reserved::{self, STATE_DIRECTORY};
use crate::root::Engine;
use crate::tree::remove_tree;

/// Room for a directory's path, a reserved name and their lengths.
const SLOT_BYTES: u64 = 8192;
/// The most slots that recovery looks at: one per write that was in flight.
const MAX_SLOTS: u64 = 65_536;
/// The longest journal that is written, and that recovery reads; a batch of 10,000 files in as many directories with paths of
/// 4,000 bytes stays below. A call that needs more is refused as too large.
pub(crate) const MAX_JOURNAL_BYTES: u64 = 64 << 20;

const SLOTS_NAME: &str = "slots-";
const JOURNAL_NAME: &str = "journal-";

/// The state directory, and the slots in which single writes announce the names that they make.
#[derive(Debug)]
pub(crate) struct StateDirectory {
    directory: OwnedFd,
    root_path: Vec<u8>,
    slots: OwnedFd,
    slots_name: String,
    free: Mutex<FreeSlots>,
}

#[derive(Debug, Default)]
struct FreeSlots {
    free: Vec<u64>,
    used: u64,
}

impl StateDirectory {
    /// Opens or makes it, and repairs what dead engines left. `None` where this process may not have one: somebody else's
    /// root, or a read-only file system.
    pub(crate) fn open(engine: &Engine) -> Result<Option<Self>, FsError> {
        let here = BoxPath::root();
        let Some(directory) = open_directory(engine).at("open the state directory of", &here)? else {
            return Ok(None);
        };
        // One that cannot be read is of no use: what is remembered from now on lives as long as this process.
        let _ = engine.outcomes.open(&directory);
        recover(engine, &directory).at("repair", &here)?;
        let Ok(root_path) = engine.descriptors.whereabouts(engine.root.as_fd()) else { return Ok(None) };
        let (slots, slots_name) = match new_file(engine, &directory, SLOTS_NAME) {
            Ok(slots) => slots,
            Err(Errno::ROFS | Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOSPC | Errno::DQUOT) => {
                return Ok(None);
            }
            Err(errno) => return Err(FsError::at("write to the state directory of", &here, errno)),
        };
        Ok(Some(Self { directory, root_path, slots, slots_name, free: Mutex::default() }))
    }

    /// Remembers, until the guard is dropped, that `name` in `directory` is to be removed if this process dies.
    pub(crate) fn announce(
        &self,
        engine: &Arc<Engine>,
        directory: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<Announced, Errno> {
        let path = self.path_of(engine, directory)?;
        let announced = Announced { engine: Arc::clone(engine), slot: Some(self.take_slot()) };
        let mut record = Vec::with_capacity(path.len() + name.len() + 8);
        for part in [&path[..], name] {
            let length = u16::try_from(part.len()).map_err(|_| Errno::NAMETOOLONG)?;
            record.extend_from_slice(&length.to_le_bytes());
            record.extend_from_slice(part);
        }
        let mut at = announced.slot.unwrap_or_default() * SLOT_BYTES;
        let mut rest = &record[..];
        while !rest.is_empty() {
            match rustix::io::pwrite(&self.slots, rest, at) {
                Ok(0) => return Err(Errno::NOSPC),
                Ok(written) => {
                    rest = &rest[written..];
                    at += u64::try_from(written).unwrap_or(0);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(announced)
    }

    /// Begins a journal of its own for a call over many names, whoever the thread acts as.
    pub(crate) fn new_journal(&self, engine: &Engine) -> Result<(OwnedFd, String), Errno> {
        as_the_process(engine.own(), || new_file(engine, &self.directory, JOURNAL_NAME))
    }

    /// Removes a journal, whoever the thread acts as.
    pub(crate) fn remove_journal(&self, engine: &Engine, name: &str) -> Result<(), Errno> {
        as_the_process(engine.own(), || rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()))
    }

    pub(crate) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    pub(crate) fn sync(&self) -> Result<(), Errno> {
        rustix::fs::fsync(&self.directory)
    }

    /// Where a directory is, relative to the box's root.
    pub(crate) fn path_of(&self, engine: &Engine, directory: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
        let whole = engine.descriptors.whereabouts(directory)?;
        let prefix = if self.root_path == b"/" { &b""[..] } else { &self.root_path[..] };
        let path = whole.strip_prefix(prefix).filter(|path| path.is_empty() || path[0] == b'/');
        let path = path.ok_or(Errno::NOENT)?;
        Ok(path.strip_prefix(b"/").unwrap_or(path).to_vec())
    }

    fn take_slot(&self) -> u64 {
        let mut slots = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.free.pop() {
            return slot;
        }
        slots.used += 1;
        slots.used - 1
    }
}

impl Drop for StateDirectory {
    fn drop(&mut self) {
        // Left behind, the next start removes it.
        let _ = rustix::fs::unlinkat(&self.directory, self.slots_name.as_str(), AtFlags::empty());
    }
}

/// A slot in use. What it says after it was given back names nothing that exists, so it need not be cleared.
#[derive(Debug)]
pub(crate) struct Announced {
    engine: Arc<Engine>,
    slot: Option<u64>,
}

impl Announced {
    /// What was announced could not be removed: it is left to the next start, and the slot is not used again until then.
    pub(crate) fn keep(mut self) {
        self.slot = None;
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        if let (Some(slot), Some(state)) = (self.slot, &self.engine.state) {
            let mut slots = state.free.lock().unwrap_or_else(PoisonError::into_inner);
            slots.free.push(slot);
        }
    }
}

fn open_directory(engine: &Engine) -> Result<Option<OwnedFd>, Errno> {
    let root = engine.root.as_fd();
    match rustix::fs::mkdirat(root, STATE_DIRECTORY, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        // ENOENT is what procfs and its kin say.
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::NOSPC | Errno::DQUOT | Errno::NOENT) => {
            return Ok(None);
        }
        Err(errno) => return Err(errno),
    }
    let directory = match open_listing(root, STATE_DIRECTORY) {
        Ok(directory) => directory,
        Err(Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let attributes = Attributes::of(directory.as_fd())?;
    let ours = attributes.uid() == engine.own().uid && attributes.mode().trailing_zeros() >= 6;
    Ok(ours.then_some(directory))
}

/// Makes a file that is locked before it has a name, so that nobody takes it for a dead engine's.
fn new_file(engine: &Engine, directory: &OwnedFd, kind: &str) -> Result<(OwnedFd, String), Errno> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, ".", flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let fresh = engine.names.fresh();
    let name = format!("{kind}{}", String::from_utf8_lossy(&fresh[reserved::PREFIX.len()..]));
    engine.descriptors.link(file.as_fd(), directory.as_fd(), name.as_bytes())?;
    Ok((file, name))
}

/// Finishes or undoes what dead engines left, file by file. One that cannot be repaired is kept and tried again next time.
fn recover(engine: &Engine, directory: &OwnedFd) -> Result<(), Errno> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(directory, name, flags, Mode::empty()) else { continue };
        if !Attributes::of(file.as_fd())?.is_file()
            || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
        {
            continue;
        }
        let repaired = match name.to_bytes() {
            bytes if bytes.starts_with(SLOTS_NAME.as_bytes()) => recover_slots(engine, &file),
            bytes if bytes.starts_with(JOURNAL_NAME.as_bytes()) => journal::recover(engine, &file),
            _ => continue,
        };
        if repaired.is_ok() {
            rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
        }
    }
    Ok(())
}

fn recover_slots(engine: &Engine, file: &OwnedFd) -> Result<(), Errno> {
    let slots = Attributes::of(file.as_fd())?.size().div_ceil(SLOT_BYTES).min(MAX_SLOTS);
    let mut record = [0; 4096 + 255 + 4];
    for slot in 0..slots {
        let length = rustix::io::pread(file, &mut record[..], slot * SLOT_BYTES)?;
        let Some((path, name)) = parse_slot(&record[..length]) else { continue };
        if let Ok(place) = engine.anchor().reopen_directory(path) {
            remove_tree(place.as_fd(), name, &|| Ok(()))?;
        }
    }
    Ok(())
}

fn parse_slot(record: &[u8]) -> Option<(&[u8], &[u8])> {
    let (path, rest) = split_counted(record)?;
    let (name, _) = split_counted(rest)?;
    (reserved::is_reserved(name) && !name.contains(&b'/')).then_some((path, name))
}

fn split_counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
}
