//! Zip archives, written to a stream: what was written is never returned to.
//!
//! Our own writer, because names are bytes here and the `zip` crate writes text, and because that keeps some hundred bytes
//! of memory for every entry until the end. What must be kept, the directory, is kept deflated.

use std::io::{self, Read, Write};

use devbox_types::Timestamp;
use flate2::write::DeflateEncoder;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use crate::error::ArchiveError;
use crate::name::{check_name, text};
use crate::record::{Method, Record, Sizes, end};

/// The most memory that the deflated directory may take: some millions of entries.
pub const MAX_DIRECTORY_BYTES: usize = 32 * 1024 * 1024;

/// How much content is read and deflated at a time.
const CHUNK: usize = 64 * 1024;

/// Content of this size or more gets 64-bit sizes: deflate may add a little to what it cannot make smaller, and the
/// packed size too must fit its field.
const LARGE: u64 = 0xFFFF_FFFF - (0xFFFF_FFFF >> 8);

const TYPE_FILE: u32 = 0o100_000;
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_SYMLINK: u32 = 0o120_000;

/// What every entry has.
#[derive(Debug, Clone, Copy)]
pub struct EntryHead<'a> {
    /// Its path in the archive: relative, names joined by `/`, any bytes that Linux allows.
    pub name: &'a [u8],
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// Last modification.
    pub modified: Timestamp,
    /// The owner, for formats that tell it.
    pub uid: u32,
    /// The group, for formats that tell it.
    pub gid: u32,
    /// Extended attributes, by name, for formats that tell them.
    pub attributes: &'a [(Vec<u8>, Vec<u8>)],
}

