//! Reading tar archives from a stream: POSIX pax, ustar, GNU and the oldest tars.
//!
//! Our own parser, since it is small and has to be strict: where two readers could see different entries in one archive,
//! it refuses the archive (CVE-2025-62518 and CVE-2026-33055 were such disagreements over sizes). It opens nothing, and holds
//! one header with its extensions, at most [`MAX_EXTENSION`] bytes each.

use std::io::Read;

use devbox_types::archive::ArchiveFormat;
use devbox_types::{Problem, Timestamp};

use crate::decompression::Decoder;
use crate::error::ArchiveError;
use crate::member::{Member, MemberKind, Sink, check_target, harmless, path_of};
use crate::name::text;
use crate::sparse::{self, Segment, SparseMap, SparseRecords, Told};
use crate::tar::{BLOCK, MAX_11_DIGITS, field, padding};

/// The longest extension of a header: names of 4 KiB, and extended attributes of one mebibyte, fit.
pub const MAX_EXTENSION: u64 = 2 << 20;

/// Reads a tar, compressed as `format` says, to its end, and tells `sink` of its entries, less `strip` leading segments.
///
/// # Errors
/// `invalid_request` for what is no such archive, `path_escapes` for names that lead out, `not_a_regular_file` for FIFOs and
/// devices, `unsupported` for multi-volume archives, `too_large` for bombs, `interrupted`, those of `sink`.
pub fn unpack_tar(
    format: ArchiveFormat,
    input: impl Read,
    strip: usize,
    sink: &mut dyn Sink,
) -> Result<(), Problem> {
    let input = Decoder::new(format, input).map_err(ArchiveError::of_input)?;
    let mut reader = Reader { input, chunk: vec![0; 64 << 10], global: Extension::default() };
    while let Some((block, extension)) = reader.next_header()? {
        reader.tell(&block, extension, strip, sink)?;
    }
    reader.expect_end()
}

/// What pax records, and GNU's long names, say of the next entry.
#[derive(Debug, Clone, Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    modified: Option<Timestamp>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: SparseRecords,
}

/// What of an entry follows its header.
struct Content {
    /// How many bytes of it the archive has.
    stored: u64,
    /// Where they go, in a file with holes.
    map: Option<SparseMap>,
    /// How many of the bytes come before them: of the map.
    before: u64,
}

struct Reader<R: Read> {
    input: Decoder<R>,
    chunk: Vec<u8>,
    global: Extension,
}

impl<R: Read> Reader<R> {
    /// The next header that is an entry's, with what those before it say of it; `None` at the end.
    fn next_header(&mut self) -> Result<Option<([u8; BLOCK], Extension)>, Problem> {
        let mut extension = self.global.clone();
        let mut extended = false;
        loop {
            let block = self.block()?;
            if block.iter().all(|byte| *byte == 0) {
                return match extended {
                    true => Err(malformed("the last header announces an entry that does not come").into()),
                    false => Ok(None),
                };
            }
            check_sum(&block)?;
            check_format(&block)?;
            match block[field::TYPE] {
                b'x' => extension.read_records(&self.extension(&block)?)?,
                b'g' => {
                    let records = self.extension(&block)?;
                    self.global.read_records(&records)?;
                    if self.global.sparse.is_told() {
                        return Err(malformed("all its files at once are told to be sparse").into());
                    }
                    extension.read_records(&records)?;
                    continue;
                }
                b'L' => extension.path = Some(until_nul(&self.extension(&block)?).to_vec()),
                b'K' => extension.link = Some(until_nul(&self.extension(&block)?).to_vec()),
                _ => return Ok(Some((block, extension))),
            }
            extended = true;
        }
    }

