//! Reading zip archives, by the directory at their end: that is what a zip holds, whatever else its bytes look like.
//!
//! Our own reader, because names are bytes here and the reading has to be strict: the headers before the contents must agree
//! with the directory, and no two contents may share bytes, as they do in the densest bombs.

use std::io::{self, Read};

use devbox_types::{Problem, Timestamp};
use flate2::Crc;
use flate2::read::DeflateDecoder;

use crate::decompression::check_ratio;
use crate::error::ArchiveError;
use crate::member::{Member, MemberKind, Sink, check_target, harmless, path_of};
use crate::name::text;

/// Bytes that can be read at any place.
pub trait ReadAt {
    /// Reads up to `buffer.len()` bytes from `offset`; 0 only at the end.
    ///
    /// # Errors
    /// What keeps them from being read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for [u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

const END: [u8; 4] = *b"PK\x05\x06";
const END_LENGTH: usize = 22;
const END64: [u8; 4] = *b"PK\x06\x06";
const END64_LENGTH: usize = 56;
const LOCATOR: [u8; 4] = *b"PK\x06\x07";
const LOCATOR_LENGTH: usize = 20;
const ENTRY: [u8; 4] = *b"PK\x01\x02";
const ENTRY_LENGTH: usize = 46;
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const LOCAL_LENGTH: usize = 30;
const IN_ZIP64: u32 = u32::MAX;

const TYPE_MASK: u32 = 0o170_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_SYMLINK: u32 = 0o120_000;

/// Reads a zip of `length` bytes and tells `sink` of its entries in the order of its directory, less `strip` leading segments.
/// At most `most` entries are looked at; for each, 16 bytes are held.
///
/// # Errors
/// `invalid_request` for what is no such archive, `path_escapes` for names that lead out, `not_a_regular_file` for FIFOs and
/// devices, `unsupported` for encryption and compression but deflate, `too_large` for bombs, and those of `sink`.
pub fn unpack_zip<A: ReadAt + ?Sized>(
    archive: &A,
    length: u64,
    strip: usize,
    most: u64,
    sink: &mut dyn Sink,
) -> Result<(), Problem> {
    let zip = Zip { archive, length };
    let directory = zip.directory()?;
    if directory.entries > most {
        return Err(ArchiveError::TooManyEntries.into());
    }
    let mut places = Vec::new();
    let mut at = directory.offset;
    let mut plain = 0;
    for _ in 0..directory.entries {
        let (entry, next) = zip.entry(at, directory.end)?;
        at = next;
        places.push(zip.tell(&entry, directory.offset, strip, &mut plain, sink)?);
    }
    if at != directory.end {
        return Err(malformed("its directory has more entries than it says").into());
    }
    check_apart(places)
}

/// Contents that share bytes are how a small file says the same megabyte a thousand times.
fn check_apart(mut places: Vec<(u64, u64)>) -> Result<(), Problem> {
    places.sort_unstable();
    match places.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        true => Err(malformed("two of its entries share bytes").into()),
        false => Ok(()),
    }
}

struct Zip<'a, A: ?Sized> {
    archive: &'a A,
    length: u64,
}

/// Where the directory is.
struct Directory {
    offset: u64,
    end: u64,
    entries: u64,
}

/// One entry, as the directory has it.
struct Entry {
    name: Vec<u8>,
    unix: bool,
    flags: u16,
    method: u16,
    time: Option<Timestamp>,
    crc: u32,
    packed: u64,
    plain: u64,
    attributes: u32,
    local: u64,
}

