//! Short notes in the state directory, of work that is to go on after this process: each a bounded file under a name.
//!
//! What is in them is read back as hostile input by whoever wrote them; here only their size and kind are looked at.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use devbox_types::BoxPath;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::error::{At as _, FsError};
use crate::root::BoxRoot;

const PREFIX: &str = "note-";
/// How long to wait for somebody who works on the note already: the call of a client that went away ends within moments.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// A note that nobody else works on, in this process or another. Dropping it lets go.
#[derive(Debug)]
pub struct Note {
    file: OwnedFd,
    name: String,
    root: BoxRoot,
}

impl BoxRoot {
    /// The longest note, in bytes.
    pub const MAX_NOTE_BYTES: usize = 128 << 10;

    /// Writes a new note under a name of letters and digits.
    ///
    /// # Errors
    /// [`FsError::Unsupported`] where this process has no state directory; [`FsError::Exists`]; [`FsError::NoSpace`].
    pub fn new_note(&self, name: &str, content: &[u8]) -> Result<Note, FsError> {
        let here = BoxPath::root();
        let directory = self.state_directory()?;
        let name = file_name(name)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, ".", flags, Mode::RUSR | Mode::WUSR);
        let file = file.at("make a note in", &here)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).at("lock a note in", &here)?;
        let note = Note { file, name, root: self.clone() };
        note.write(content)?;
        let linked =
            self.engine().descriptors.link(note.file.as_fd(), directory.as_fd(), note.name.as_bytes());
        linked.at("make a note in", &here)?;
        Ok(note)
    }

    /// Opens a note, and waits a moment for whoever works on it.
    ///
    /// # Errors
    /// [`FsError::NotFound`]; [`FsError::Busy`] if somebody works on it still; [`FsError::Unsupported`].
    pub fn open_note(&self, name: &str) -> Result<Note, FsError> {
        self.lock_note(name, PATIENCE)
    }

    /// Opens a note that nobody works on, and waits for nobody.
    ///
    /// # Errors
    /// As [`BoxRoot::open_note`].
    pub fn open_idle_note(&self, name: &str) -> Result<Note, FsError> {
        self.lock_note(name, Duration::ZERO)
    }

    fn lock_note(&self, name: &str, patience: Duration) -> Result<Note, FsError> {
        let here = BoxPath::root();
        let (file, name) = self.note_file(name)?;
        let until = Instant::now() + patience;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::AGAIN) if Instant::now() < until => std::thread::sleep(PAUSE),
                Err(errno) => return Err(FsError::at("lock a note in", &here, errno)),
            }
        }
        // Whoever held it may have removed it.
        if Attributes::of(file.as_fd()).at("look at a note in", &here)?.links() == 0 {
            return Err(FsError::NotFound { path: here });
        }
        Ok(Note { file, name, root: self.clone() })
    }

    /// Reads a note, whoever works on it.
    ///
    /// # Errors
    /// [`FsError::NotFound`]; [`FsError::TooLarge`]; [`FsError::Unsupported`].
    pub fn read_note(&self, name: &str) -> Result<Vec<u8>, FsError> {
        read(&self.note_file(name)?.0)
    }

    /// The names of all notes.
    ///
    /// # Errors
    /// What keeps the state directory from being read; without one there are none.
    pub fn notes(&self) -> Result<Vec<String>, FsError> {
        let here = BoxPath::root();
        let Ok(directory) = self.state_directory() else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in Dir::read_from(directory).at("list the notes of", &here)? {
            let entry = entry.at("list the notes of", &here)?;
            if let Some(name) = entry.file_name().to_str().ok().and_then(|name| name.strip_prefix(PREFIX)) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn note_file(&self, name: &str) -> Result<(OwnedFd, String), FsError> {
        let here = BoxPath::root();
        let name = file_name(name)?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.state_directory()?, name.as_str(), flags, Mode::empty());
        let file = file.at("open a note in", &here)?;
        if !Attributes::of(file.as_fd()).at("look at a note in", &here)?.is_file() {
            return Err(FsError::NotFound { path: here });
        }
        Ok((file, name))
    }

    fn state_directory(&self) -> Result<&OwnedFd, FsError> {
        let state = self.engine().state.as_ref();
        let unsupported = || FsError::Unsupported { step: "keep notes at", path: BoxPath::root() };
        state.map(crate::state::StateDirectory::directory).ok_or_else(unsupported)
    }
}

impl Note {
    /// Reads it.
    ///
    /// # Errors
    /// [`FsError::TooLarge`], or what the file system says.
    pub fn read(&self) -> Result<Vec<u8>, FsError> {
        read(&self.file)
    }

    /// Replaces its content. A kill in the middle leaves a mixture, which its reader has to tell by a checksum.
    ///
    /// # Errors
    /// [`FsError::TooLarge`], [`FsError::NoSpace`], or what else the file system says.
    pub fn write(&self, content: &[u8]) -> Result<(), FsError> {
        let here = BoxPath::root();
        if content.len() > BoxRoot::MAX_NOTE_BYTES {
            return Err(FsError::TooLarge { limit_bytes: limit() });
        }
        let mut written = 0;
        while written < content.len() {
            let at = u64::try_from(written).unwrap_or(u64::MAX);
            match rustix::io::pwrite(&self.file, &content[written..], at) {
                Ok(0) => return Err(FsError::NoSpace),
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(FsError::at("write a note in", &here, errno)),
            }
        }
        let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
        rustix::fs::ftruncate(&self.file, length).at("write a note in", &here)
    }

    /// Removes it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(self) -> Result<(), FsError> {
        let directory = self.root.state_directory()?;
        let removed = rustix::fs::unlinkat(directory, self.name.as_str(), AtFlags::empty());
        removed.at("remove a note of", &BoxPath::root())
    }
}

fn file_name(name: &str) -> Result<String, FsError> {
    let plain = !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !plain {
        return Err(FsError::Invalid { reason: "a note's name has letters and digits only" });
    }
    Ok(format!("{PREFIX}{name}"))
}

fn limit() -> u64 {
    u64::try_from(BoxRoot::MAX_NOTE_BYTES).unwrap_or(u64::MAX)
}

fn read(file: &OwnedFd) -> Result<Vec<u8>, FsError> {
    let here = BoxPath::root();
    let mut content = vec![0; BoxRoot::MAX_NOTE_BYTES + 1];
    let mut filled = 0;
    while filled < content.len() {
        let at = u64::try_from(filled).unwrap_or(u64::MAX);
        match rustix::io::pread(file, &mut content[filled..], at) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(FsError::at("read a note of", &here, errno)),
        }
    }
    if filled > BoxRoot::MAX_NOTE_BYTES {
        return Err(FsError::TooLarge { limit_bytes: limit() });
    }
    content.truncate(filled);
    Ok(content)
}