    fn tell(
        &mut self,
        block: &[u8; BLOCK],
        mut extension: Extension,
        strip: usize,
        sink: &mut dyn Sink,
    ) -> Result<(), Problem> {
        let name = extension.sparse.name.clone().or_else(|| extension.path.clone());
        let name = name.unwrap_or_else(|| name_in(block));
        let size = size_of(block, &extension, &name)?;
        if extension.sparse.is_told() && !matches!(block[field::TYPE], b'0' | 0 | b'7') {
            return Err(malformed(format!("{:?} has holes, and is no file", text(&name))).into());
        }
        let content = self.content_of(block, std::mem::take(&mut extension.sparse), size)?;
        let path = path_of(&name, strip)?;
        let kind = match block[field::TYPE] {
            // The oldest tars knew a directory by its last slash.
            b'0' | 0 | b'7' if name.ends_with(b"/") && content.map.is_none() => MemberKind::Directory,
            b'0' | 0 | b'7' | b'S' => {
                let size = content.map.as_ref().map_or(size, SparseMap::size);
                MemberKind::File { size, sparse: content.map.is_some() }
            }
            b'5' => MemberKind::Directory,
            b'2' => {
                let target = link_in(block, &extension);
                check_target(&name, &target)?;
                MemberKind::Symlink { target }
            }
            b'1' => match path_of(&link_in(block, &extension), strip)? {
                Some(first) => MemberKind::HardLink { first },
                // Left out with what it is a link to.
                None if path.is_none() && strip > 0 && size == 0 => return Ok(()),
                None if strip > 0 => {
                    return Err(malformed(format!("{:?} is a link to what is left out", text(&name))).into());
                }
                None => return Err(ArchiveError::Escapes { name: text(&name) }.into()),
            },
            b'3' | b'4' | b'6' => return Err(ArchiveError::Special { name: text(&name) }.into()),
            b'M' => return Err(unsupported("multi-volume archives", &name).into()),
            _ => return Err(unsupported("entries of an unknown type", &name).into()),
        };
        let is_file = matches!(kind, MemberKind::File { .. });
        if !is_file && size > 0 {
            return Err(malformed(format!("{:?} has content, and is no file", text(&name))).into());
        }
        if path.is_none() && is_file && strip == 0 {
            return Err(malformed(format!("{:?} is a file without a name", text(&name))).into());
        }
        let told = match path {
            Some(path) => {
                let modified = extension.modified.or_else(|| time_in(block));
                let mode = number(&block[field::MODE]).map(|mode| harmless(low_bits(mode)));
                sink.begin(Member { path, mode, modified, attributes: extension.attributes, kind })?;
                true
            }
            None => false,
        };
        self.pass_on(&name, &content, told.then_some(&mut *sink))?;
        if told && is_file { sink.end() } else { Ok(()) }
    }

    /// Finds out what follows a header, and reads what is there of a map.
    fn content_of(
        &mut self,
        block: &[u8; BLOCK],
        sparse: SparseRecords,
        size: u64,
    ) -> Result<Content, Problem> {
        if block[field::TYPE] == b'S' {
            let next_block = || {
                let mut block = [0; BLOCK];
                self.input.read_exact(&mut block).map_err(ArchiveError::of_input)?;
                Ok(block)
            };
            let map = sparse::read_header_map(block, number, next_block)?;
            sparse::check_stored(&map, size)?;
            return Ok(Content { stored: size, map: Some(map), before: 0 });
        }
        match sparse.told()? {
            Told::Nowhere => Ok(Content { stored: size, map: None, before: 0 }),
            Told::Here(map) => {
                sparse::check_stored(&map, size)?;
                Ok(Content { stored: size, map: Some(map), before: 0 })
            }
            Told::Ahead { size: real } => {
                let map = sparse::read_ahead(&mut self.input, real, size)?;
                let before = size - map.stored();
                Ok(Content { stored: size, map: Some(map), before })
            }
        }
    }

    /// Passes on a content, with its holes, and its padding, or over it.
    fn pass_on(
        &mut self,
        name: &[u8],
        content: &Content,
        mut sink: Option<&mut dyn Sink>,
    ) -> Result<(), Problem> {
        match &content.map {
            None => self.bytes(name, content.stored, &mut sink)?,
            Some(map) => {
                let mut position = 0;
                for Segment { offset, length } in map.segments() {
                    hole(offset - position, &mut sink)?;
                    self.bytes(name, *length, &mut sink)?;
                    position = offset + length;
                }
                hole(map.size() - position, &mut sink)?;
            }
        }
        // The map before the data is in whole blocks.
        let mut rest = [0; BLOCK];
        self.fill(&mut rest[..padding(content.stored - content.before)])
    }

