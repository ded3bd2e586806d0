//! Tar archives, written to a stream: POSIX pax, which every tar of the last twenty years reads.
//!
//! Our own writer, because names are bytes here, and because pax records are the whole of the work: the header is one block.

use std::io::{self, Read, Write};

use devbox_types::Timestamp;

use crate::error::ArchiveError;
use crate::name::{check_name, text};
use crate::sparse::SparseMap;
use crate::zip::EntryHead;

/// Everything in a tar is a multiple of this.
pub(crate) const BLOCK: usize = 512;
/// How much content is copied at a time.
const CHUNK: usize = 64 * 1024;
/// What the octal fields of 7 and 11 digits hold at most.
const MAX_7_DIGITS: u64 = 0o7_777_777;
pub(crate) const MAX_11_DIGITS: u64 = 0o77_777_777_777;

/// The places of the fields in a header (IEEE Std 1003.1, pax, "ustar Interchange Format").
pub(crate) mod field {
    use std::ops::Range;

    pub(crate) const NAME: Range<usize> = 0..100;
    pub(crate) const MODE: Range<usize> = 100..108;
    pub(crate) const UID: Range<usize> = 108..116;
    pub(crate) const GID: Range<usize> = 116..124;
    pub(crate) const SIZE: Range<usize> = 124..136;
    pub(crate) const MTIME: Range<usize> = 136..148;
    pub(crate) const CHECKSUM: Range<usize> = 148..156;
    pub(crate) const TYPE: usize = 156;
    pub(crate) const LINK: Range<usize> = 157..257;
    pub(crate) const MAGIC: Range<usize> = 257..265;
    pub(crate) const PREFIX: Range<usize> = 345..500;
}

/// A tar archive on its way to `W`, with Unix modes, owners, times to the nanosecond, symlinks, hard links and extended
/// attributes.
///
/// An archive whose writer was dropped before [`TarWriter::finish`] has no end, which readers may or may not notice.
#[derive(Debug)]
pub struct TarWriter<W> {
    output: W,
    chunk: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    /// An archive without entries.
    #[must_use]
    pub fn new(output: W) -> Self {
        Self { output, chunk: vec![0; CHUNK] }
    }

    /// Adds a directory.
    pub fn add_directory(&mut self, head: &EntryHead<'_>) -> Result<(), ArchiveError> {
        let name = [check_name(head.name)?, b"/"].concat();
        self.add_head(&EntryHead { name: &name, ..*head }, b'5', 0, &[])
    }

    /// Adds a symlink.
    pub fn add_symlink(&mut self, head: &EntryHead<'_>, target: &[u8]) -> Result<(), ArchiveError> {
        check_name(head.name)?;
        self.add_head(head, b'2', 0, target)
    }

    /// Adds another name of a file that was added before, under `first`.
    pub fn add_hard_link(&mut self, head: &EntryHead<'_>, first: &[u8]) -> Result<(), ArchiveError> {
        check_name(head.name)?;
        self.add_head(head, b'1', 0, check_name(first)?)
    }

    /// Adds a file of `size` bytes, read from `content`. What `content` has beyond them is left unread.
    pub fn add_file(
        &mut self,
        head: &EntryHead<'_>,
        size: u64,
        mut content: impl Read,
    ) -> Result<(), ArchiveError> {
        check_name(head.name)?;
        self.add_head(head, b'0', size, &[])?;
        self.copy(head.name, size, &mut content)?;
        self.pad(size)
    }

    /// Adds a file with holes, as PAX 1.0 tells of them. `content` has the data, one piece after the other.
    pub fn add_sparse_file(
        &mut self,
        head: &EntryHead<'_>,
        map: &SparseMap,
        mut content: impl Read,
    ) -> Result<(), ArchiveError> {
        check_name(head.name)?;
        let blocks = map.to_blocks();
        let data = map.stored();
        let stored = data.saturating_add(blocks.len() as u64);
        // What a reader without a notion of holes makes of it goes by another name.
        let (folder, name) = head.name.split_at(head.name.len() - last_name(head.name).len());
        let condensed = [folder, b"GNUSparseFile.0/", name].concat();
        let mut records = records(&EntryHead { name: &condensed, ..*head }, stored, &[]);
        for (key, value) in [(&b"major"[..], &b"1"[..]), (b"minor", b"0"), (b"name", head.name)] {
            record(&mut records, &[b"GNU.sparse.", key].concat(), value);
        }
        record(&mut records, b"GNU.sparse.realsize", map.size().to_string().as_bytes());
        self.add_head_with(&EntryHead { name: &condensed, ..*head }, b'0', stored, &[], &records)?;
        self.output.write_all(&blocks).map_err(write_failed)?;
        self.copy(head.name, data, &mut content)?;
        self.pad(data)
    }

