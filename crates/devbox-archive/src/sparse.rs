//! Files with holes, in the four ways in which GNU tar has told of them.
//!
//! All say where data lies in the file, and how long the file is; the data follow one another in the archive. PAX 1.0 has the
//! map before the data, PAX 0.0 and 0.1 in pax records, the oldest way in the header and blocks behind it (GNU tar's manual,
//! "Storing Sparse Files"). Every map is hostile until it was checked.

use std::io::Read;

use crate::error::ArchiveError;
use crate::tar::{BLOCK, padding};

/// The most pieces of data that a map may tell of: they are in memory while the file is read.
const MAX_SEGMENTS: usize = 100_000;
/// The largest file that Linux has.
const MAX_SIZE: u64 = i64::MAX.unsigned_abs();

/// Where the data of a file lies: in order, apart, and within its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseMap {
    size: u64,
    segments: Vec<Segment>,
}

/// Data between two holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
}

impl SparseMap {
    /// A file of `size` bytes that has data in `segments`, and holes elsewhere.
    ///
    /// # Errors
    /// `Malformed` if they are not in order, overlap, or lie beyond the size; `Unsupported` if there are too many.
    pub fn new(size: u64, segments: Vec<Segment>) -> Result<Self, ArchiveError> {
        if segments.len() > MAX_SEGMENTS {
            return Err(too_many());
        }
        let mut end = 0;
        for Segment { offset, length } in &segments {
            let next = offset.checked_add(*length).filter(|next| *offset >= end && *next <= size);
            end = next.ok_or_else(|| malformed("a sparse map has pieces out of order or beyond its file"))?;
        }
        if size > MAX_SIZE {
            return Err(malformed("a sparse file is larger than files can be"));
        }
        Ok(Self { size, segments })
    }

    /// How long the file is.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its data, in order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// How many bytes the archive has of it. No overflow: they lie apart within the size.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// The map as PAX 1.0 has it before the data: whole blocks.
    pub(crate) fn to_blocks(&self) -> Vec<u8> {
        // GNU tar makes a file no longer than its last piece, so a hole at the end has an empty one behind it.
        let end = Segment { offset: self.size, length: 0 };
        let last = self.segments.last().map_or(0, |last| last.offset + last.length);
        let closing = (last < self.size).then_some(&end);
        let mut text = format!("{}\n", self.segments.len() + usize::from(closing.is_some()));
        for Segment { offset, length } in self.segments.iter().chain(closing) {
            text.push_str(&format!("{offset}\n{length}\n"));
        }
        let mut blocks = text.into_bytes();
        blocks.resize(blocks.len() + padding(blocks.len() as u64), 0);
        blocks
    }
}

/// What pax records say of holes.
#[derive(Debug, Clone, Default)]
pub(crate) struct SparseRecords {
    major: Option<u64>,
    minor: Option<u64>,
    pub(crate) name: Option<Vec<u8>>,
    size: Option<u64>,
    count: Option<u64>,
    /// Offsets and lengths by turns.
    numbers: Vec<u64>,
    told: bool,
}

/// In which way a file's holes are told.
#[derive(Debug)]
pub(crate) enum Told {
    /// Not at all.
    Nowhere,
    /// In records.
    Here(SparseMap),
    /// Before the data: a file of this size.
    Ahead { size: u64 },
}

