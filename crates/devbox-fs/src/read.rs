//! Reading files, whole or in part.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use devbox_types::file::{ByteRange, FileHead, ReadRequest};
use devbox_types::{Algorithms, BoxPath, DigestAlgorithm, DigestHasher, Digests, EntryKind, Right};
use rustix::fs::{FsWord, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::digest::{Hashed, Hashing};
use crate::error::{At as _, FsError};
use crate::view::View;

/// Files that the kernel makes up as they are read are read whole when they are opened, up to this; more is
/// [`FsError::TooLarge`].
const MAX_GENERATED_FILE: usize = 1 << 20;

/// Magic numbers of file systems whose sizes say nothing about contents: proc, sysfs, cgroup, cgroup2, debugfs, tracefs,
/// securityfs, configfs (linux/magic.h).
const GENERATED_FILE_SYSTEMS: [FsWord; 8] =
    [0x9fa0, 0x6265_6572, 0x27_e0eb, 0x6367_7270, 0x6462_6720, 0x7472_6163, 0x7363_6673, 0x6265_6570];

/// The bytes of an open file that were asked for. It reads the version that was open at the start.
#[derive(Debug)]
pub struct Reader {
    path: BoxPath,
    source: Source,
    offset: u64,
    left: u64,
    /// The digest of the whole that was asked for.
    hashing: Option<(DigestAlgorithm, Hashing)>,
}

#[derive(Debug)]
enum Source {
    File(OwnedFd),
    Generated(Vec<u8>),
    Nothing,
}

impl View {
    /// Opens a regular file for reading. Anything else is refused at once, and is not opened.
    ///
    /// # Errors
    /// [`FsError::IsADirectory`], [`FsError::NotARegularFile`], [`FsError::RangeNotSatisfiable`], or what keeps the file from
    /// being reached.
    pub fn open_file(&self, request: &ReadRequest) -> Result<(FileHead, Reader), FsError> {
        self.need(Right::Read)?;
        let path = &request.path;
        let _acting = self.act()?;
        let named = self.open(path, true)?;
        let attributes = Attributes::of(named.as_fd()).at("look at", path)?;
        check_kind(&attributes, path)?;
        let mut entry = self.entry(path.clone(), &attributes, None);
        let not_modified = match &entry.etag {
            Some(etag) => request.if_none_match.iter().any(|tag| tag.matches_weakly(etag)),
            None => false,
        };
        let opened = self.reopen(named, path)?;
        let generated = read_generated(&opened, &attributes, path)?;
        if let Some(bytes) = &generated {
            entry.size_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        }
        let range = match (&request.if_range, &entry.etag) {
            (Some(wanted), Some(etag)) if !wanted.matches_strongly(etag) => ByteRange::Whole,
            _ => request.range,
        };
        let size = entry.size_bytes;
        let Some((offset, length)) = range.within(size) else {
            return Err(FsError::RangeNotSatisfiable { path: path.clone(), size_bytes: size });
        };
        let length = if not_modified { 0 } else { length };
        let head = FileHead {
            entry,
            offset,
            length,
            partial: range != ByteRange::Whole,
            not_modified,
            digests: Digests::default(),
        };
        let wanted = request.want_digest.filter(|_| !not_modified);
        let source = match generated {
            _ if (length == 0 || request.head) && wanted.is_none() => Source::Nothing,
            Some(bytes) => Source::Generated(bytes),
            None => Source::File(opened),
        };
        let left = if request.head { 0 } else { length };
        let hashing = wanted.map(|algorithm| (algorithm, Hashing::new(algorithm, attributes)));
        Ok((head, Reader { path: path.clone(), source, offset, left, hashing }))
    }

    /// Opens for reading what an O_PATH descriptor of a regular file names.
    pub(crate) fn reopen(&self, named: OwnedFd, path: &BoxPath) -> Result<OwnedFd, FsError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        self.engine.descriptors.reopen(named.as_fd(), flags).at("read", path)
    }
}