    fn copy(&mut self, name: &[u8], size: u64, content: &mut impl Read) -> Result<(), ArchiveError> {
        let mut left = size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            match content.read(&mut self.chunk[..wanted]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ArchiveError::Read { name: text(name), source }),
                Ok(0) => {
                    let found = size - left;
                    return Err(ArchiveError::Truncated { name: text(name), found, announced: size });
                }
                Ok(length) => {
                    self.output.write_all(&self.chunk[..length]).map_err(write_failed)?;
                    left -= length as u64;
                }
            }
        }
        Ok(())
    }

    /// Writes the end, and returns what it was written to.
    pub fn finish(mut self) -> Result<W, ArchiveError> {
        self.output.write_all(&[0; 2 * BLOCK]).map_err(write_failed)?;
        self.output.flush().map_err(write_failed)?;
        Ok(self.output)
    }

    fn add_head(
        &mut self,
        head: &EntryHead<'_>,
        kind: u8,
        size: u64,
        link: &[u8],
    ) -> Result<(), ArchiveError> {
        self.add_head_with(head, kind, size, link, &records(head, size, link))
    }

    fn add_head_with(
        &mut self,
        head: &EntryHead<'_>,
        kind: u8,
        size: u64,
        link: &[u8],
        records: &[u8],
    ) -> Result<(), ArchiveError> {
        if !records.is_empty() {
            let name = [b"PaxHeaders/", last_name(head.name)].concat();
            let length = records.len() as u64;
            let pax =
                Header { name: &name, mode: 0o644, uid: 0, gid: 0, size: length, seconds: 0, link: &[] };
            self.output.write_all(&pax.block(b'x')).map_err(write_failed)?;
            self.output.write_all(records).map_err(write_failed)?;
            self.pad(length)?;
        }
        let (seconds, _) = head.modified.parts();
        let header = Header {
            name: head.name,
            mode: head.mode & 0o7777,
            uid: head.uid,
            gid: head.gid,
            size,
            seconds: u64::try_from(seconds).unwrap_or(0),
            link,
        };
        self.output.write_all(&header.block(kind)).map_err(write_failed)
    }

    fn pad(&mut self, length: u64) -> Result<(), ArchiveError> {
        self.output.write_all(&[0; BLOCK][..padding(length)]).map_err(write_failed)
    }
}

/// How many bytes fill a content's last block.
pub(crate) fn padding(length: u64) -> usize {
    let used = usize::try_from(length % BLOCK as u64).unwrap_or(0);
    (BLOCK - used) % BLOCK
}

struct Header<'a> {
    name: &'a [u8],
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    seconds: u64,
    link: &'a [u8],
}

impl Header<'_> {
    /// The block. What does not fit its field is in the pax records, and here cut or zero.
    fn block(&self, kind: u8) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        put(&mut block[field::NAME], self.name);
        octal(&mut block[field::MODE], u64::from(self.mode), MAX_7_DIGITS);
        octal(&mut block[field::UID], u64::from(self.uid), MAX_7_DIGITS);
        octal(&mut block[field::GID], u64::from(self.gid), MAX_7_DIGITS);
        octal(&mut block[field::SIZE], self.size, MAX_11_DIGITS);
        octal(&mut block[field::MTIME], self.seconds, MAX_11_DIGITS);
        block[field::CHECKSUM].fill(b' ');
        block[field::TYPE] = kind;
        put(&mut block[field::LINK], self.link);
        put(&mut block[field::MAGIC], b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        put(&mut block[field::CHECKSUM], format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

fn put(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

fn octal(field: &mut [u8], value: u64, most: u64) {
    let value = if value > most { 0 } else { value };
    let digits = field.len() - 1;
    put(field, format!("{value:0digits$o}\0").as_bytes());
}

/// What the header cannot say.
fn records(head: &EntryHead<'_>, size: u64, link: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    let (long_name, long_link) = (head.name.len() > field::NAME.len(), link.len() > field::LINK.len());
    let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
    if (long_name && !is_text(head.name)) || (long_link && !is_text(link)) {
        record(&mut records, b"hdrcharset", b"BINARY");
    }
    if long_name {
        record(&mut records, b"path", head.name);
    }
    if long_link {
        record(&mut records, b"linkpath", link);
    }
    if size > MAX_11_DIGITS {
        record(&mut records, b"size", size.to_string().as_bytes());
    }
    for (key, id) in [(&b"uid"[..], head.uid), (b"gid", head.gid)] {
        if u64::from(id) > MAX_7_DIGITS {
            record(&mut records, key, id.to_string().as_bytes());
        }
    }
    if let Some(time) = precise_time(head.modified) {
        record(&mut records, b"mtime", time.as_bytes());
    }
    for (name, value) in head.attributes {
        record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    records
}

/// A time that whole seconds since 1970 do not tell.
fn precise_time(time: Timestamp) -> Option<String> {
    let (seconds, nanoseconds) = time.parts();
    if nanoseconds == 0 {
        let fits = u64::try_from(seconds).is_ok_and(|seconds| seconds <= MAX_11_DIGITS);
        return (!fits).then(|| seconds.to_string());
    }
    // The parts round down, the text counts from zero: -0.5 is second -1 and half a second more.
    if seconds < 0 {
        let (whole, fraction) = (-(seconds + 1), 1_000_000_000 - nanoseconds);
        return Some(format!("-{whole}.{fraction:09}"));
    }
    Some(format!("{seconds}.{nanoseconds:09}"))
}

/// Appends `LENGTH KEY=VALUE\n`, whose length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + b" =\n".len();
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    for part in [&b" "[..], key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

fn last_name(name: &[u8]) -> &[u8] {
    let name = name.strip_suffix(b"/").unwrap_or(name);
    name.rsplit(|byte| *byte == b'/').next().unwrap_or(name)
}

fn write_failed(source: io::Error) -> ArchiveError {
    ArchiveError::Write { source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_itself() {
        for length in [1, 86, 87, 88, 900, 980, 990, 1000] {
            let mut records = Vec::new();
            record(&mut records, b"key", &vec![b'x'; length]);
            let text = String::from_utf8(records.clone()).expect("text");
            assert_eq!(text.split(' ').next().expect("a length").parse(), Ok(records.len()));
        }
    }

    #[test]
    fn times_are_told_to_the_nanosecond() {
        let time = |seconds, nanoseconds| precise_time(Timestamp::from_parts(seconds, nanoseconds));
        assert_eq!(time(5, 0), None);
        assert_eq!(time(5, 7), Some("5.000000007".to_owned()));
        assert_eq!(time(-1, 0), Some("-1".to_owned()));
        assert_eq!(time(-1, 500_000_000), Some("-0.500000000".to_owned()));
    }
}