impl SparseRecords {
    /// Takes a record whose key is `GNU.sparse.` and `key`.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        self.told = true;
        let number = || decimal(value).ok_or_else(|| malformed("a number of a sparse map is none"));
        match key {
            b"major" => self.major = Some(number()?),
            b"minor" => self.minor = Some(number()?),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"numblocks" => self.count = Some(number()?),
            b"offset" if self.numbers.len().is_multiple_of(2) => self.add(number()?)?,
            b"numbytes" if !self.numbers.len().is_multiple_of(2) => self.add(number()?)?,
            b"map" => {
                self.numbers.clear();
                for part in value.split(|byte| *byte == b',').filter(|_| !value.is_empty()) {
                    self.add(decimal(part).ok_or_else(|| malformed("a number of a sparse map is none"))?)?;
                }
            }
            _ => return Err(malformed("a sparse map is told in no known way")),
        }
        Ok(())
    }

    fn add(&mut self, number: u64) -> Result<(), ArchiveError> {
        if self.numbers.len() >= 2 * MAX_SEGMENTS {
            return Err(too_many());
        }
        self.numbers.push(number);
        Ok(())
    }

    pub(crate) fn is_told(&self) -> bool {
        self.told
    }

    pub(crate) fn told(self) -> Result<Told, ArchiveError> {
        if !self.told {
            return Ok(Told::Nowhere);
        }
        let size = self.size.ok_or_else(|| malformed("a sparse file does not tell its size"))?;
        match (self.major.unwrap_or(0), self.minor.unwrap_or(0)) {
            (1, 0) if self.numbers.is_empty() => Ok(Told::Ahead { size }),
            (0, _) => {
                let segments = pairs(&self.numbers)?;
                if self.count.is_some_and(|count| count != segments.len() as u64) {
                    return Err(malformed("a sparse map has not as many pieces as it says"));
                }
                SparseMap::new(size, segments).map(Told::Here)
            }
            _ => Err(malformed("a sparse map is told in no known way")),
        }
    }
}

/// Reads the map of PAX 1.0 before the data of a file whose archive has `stored` bytes of both. Whole blocks are read.
pub(crate) fn read_ahead(input: &mut impl Read, size: u64, stored: u64) -> Result<SparseMap, ArchiveError> {
    let mut numbers = Numbers { input, block: [0; BLOCK], used: BLOCK, read: 0, stored };
    let count = numbers.next()?;
    if count > MAX_SEGMENTS as u64 {
        return Err(too_many());
    }
    let mut segments = Vec::new();
    for _ in 0..count {
        segments.push(Segment { offset: numbers.next()?, length: numbers.next()? });
    }
    if numbers.block[numbers.used..].iter().any(|byte| *byte != 0) {
        return Err(malformed("something comes after a sparse map"));
    }
    let map = SparseMap::new(size, segments)?;
    check_stored(&map, stored - numbers.read)?;
    Ok(map)
}

/// Whether the archive has as many bytes as a map tells of; otherwise readers would find the next header elsewhere.
pub(crate) fn check_stored(map: &SparseMap, stored: u64) -> Result<(), ArchiveError> {
    if map.stored() == stored {
        Ok(())
    } else {
        Err(malformed("a sparse map does not have the size of its data"))
    }
}

/// The map of the oldest way: in the header, and in blocks behind it while they say that there are more.
pub(crate) fn read_header_map(
    header: &[u8; BLOCK],
    number: impl Fn(&[u8]) -> Option<u64>,
    mut next_block: impl FnMut() -> Result<[u8; BLOCK], ArchiveError>,
) -> Result<SparseMap, ArchiveError> {
    const IN_HEADER: std::ops::Range<usize> = 386..482;
    const MORE_AFTER_HEADER: usize = 482;
    const SIZE: std::ops::Range<usize> = 483..495;
    const IN_BLOCK: std::ops::Range<usize> = 0..504;
    const MORE_AFTER_BLOCK: usize = 504;
    const FIELD: usize = 12;
    let size = number(&header[SIZE]).ok_or_else(|| malformed("a sparse file does not tell its size"))?;
    let mut numbers = Vec::new();
    let mut take = |fields: &[u8]| {
        let told = fields.chunks(2 * FIELD).take_while(|pair| pair[0] != 0);
        for field in told.flat_map(|pair| pair.chunks(FIELD)) {
            numbers.push(number(field).ok_or_else(|| malformed("a number of a sparse map is none"))?);
        }
        if numbers.len() > 2 * MAX_SEGMENTS { Err(too_many()) } else { Ok(()) }
    };
    take(&header[IN_HEADER])?;
    let mut more = header[MORE_AFTER_HEADER] != 0;
    while more {
        let block = next_block()?;
        take(&block[IN_BLOCK])?;
        more = block[MORE_AFTER_BLOCK] != 0;
    }
    SparseMap::new(size, pairs(&numbers)?)
}

