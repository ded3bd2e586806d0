//! Reading files, whole or in part.

use std::os::fd::{AsFd, OwnedFd};

use devbox_types::file::{ByteRange, FileHead, ReadRequest};
use devbox_types::{BoxPath, Digests, EntryKind, Right};
use rustix::fs::{FsWord, OFlags};
use rustix::io::Errno;

use crate::attributes::Attributes;
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
        let source = match generated {
            _ if length == 0 || request.head => Source::Nothing,
            Some(bytes) => Source::Generated(bytes),
            None => Source::File(opened),
        };
        let left = if request.head { 0 } else { length };
        Ok((head, Reader { path: path.clone(), source, offset, left }))
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
    let system = rustix::fs::fstatfs(file).at("read", path)?;
    if !GENERATED_FILE_SYSTEMS.contains(&system.f_type) {
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