impl<A: ReadAt + ?Sized> Zip<'_, A> {
    fn directory(&self) -> Result<Directory, ArchiveError> {
        const LONGEST: usize = END_LENGTH + u16::MAX as usize;
        let length = usize::try_from(self.length).unwrap_or(usize::MAX).min(LONGEST);
        let start = self.length - length as u64;
        let tail = self.bytes(start, length)?;
        // The comment goes to the last byte; so only one place can be the end, unless somebody means to confuse.
        let is_end = |at: &usize| {
            tail[*at..].starts_with(&END) && usize::from(u16_at(&tail, at + 20)) == length - at - END_LENGTH
        };
        let mut ends = (0..(length + 1).saturating_sub(END_LENGTH)).filter(is_end);
        let at = ends.next().ok_or_else(|| malformed("it has no directory at its end"))?;
        if ends.next().is_some() {
            return Err(malformed("it has two ends"));
        }
        let end = &tail[at..];
        let end_at = start + at as u64;
        let (disk, first_disk) = (u16_at(end, 4), u16_at(end, 6));
        let (here, entries) = (u16_at(end, 8), u16_at(end, 10));
        let (size, offset) = (u32_at(end, 12), u32_at(end, 16));
        if (disk, first_disk) != (0, 0) && (disk, first_disk) != (u16::MAX, u16::MAX) || here != entries {
            return Err(ArchiveError::Unsupported { what: "archives in several parts", name: String::new() });
        }
        if entries == u16::MAX || size == IN_ZIP64 || offset == IN_ZIP64 {
            return self.directory64(end_at);
        }
        let directory = Directory { offset: offset.into(), end: end_at, entries: entries.into() };
        match directory.offset + u64::from(size) == end_at {
            true => Ok(directory),
            false => Err(malformed("its directory is not where its end says")),
        }
    }

    fn directory64(&self, end: u64) -> Result<Directory, ArchiveError> {
        let bad = || malformed("its 64-bit end is not where it should be");
        let locator_at = end.checked_sub(LOCATOR_LENGTH as u64).ok_or_else(bad)?;
        let locator = self.bytes(locator_at, LOCATOR_LENGTH)?;
        let at = u64_at(&locator, 8);
        if !locator.starts_with(&LOCATOR) || at.checked_add(END64_LENGTH as u64) != Some(locator_at) {
            return Err(bad());
        }
        let end64 = self.bytes(at, END64_LENGTH)?;
        let (entries, size, offset) = (u64_at(&end64, 32), u64_at(&end64, 40), u64_at(&end64, 48));
        if !end64.starts_with(&END64) || offset.checked_add(size) != Some(at) {
            return Err(bad());
        }
        Ok(Directory { offset, end: at, entries })
    }

    /// The entry at a place of the directory, and where the next one is.
    fn entry(&self, at: u64, end: u64) -> Result<(Entry, u64), ArchiveError> {
        if at.saturating_add(ENTRY_LENGTH as u64) > end {
            return Err(malformed("its directory has fewer entries than it says"));
        }
        let fixed = self.bytes(at, ENTRY_LENGTH)?;
        if !fixed.starts_with(&ENTRY) {
            return Err(malformed("its directory is damaged"));
        }
        let lengths = [28, 30, 32].map(|place| usize::from(u16_at(&fixed, place)));
        let next = at + (ENTRY_LENGTH + lengths.iter().sum::<usize>()) as u64;
        if next > end {
            return Err(malformed("its directory is cut off"));
        }
        let [name_length, extra_length, _] = lengths;
        let mut name = self.bytes(at + ENTRY_LENGTH as u64, name_length + extra_length)?;
        let extra = name.split_off(name_length);
        let mut entry = Entry {
            name,
            unix: fixed[5] == 3,
            flags: u16_at(&fixed, 8),
            method: u16_at(&fixed, 10),
            time: dos_time(u16_at(&fixed, 14), u16_at(&fixed, 12)),
            crc: u32_at(&fixed, 16),
            packed: u32_at(&fixed, 20).into(),
            plain: u32_at(&fixed, 24).into(),
            attributes: u32_at(&fixed, 38),
            local: u32_at(&fixed, 42).into(),
        };
        entry.read_extra(&extra)?;
        Ok((entry, next))
    }

    /// Tells of an entry, and returns which bytes it takes up.
    fn tell(
        &self,
        entry: &Entry,
        limit: u64,
        strip: usize,
        total: &mut u64,
        sink: &mut dyn Sink,
    ) -> Result<(u64, u64), Problem> {
        const ENCRYPTED: u16 = 1;
        if entry.flags & ENCRYPTED != 0 {
            return Err(ArchiveError::Unsupported { what: "encryption", name: text(&entry.name) }.into());
        }
        let start = self.content_of(entry)?;
        let end = start.checked_add(entry.packed).filter(|end| *end <= limit);
        let end = end.ok_or_else(|| malformed(format!("{:?} lies outside of it", text(&entry.name))))?;
        let place = (entry.local, end);
        let mode = if entry.unix { entry.attributes >> 16 } else { 0 };
        let kind = match mode & TYPE_MASK {
            TYPE_SYMLINK => TYPE_SYMLINK,
            TYPE_DIRECTORY => TYPE_DIRECTORY,
            0 | TYPE_FILE if entry.name.ends_with(b"/") => TYPE_DIRECTORY,
            0 | TYPE_FILE => TYPE_FILE,
            _ => return Err(ArchiveError::Special { name: text(&entry.name) }.into()),
        };
        let Some(path) = path_of(&entry.name, strip)? else { return Ok(place) };
        let content = Content { zip: self, at: start, end };
        let kind = match kind {
            TYPE_SYMLINK => {
                let mut target = Vec::new();
                entry.read(content, total, &mut |chunk| {
                    target.extend_from_slice(chunk);
                    check_target(&entry.name, &target).map_err(Problem::from)
                })?;
                check_target(&entry.name, &target)?;
                MemberKind::Symlink { target }
            }
            TYPE_DIRECTORY if entry.plain > 0 => {
                return Err(malformed(format!("{:?} has content, and is no file", text(&entry.name))).into());
            }
            TYPE_DIRECTORY => MemberKind::Directory,
            _ => MemberKind::File { size: entry.plain, sparse: false },
        };
        let is_file = matches!(kind, MemberKind::File { .. });
        let mode = (mode != 0).then(|| harmless(mode));
        sink.begin(Member { path, mode, modified: entry.time, attributes: Vec::new(), kind })?;
        if is_file {
            let content = Content { zip: self, at: start, end };
            entry.read(content, total, &mut |chunk| sink.content(chunk))?;
            sink.end()?;
        }
        Ok(place)
    }

    /// Where the content begins, if the header before it says the same as the directory.
    fn content_of(&self, entry: &Entry) -> Result<u64, ArchiveError> {
        let differs = || malformed(format!("{:?} is not what its directory says", text(&entry.name)));
        let fixed = self.bytes(entry.local, LOCAL_LENGTH)?;
        let (name_length, extra_length) = (u16_at(&fixed, 26), u16_at(&fixed, 28));
        let name_at = entry.local + LOCAL_LENGTH as u64;
        let same = fixed.starts_with(&LOCAL)
            && u16_at(&fixed, 8) == entry.method
            && usize::from(name_length) == entry.name.len()
            && self.bytes(name_at, entry.name.len())? == entry.name;
        match same {
            true => Ok(name_at + u64::from(name_length) + u64::from(extra_length)),
            false => Err(differs()),
        }
    }

    fn bytes(&self, offset: u64, length: usize) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = vec![0; length];
        let end = offset.checked_add(length as u64).filter(|end| *end <= self.length);
        let end = end.ok_or_else(|| malformed("it is cut off"))?;
        Content { zip: self, at: offset, end }.read_exact(&mut bytes).map_err(ArchiveError::of_input)?;
        Ok(bytes)
    }
}

