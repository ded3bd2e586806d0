//! The records of a zip archive, byte for byte (PKWARE's APPNOTE.TXT, sections 4.3.7 to 4.3.16).

use crate::dos_time::DosTime;

/// The largest value of a 32-bit field; it says that the true one is in the zip64 field.
const IN_ZIP64: u32 = u32::MAX;
/// The same of a 16-bit count.
const COUNT_IN_ZIP64: u16 = u16::MAX;
/// "Made by" Unix, so that the upper half of the external attributes is a mode; by the rules of version 4.5 (zip64).
const MADE_BY: u16 = 3 << 8 | VERSION;
const VERSION: u16 = 45;
const ZIP64_FIELD: u16 = 0x0001;
/// Info-ZIP's "extended timestamp": seconds since 1970.
const TIME_FIELD: u16 = 0x5455;
const FLAG_DESCRIPTOR: u16 = 1 << 3;
const FLAG_UTF8: u16 = 1 << 11;

/// How the content of an entry is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Stored = 0,
    Deflated = 8,
}

/// What the headers of an entry say of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) crc: u32,
    pub(crate) packed: u64,
    pub(crate) plain: u64,
}

/// An entry, as its two headers describe it.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) method: Method,
    /// Type and permission bits, as `stat` has them.
    pub(crate) mode: u32,
    pub(crate) time: DosTime,
    /// The same in seconds since 1970, if 32 bits can hold it.
    pub(crate) seconds: Option<i32>,
    /// Where the local header begins.
    pub(crate) offset: u64,
    /// Whether sizes have 64 bits in the local header and behind the content.
    pub(crate) large: bool,
}

impl Record<'_> {
    /// What goes before the content. Without `sizes`, they follow it in a descriptor.
    pub(crate) fn local_header(&self, sizes: Option<Sizes>) -> Vec<u8> {
        let known = sizes.unwrap_or(Sizes { crc: 0, packed: 0, plain: 0 });
        let mut extra = self.time_field();
        if self.large {
            field(&mut extra, ZIP64_FIELD, &[known.plain.to_le_bytes(), known.packed.to_le_bytes()].concat());
        }
        let mut header = Fields::new(0x0403_4b50);
        header.u16(VERSION).u16(self.flags()).u16(self.method as u16);
        header.u16(self.time.time).u16(self.time.date).u32(known.crc);
        let size = |size| if self.large { IN_ZIP64 } else { narrow(size) };
        header.u32(size(known.packed)).u32(size(known.plain));
        header.length(self.name).length(&extra).bytes(self.name).bytes(&extra);
        header.0
    }

    /// What follows a deflated content.
    pub(crate) fn descriptor(&self, sizes: Sizes) -> Vec<u8> {
        let mut descriptor = Fields::new(0x0807_4b50);
        descriptor.u32(sizes.crc);
        if self.large {
            descriptor.u64(sizes.packed).u64(sizes.plain);
        } else {
            descriptor.u32(narrow(sizes.packed)).u32(narrow(sizes.plain));
        }
        descriptor.0
    }

    /// What the directory at the end says of it.
    pub(crate) fn directory_header(&self, sizes: Sizes) -> Vec<u8> {
        let mut wide = Vec::new();
        for value in [sizes.plain, sizes.packed, self.offset] {
            if narrow(value) == IN_ZIP64 {
                wide.extend_from_slice(&value.to_le_bytes());
            }
        }
        let mut extra = self.time_field();
        if !wide.is_empty() {
            field(&mut extra, ZIP64_FIELD, &wide);
        }
        const DOS_DIRECTORY: u32 = 0x10;
        let dos_attributes = if self.name.ends_with(b"/") { DOS_DIRECTORY } else { 0 };
        let mut header = Fields::new(0x0201_4b50);
        header.u16(MADE_BY).u16(VERSION).u16(self.flags()).u16(self.method as u16);
        header.u16(self.time.time).u16(self.time.date).u32(sizes.crc);
        header.u32(narrow(sizes.packed)).u32(narrow(sizes.plain));
        header.length(self.name).length(&extra).u16(0).u16(0).u16(0);
        header.u32(self.mode << 16 | dos_attributes).u32(narrow(self.offset));
        header.bytes(self.name).bytes(&extra);
        header.0
    }

    /// A name that is not UTF-8 goes without the flag, as its own bytes: what Unix tools write and read back.
    fn flags(&self) -> u16 {
        let descriptor = if self.method == Method::Deflated { FLAG_DESCRIPTOR } else { 0 };
        let utf8 = !self.name.is_ascii() && std::str::from_utf8(self.name).is_ok();
        descriptor | if utf8 { FLAG_UTF8 } else { 0 }
    }

    fn time_field(&self) -> Vec<u8> {
        const MODIFIED: u8 = 1;
        let mut extra = Vec::new();
        if let Some(seconds) = self.seconds {
            let [a, b, c, d] = seconds.to_le_bytes();
            field(&mut extra, TIME_FIELD, &[MODIFIED, a, b, c, d]);
        }
        extra
    }
}

/// The end of the archive: how many entries there are, and where the directory is.
pub(crate) fn end(entries: u64, directory_length: u64, directory_offset: u64) -> Vec<u8> {
    let mut end = Fields(Vec::new());
    let count = u16::try_from(entries).unwrap_or(COUNT_IN_ZIP64);
    let (length, offset) = (narrow(directory_length), narrow(directory_offset));
    if count == COUNT_IN_ZIP64 || length == IN_ZIP64 || offset == IN_ZIP64 {
        const LENGTH_OF_THE_REST: u64 = 44;
        end.u32(0x0606_4b50).u64(LENGTH_OF_THE_REST).u16(MADE_BY).u16(VERSION).u32(0).u32(0);
        end.u64(entries).u64(entries).u64(directory_length).u64(directory_offset);
        const DISKS: u32 = 1;
        end.u32(0x0706_4b50).u32(0).u64(directory_offset + directory_length).u32(DISKS);
    }
    end.u32(0x0605_4b50).u16(0).u16(0).u16(count).u16(count).u32(length).u32(offset).u16(0);
    end.0
}

/// The value as a 32-bit field carries it.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(IN_ZIP64)
}

fn field(extra: &mut Vec<u8>, id: u16, content: &[u8]) {
    let mut fields = Fields(std::mem::take(extra));
    fields.u16(id).length(content).bytes(content);
    *extra = fields.0;
}

/// Little-endian fields, one after the other.
struct Fields(Vec<u8>);

impl Fields {
    fn new(signature: u32) -> Self {
        Self(signature.to_le_bytes().to_vec())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// The length of names and extra fields: names are checked when they come in, our extra fields have at most 41 bytes.
    fn length(&mut self, bytes: &[u8]) -> &mut Self {
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX))
    }
}