/// A zip archive on its way to `W`: deflated, with Unix modes, times and symlinks, of any size.
///
/// Memory is bounded by [`MAX_DIRECTORY_BYTES`] and some buffers. An archive whose writer failed, or was dropped before
/// [`ZipWriter::finish`], has no directory and is refused by every reader.
#[derive(Debug)]
pub struct ZipWriter<W> {
    output: W,
    offset: u64,
    entries: u64,
    directory: DeflateEncoder<Vec<u8>>,
    compress: Compress,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl<W: Write> ZipWriter<W> {
    /// An archive without entries.
    #[must_use]
    pub fn new(output: W) -> Self {
        const RAW_DEFLATE: bool = false;
        Self {
            output,
            offset: 0,
            entries: 0,
            directory: DeflateEncoder::new(Vec::new(), Compression::fast()),
            // The fast level: a box's network is usually quicker than a higher level would be.
            compress: Compress::new(Compression::fast(), RAW_DEFLATE),
            plain: vec![0; CHUNK],
            packed: vec![0; CHUNK],
        }
    }

    /// Adds a directory.
    pub fn add_directory(&mut self, head: &EntryHead<'_>) -> Result<(), ArchiveError> {
        let name = [check_name(head.name)?, b"/"].concat();
        self.add_stored(&EntryHead { name: &name, ..*head }, TYPE_DIRECTORY, &[])
    }

    /// Adds a symlink: its content is its target, byte for byte.
    pub fn add_symlink(&mut self, head: &EntryHead<'_>, target: &[u8]) -> Result<(), ArchiveError> {
        check_name(head.name)?;
        self.add_stored(head, TYPE_SYMLINK, target)
    }

    /// Adds a file of `size` bytes, read from `content`. What `content` has beyond them is left unread.
    pub fn add_file(
        &mut self,
        head: &EntryHead<'_>,
        size: u64,
        content: impl Read,
    ) -> Result<(), ArchiveError> {
        check_name(head.name)?;
        if size == 0 {
            return self.add_stored(head, TYPE_FILE, &[]);
        }
        let record = self.record(head, TYPE_FILE, Method::Deflated, size >= LARGE);
        self.write(&record.local_header(None))?;
        let sizes = self.deflate(head.name, size, content)?;
        self.write(&record.descriptor(sizes))?;
        self.list(&record, sizes)
    }

    /// Writes the directory, which makes the archive whole, and returns what it was written to.
    pub fn finish(mut self) -> Result<W, ArchiveError> {
        let directory_offset = self.offset;
        let deflated = self.directory.finish().map_err(write_failed)?;
        let mut directory = flate2::read::DeflateDecoder::new(&deflated[..]);
        let length = io::copy(&mut directory, &mut self.output).map_err(write_failed)?;
        self.output.write_all(&end(self.entries, length, directory_offset)).map_err(write_failed)?;
        self.output.flush().map_err(write_failed)?;
        Ok(self.output)
    }

    fn add_stored(&mut self, head: &EntryHead<'_>, kind: u32, content: &[u8]) -> Result<(), ArchiveError> {
        let mut crc = Crc::new();
        crc.update(content);
        let length = content.len() as u64;
        let sizes = Sizes { crc: crc.sum(), packed: length, plain: length };
        let record = self.record(head, kind, Method::Stored, false);
        self.write(&record.local_header(Some(sizes)))?;
        self.write(content)?;
        self.list(&record, sizes)
    }

    fn record<'a>(&self, head: &EntryHead<'a>, kind: u32, method: Method, large: bool) -> Record<'a> {
        let (seconds, _) = head.modified.parts();
        Record {
            name: head.name,
            method,
            mode: kind | (head.mode & 0o7777),
            time: head.modified.into(),
            seconds: i32::try_from(seconds).ok(),
            offset: self.offset,
            large,
        }
    }

    fn deflate(&mut self, name: &[u8], size: u64, mut content: impl Read) -> Result<Sizes, ArchiveError> {
        self.compress.reset();
        let mut crc = Crc::new();
        let mut left = size;
        let before = self.offset;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let length = match content.read(&mut self.plain[..wanted]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(ArchiveError::Read { name: text(name), source }),
                Ok(0) => {
                    let found = size - left;
                    return Err(ArchiveError::Truncated { name: text(name), found, announced: size });
                }
                Ok(length) => length,
            };
            crc.update(&self.plain[..length]);
            left -= length as u64;
            self.compress_chunk(length, if left == 0 { FlushCompress::Finish } else { FlushCompress::None })?;
        }
        Ok(Sizes { crc: crc.sum(), packed: self.offset - before, plain: size })
    }

    /// Deflates the first `length` bytes of the plain buffer and writes what comes of it.
    fn compress_chunk(&mut self, length: usize, flush: FlushCompress) -> Result<(), ArchiveError> {
        let mut taken = 0;
        loop {
            let (read_before, written_before) = (self.compress.total_in(), self.compress.total_out());
            let status = self
                .compress
                .compress(&self.plain[taken..length], &mut self.packed, flush)
                .map_err(|error| write_failed(error.into()))?;
            taken += usize::try_from(self.compress.total_in() - read_before).unwrap_or(0);
            let written = usize::try_from(self.compress.total_out() - written_before).unwrap_or(0);
            self.output.write_all(&self.packed[..written]).map_err(write_failed)?;
            self.offset += written as u64;
            let full = written == self.packed.len();
            match flush {
                FlushCompress::Finish if status == Status::StreamEnd => return Ok(()),
                FlushCompress::Finish => (),
                _ if taken == length && !full => return Ok(()),
                _ => (),
            }
        }
    }

    /// Enters an entry into the directory.
    fn list(&mut self, record: &Record<'_>, sizes: Sizes) -> Result<(), ArchiveError> {
        let header = record.directory_header(sizes);
        self.directory.write_all(&header).map_err(write_failed)?;
        self.entries += 1;
        if self.directory.get_ref().len() > MAX_DIRECTORY_BYTES {
            return Err(ArchiveError::TooManyEntries);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.output.write_all(bytes).map_err(write_failed)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

fn write_failed(source: io::Error) -> ArchiveError {
    ArchiveError::Write { source }
}