impl Reader {
    /// How many bytes are still to come.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Where the file has data, as offsets and lengths, if it has holes and all of it was asked for: `None` where it is as good
    /// to read it through. No more than `most` pieces are looked for.
    ///
    /// # Errors
    /// What the file system says.
    pub fn data(&self, most: usize) -> Result<Option<Vec<(u64, u64)>>, FsError> {
        let Source::File(file) = &self.source else { return Ok(None) };
        let attributes = Attributes::of(file.as_fd()).at("look at", &self.path)?;
        let end = self.left;
        if self.offset != 0 || attributes.allocated() >= end {
            return Ok(None);
        }
        let mut pieces = Vec::new();
        let mut position = 0;
        while position < end {
            let begin = match rustix::fs::seek(file, SeekFrom::Data(position)) {
                Err(Errno::NXIO) => break,
                begin => begin.at("look for data in", &self.path)?,
            };
            let until = match rustix::fs::seek(file, SeekFrom::Hole(begin)) {
                // It was truncated meanwhile: whoever reads it is told.
                Err(Errno::NXIO) => end,
                until => until.at("look for holes in", &self.path)?,
            };
            let (begin, until) = (begin.min(end), until.min(end));
            if until > begin {
                pieces.push((begin, until - begin));
            }
            if pieces.len() > most {
                return Ok(None);
            }
            position = until.max(position + 1);
        }
        let holes = pieces.iter().map(|(_, length)| length).sum::<u64>() < end;
        Ok(holes.then_some(pieces))
    }

    /// Passes over bytes of what was asked for, up to `offset` of the file.
    ///
    /// # Errors
    /// [`FsError::Invalid`] if that is not ahead, or beyond the end.
    pub fn go_to(&mut self, offset: u64) -> Result<(), FsError> {
        let end = self.offset.saturating_add(self.left);
        if !(self.offset..=end).contains(&offset) {
            return Err(FsError::Invalid { reason: "it lies outside of what is read" });
        }
        (self.offset, self.left) = (offset, end - offset);
        Ok(())
    }

    /// Reads about `most` bytes for the digest that was asked for when the file was opened, whatever was read besides.
    ///
    /// # Errors
    /// What the file system says.
    pub fn hash(&mut self, most: u64) -> Result<Hashed, FsError> {
        let Some((algorithm, hashing)) = &mut self.hashing else {
            return Ok(Hashed::Done(Digests::default()));
        };
        match &self.source {
            Source::Nothing => Ok(Hashed::Done(Digests::default())),
            Source::File(file) => hashing.step(file, most, &self.path),
            Source::Generated(bytes) => {
                Ok(Hashed::Done(DigestHasher::digest(Algorithms::default().with(*algorithm), bytes)))
            }
        }
    }

    /// Reads the next bytes; 0 at the end of what was asked for, or for an empty buffer.
    ///
    /// # Errors
    /// [`FsError::Truncated`] if the file ends before that.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FsError> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let buffer = &mut buffer[..wanted];
        let count = match &self.source {
            Source::Nothing => 0,
            Source::File(file) => read_at(file, buffer, self.offset).at("read", &self.path)?,
            Source::Generated(bytes) => {
                let from = usize::try_from(self.offset).unwrap_or(usize::MAX).min(bytes.len());
                let count = (bytes.len() - from).min(wanted);
                buffer[..count].copy_from_slice(&bytes[from..from + count]);
                count
            }
        };
        if count == 0 {
            return Err(FsError::Truncated { path: self.path.clone() });
        }
        let count_u64 = u64::try_from(count).unwrap_or(u64::MAX);
        self.offset += count_u64;
        self.left -= count_u64;
        Ok(count)
    }
}

/// Refuses what is no regular file.
pub(crate) fn check_kind(attributes: &Attributes, path: &BoxPath) -> Result<(), FsError> {
    match attributes.kind() {
        EntryKind::File => Ok(()),
        EntryKind::Directory => Err(FsError::IsADirectory { path: path.clone() }),
        kind => Err(FsError::NotARegularFile { path: path.clone(), kind }),
    }
}

pub(crate) fn read_at(file: &OwnedFd, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    loop {
        match rustix::io::pread(file, &mut *buffer, offset) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Whether the kernel makes up what is in a file, O_PATH or not: then writing to it is an order to the kernel.
pub(crate) fn is_generated(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(GENERATED_FILE_SYSTEMS.contains(&rustix::fs::fstatfs(file)?.f_type))
}

/// Reads a file that the kernel makes up, whose size is 0 or a page whatever it holds; `None` for ordinary files.
pub(crate) fn read_generated(
    file: &OwnedFd,
    attributes: &Attributes,
    path: &BoxPath,
) -> Result<Option<Vec<u8>>, FsError> {
    const PAGE: u64 = 4096;
    if attributes.size() != 0 && attributes.size() != PAGE {
        return Ok(None);
    }
    if !is_generated(file.as_fd()).at("read", path)? {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        match rustix::io::read(file, &mut chunk[..]) {
            Ok(0) => return Ok(Some(bytes)),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(FsError::at("read", path, errno)),
        }
        if bytes.len() > MAX_GENERATED_FILE {
            let limit_bytes = u64::try_from(MAX_GENERATED_FILE).unwrap_or(u64::MAX);
            return Err(FsError::TooLarge { limit_bytes });
        }
    }
}