    fn bytes(&mut self, name: &[u8], size: u64, sink: &mut Option<&mut dyn Sink>) -> Result<(), Problem> {
        let mut left = size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(self.chunk.len());
            let length = self.input.read(&mut self.chunk[..wanted]).map_err(ArchiveError::of_input)?;
            if length == 0 {
                return Err(malformed(format!("{:?} is cut off", text(name))).into());
            }
            if let Some(sink) = sink {
                sink.content(&self.chunk[..length])?;
            }
            left -= length as u64;
        }
        Ok(())
    }

    /// The content of a header that is about the next one.
    fn extension(&mut self, block: &[u8; BLOCK]) -> Result<Vec<u8>, Problem> {
        let size = number(&block[field::SIZE]).ok_or_else(|| malformed("a size is no number"))?;
        if size > MAX_EXTENSION {
            return Err(malformed("a header goes on for more than two mebibytes").into());
        }
        let mut content = vec![0; usize::try_from(size).unwrap_or(0)];
        self.fill(&mut content)?;
        self.fill(&mut [0; BLOCK][..padding(size)])?;
        Ok(content)
    }

    fn block(&mut self) -> Result<[u8; BLOCK], Problem> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        Ok(block)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Problem> {
        Ok(self.input.read_exact(buffer).map_err(ArchiveError::of_input)?)
    }

    /// After the first block of zeros only zeros may come: what is behind the end, some readers see and others do not.
    fn expect_end(&mut self) -> Result<(), Problem> {
        loop {
            let length = self.input.read(&mut self.chunk).map_err(ArchiveError::of_input)?;
            if length == 0 {
                return Ok(());
            }
            if self.chunk[..length].iter().any(|byte| *byte != 0) {
                return Err(malformed("something comes after its end").into());
            }
        }
    }
}

impl Extension {
    /// Reads `LENGTH KEY=VALUE\n` records. A later one counts more.
    fn read_records(&mut self, mut records: &[u8]) -> Result<(), ArchiveError> {
        let bad = || malformed("a pax record is not `LENGTH KEY=VALUE`");
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
            let length = decimal(&records[..space]).and_then(|length| usize::try_from(length).ok());
            let length = length.filter(|length| *length > space).ok_or_else(bad)?;
            let (record, rest) = records.split_at_checked(length).ok_or_else(bad)?;
            let record = record[space + 1..].strip_suffix(b"\n").ok_or_else(bad)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
            self.take(&record[..equals], &record[equals + 1..])?;
            records = rest;
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        let given = (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = given,
            b"linkpath" => self.link = given,
            b"size" => {
                let size = decimal(value).ok_or_else(|| malformed("a pax size is no number"))?;
                self.size = Some(size);
            }
            b"mtime" => self.modified = time(value),
            _ => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.take(key, value)?;
                }
                if let Some(name) =
                    key.strip_prefix(b"SCHILY.xattr.").filter(|name| name.starts_with(b"user."))
                {
                    self.attributes.retain(|(known, _)| known != name);
                    self.attributes.push((name.to_vec(), value.to_vec()));
                    self.check_attributes()?;
                }
            }
        }
        Ok(())
    }

    /// Headers about one entry may be many, and what they say of it is in memory: as much as one of them may say, and no
    /// more names than Linux lists.
    fn check_attributes(&self) -> Result<(), ArchiveError> {
        const MAX_NAMES: usize = 64 << 10;
        let names: usize = self.attributes.iter().map(|(name, _)| name.len() + 1).sum();
        let values: usize = self.attributes.iter().map(|(_, value)| value.len()).sum();
        if names > MAX_NAMES || (names + values) as u64 > MAX_EXTENSION {
            return Err(malformed("an entry has more extended attributes than it can have"));
        }
        Ok(())
    }
}