impl Entry {
    /// What did not fit its field, and Info-ZIP's time.
    fn read_extra(&mut self, mut extra: &[u8]) -> Result<(), ArchiveError> {
        const ZIP64: u16 = 0x0001;
        const TIME: u16 = 0x5455;
        while extra.len() >= 4 {
            let (id, length) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
            let Some((field, rest)) = extra[4..].split_at_checked(length) else {
                return Err(malformed("an extra field is cut off"));
            };
            match id {
                ZIP64 => {
                    let mut field = field;
                    for value in [&mut self.plain, &mut self.packed, &mut self.local] {
                        if *value == u64::from(IN_ZIP64) {
                            let (wide, rest) = field
                                .split_first_chunk()
                                .ok_or_else(|| malformed("a 64-bit size is missing"))?;
                            *value = u64::from_le_bytes(*wide);
                            field = rest;
                        }
                    }
                }
                TIME if length >= 5 && field[0] & 1 != 0 => {
                    let seconds = u32_at(field, 1).cast_signed();
                    self.time = Some(Timestamp::from_parts(seconds.into(), 0));
                }
                _ => {}
            }
            extra = rest;
        }
        Ok(())
    }

    /// Reads the content and checks that it is what the directory says.
    fn read<A: ReadAt + ?Sized>(
        &self,
        content: Content<'_, '_, A>,
        total: &mut u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let name = || text(&self.name);
        let length = content.zip.length;
        let mut plain: Box<dyn Read + '_> = match self.method {
            0 => Box::new(content),
            8 => Box::new(DeflateDecoder::new(content)),
            _ => {
                return Err(
                    ArchiveError::Unsupported { what: "compression but deflate", name: name() }.into()
                );
            }
        };
        let (mut crc, mut left) = (Crc::new(), self.plain);
        let mut chunk = vec![0; 64 << 10];
        loop {
            let count = plain.read(&mut chunk).map_err(ArchiveError::of_input)?;
            if count == 0 {
                break;
            }
            left = left
                .checked_sub(count as u64)
                .ok_or_else(|| malformed(format!("{:?} is longer than its directory says", name())))?;
            *total = total.saturating_add(count as u64);
            check_ratio(length, *total)?;
            crc.update(&chunk[..count]);
            take(&chunk[..count])?;
        }
        if left > 0 {
            return Err(malformed(format!("{:?} is shorter than its directory says", name())).into());
        }
        match crc.sum() == self.crc {
            true => Ok(()),
            false => Err(malformed(format!("{:?} does not have its checksum", name())).into()),
        }
    }
}

/// A part of the archive.
struct Content<'z, 'a, A: ?Sized> {
    zip: &'z Zip<'a, A>,
    at: u64,
    end: u64,
}

impl<A: ReadAt + ?Sized> Read for Content<'_, '_, A> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.zip.archive.read_at(&mut buffer[..wanted], self.at)?;
        self.at += count as u64;
        if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(count) }
    }
}

fn dos_time(date: u16, time: u16) -> Option<Timestamp> {
    let (year, month, day) = (1980 + (date >> 9), date >> 5 & 15, date & 31);
    let (hour, minute, second) = (time >> 11, time >> 5 & 63, (time & 31) * 2);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z").parse().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn malformed(what: impl Into<String>) -> ArchiveError {
    ArchiveError::Malformed { what: what.into() }
}