fn pairs(numbers: &[u64]) -> Result<Vec<Segment>, ArchiveError> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(malformed("a sparse map ends in the middle of a piece"));
    }
    Ok(pairs.iter().map(|[offset, length]| Segment { offset: *offset, length: *length }).collect())
}

/// Numbers, one a line, in blocks.
struct Numbers<'r, R> {
    input: &'r mut R,
    block: [u8; BLOCK],
    used: usize,
    read: u64,
    /// How many bytes may be read.
    stored: u64,
}

impl<R: Read> Numbers<'_, R> {
    fn next(&mut self) -> Result<u64, ArchiveError> {
        const DIGITS: usize = 20;
        let mut digits = Vec::with_capacity(DIGITS);
        loop {
            match self.byte()? {
                b'\n' => {
                    return decimal(&digits).ok_or_else(|| malformed("a number of a sparse map is none"));
                }
                byte if digits.len() < DIGITS => digits.push(byte),
                _ => return Err(malformed("a number of a sparse map is none")),
            }
        }
    }

    fn byte(&mut self) -> Result<u8, ArchiveError> {
        if self.used == BLOCK {
            self.read += BLOCK as u64;
            if self.read > self.stored {
                return Err(malformed("a sparse map is longer than its file"));
            }
            self.input.read_exact(&mut self.block).map_err(ArchiveError::of_input)?;
            self.used = 0;
        }
        self.used += 1;
        Ok(self.block[self.used - 1])
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn malformed(what: &'static str) -> ArchiveError {
    ArchiveError::Malformed { what: what.to_owned() }
}

fn too_many() -> ArchiveError {
    ArchiveError::Unsupported { what: "files of more than 100,000 pieces", name: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(pairs: &[(u64, u64)]) -> Vec<Segment> {
        pairs.iter().map(|(offset, length)| Segment { offset: *offset, length: *length }).collect()
    }

    #[test]
    fn attack_a_map_that_lies_is_refused() {
        let new = |size, pairs: &[(u64, u64)]| SparseMap::new(size, segments(pairs));
        assert_eq!(new(10, &[(0, 2), (2, 0), (5, 5), (10, 0)]).expect("a map").stored(), 7);
        for bad in [&[(5, 5), (0, 2)][..], &[(0, 6), (5, 5)], &[(5, 6)], &[(u64::MAX, 2)], &[(11, 0)]] {
            assert!(new(10, bad).is_err(), "{bad:?}");
        }
        assert!(new(u64::MAX, &[]).is_err());
        let many = vec![Segment { offset: 0, length: 0 }; MAX_SEGMENTS + 1];
        assert!(SparseMap::new(10, many).is_err());
    }

    #[test]
    fn a_map_is_read_as_it_was_written() {
        let pieces: Vec<_> = (0..200).map(|place| (place * 1000, 10)).collect();
        let map = SparseMap::new(1 << 40, segments(&pieces)).expect("a map");
        let blocks = map.to_blocks();
        assert!(blocks.len() > BLOCK && blocks.len().is_multiple_of(BLOCK));
        let stored = blocks.len() as u64 + map.stored();
        let read = read_ahead(&mut &blocks[..], 1 << 40, stored).expect("a map");
        assert_eq!((read.size(), &read.segments()[..200]), (map.size(), map.segments()));
        assert_eq!(read.segments()[200..], segments(&[(1 << 40, 0)]), "GNU tar needs to be told of the end");
        assert!(read_ahead(&mut &blocks[..], 1 << 40, stored - 1).is_err(), "too little data");
        assert!(read_ahead(&mut &blocks[..], 1 << 40, 512).is_err(), "a map beyond its file");
        assert!(read_ahead(&mut &blocks[..], 1000, stored).is_err(), "a map beyond the size");
    }

    #[test]
    fn attack_a_map_before_the_data_that_is_none_is_refused() {
        for bad in ["", "1\n", "x\n", "1\n-1\n5\n", "99999999\n", "111111111111111111111\n", "1\n0\n5\nx"] {
            let mut block = bad.as_bytes().to_vec();
            block.resize(BLOCK, 0);
            assert!(read_ahead(&mut &block[..], 100, 517).is_err(), "{bad:?}");
        }
    }
}