fn hole(length: u64, sink: &mut Option<&mut dyn Sink>) -> Result<(), Problem> {
    match sink {
        Some(sink) if length > 0 => sink.hole(length),
        _ => Ok(()),
    }
}

/// The size of an entry. The pax record counts; where the header says another size that it could hold, some readers would
/// take that one, and find other entries behind it.
fn size_of(block: &[u8; BLOCK], extension: &Extension, name: &[u8]) -> Result<u64, ArchiveError> {
    let size = number(&block[field::SIZE]).ok_or_else(|| malformed("a size is no number"))?;
    match extension.size {
        None => Ok(size),
        Some(told) if told == size || told > MAX_11_DIGITS => Ok(told),
        Some(_) => Err(malformed(format!("{:?} has two different sizes", text(name)))),
    }
}

fn check_sum(block: &[u8; BLOCK]) -> Result<(), ArchiveError> {
    let mut plain = *block;
    plain[field::CHECKSUM].fill(b' ');
    let sum: u64 = plain.iter().map(|byte| u64::from(*byte)).sum();
    match number(&block[field::CHECKSUM]) == Some(sum) {
        true => Ok(()),
        false => Err(malformed("a header does not have its checksum")),
    }
}

/// POSIX's tars and GNU's say so in each header; the oldest have nothing there, and no headers about the next one. Some readers
/// take a header of neither for one of the oldest, and see other names.
fn check_format(block: &[u8; BLOCK]) -> Result<(), ArchiveError> {
    const POSIX: &[u8] = b"ustar\x0000";
    const GNU: &[u8] = b"ustar  \0";
    let magic = &block[field::MAGIC];
    let is_known = magic == POSIX || magic == GNU;
    let is_old = !magic.starts_with(b"ustar") && !matches!(block[field::TYPE], b'x' | b'g' | b'L' | b'K');
    if is_known || is_old { Ok(()) } else { Err(malformed("a header is of no known format")) }
}

fn name_in(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&block[field::NAME]);
    let prefix = until_nul(&block[field::PREFIX]);
    // GNU's header keeps times where the prefix is.
    if prefix.is_empty() || !block[field::MAGIC].starts_with(b"ustar\0") {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

fn link_in(block: &[u8; BLOCK], extension: &Extension) -> Vec<u8> {
    extension.link.clone().unwrap_or_else(|| until_nul(&block[field::LINK]).to_vec())
}

fn time_in(block: &[u8; BLOCK]) -> Option<Timestamp> {
    let seconds = i64::try_from(number(&block[field::MTIME])?).ok()?;
    Some(Timestamp::from_parts(seconds, 0))
}

/// A number in octal, or, of GNU, in binary; `None` if it is neither, negative, or beyond 64 bits.
fn number(field: &[u8]) -> Option<u64> {
    const BINARY: u8 = 0x80;
    if field[0] & BINARY != 0 {
        let (first, rest) = (u64::from(field[0] & !BINARY), &field[1..]);
        return rest
            .iter()
            .try_fold(first, |value, byte| value.checked_mul(256)?.checked_add(u64::from(*byte)));
    }
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

fn low_bits(mode: u64) -> u32 {
    u32::try_from(mode & 0o7777).unwrap_or(0)
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A pax time: seconds since 1970, maybe with a fraction. One that makes no sense is none.
fn time(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanoseconds: i64 = format!("{fraction:0<9.9}").parse().ok()?;
    let total = match whole.starts_with('-') {
        true => seconds.checked_mul(1_000_000_000)?.checked_sub(nanoseconds)?,
        false => seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)?,
    };
    Some(Timestamp::from_nanoseconds(total))
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}

fn malformed(what: impl Into<String>) -> ArchiveError {
    ArchiveError::Malformed { what: what.into() }
}

fn unsupported(what: &'static str, name: &[u8]) -> ArchiveError {
    ArchiveError::Unsupported { what, name: text(name) }
}
