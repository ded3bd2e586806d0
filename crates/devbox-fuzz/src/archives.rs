//! Archives. Where ours reads one to its end, other readers have to see the same in it.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use arbitrary::Unstructured;
use devbox_archive::{ArchiveWriter, EntryHead, Member, MemberKind, Sink, unpack_tar, unpack_zip};
use devbox_types::archive::ArchiveFormat;
use devbox_types::{ErrorCode, Problem, Timestamp};

use crate::MAX_GATHERED;

const BLOCK: usize = 512;

/// Gathers what an archive holds, and checks that it is told in order.
#[derive(Debug, Default)]
struct Gathered {
    members: Vec<(Member, Vec<u8>)>,
    open: bool,
    bytes: usize,
}

impl Gathered {
    fn files(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let files = self.members.iter().filter(|(member, _)| matches!(member.kind, MemberKind::File { .. }));
        files.map(|(member, content)| (member.path.as_bytes().to_vec(), content.clone())).collect()
    }

    fn take(&mut self, length: usize) -> Result<(), Problem> {
        assert!(self.open, "content comes after a file was begun");
        self.bytes = self.bytes.saturating_add(length);
        match self.bytes > MAX_GATHERED {
            true => Err(Problem::new(ErrorCode::TooLarge, "more than is gathered")),
            false => Ok(()),
        }
    }
}

impl Sink for Gathered {
    fn begin(&mut self, member: Member) -> Result<(), Problem> {
        assert!(!self.open, "a file is ended before the next entry");
        assert!(!member.path.is_root() && member.mode.is_none_or(|mode| mode <= 0o777), "{member:?}");
        assert!(member.path.segments().all(|name| !matches!(name, b"." | b"..") && !name.contains(&0)));
        self.open = matches!(member.kind, MemberKind::File { .. });
        self.members.push((member, Vec::new()));
        Ok(())
    }

    fn content(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        self.take(chunk.len())?;
        self.members.last_mut().expect("a member").1.extend_from_slice(chunk);
        Ok(())
    }

    fn hole(&mut self, length: u64) -> Result<(), Problem> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.take(length)?;
        let content = &mut self.members.last_mut().expect("a member").1;
        content.resize(content.len() + length, 0);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        assert!(self.open, "only a file is ended");
        self.open = false;
        let (member, content) = self.members.last().expect("a member");
        let MemberKind::File { size, .. } = member.kind else { panic!("only a file is ended") };
        assert_eq!(u64::try_from(content.len()).ok(), Some(size), "{member:?}");
        Ok(())
    }
}

/// Hands bytes out in pieces of changing lengths.
struct Pieces<'a> {
    bytes: &'a [u8],
    next: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        const LENGTHS: [usize; 5] = [1, 511, 7, 4096, 70_000];
        let length = LENGTHS[self.next % LENGTHS.len()].min(buffer.len()).min(self.bytes.len());
        self.next += 1;
        buffer[..length].copy_from_slice(&self.bytes[..length]);
        self.bytes = &self.bytes[length..];
        Ok(length)
    }
}

fn read_tar(format: ArchiveFormat, bytes: &[u8]) -> Result<Gathered, Problem> {
    let mut gathered = Gathered::default();
    unpack_tar(format, Pieces { bytes, next: 0 }, 0, &mut gathered)?;
    assert!(!gathered.open, "the last file is ended");
    Ok(gathered)
}

fn read_zip(bytes: &[u8]) -> Result<Gathered, Problem> {
    let mut gathered = Gathered::default();
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    unpack_zip(bytes, length, 0, 10_000, &mut gathered)?;
    assert!(!gathered.open, "the last file is ended");
    Ok(gathered)
}

/// Reads a tar. The first byte says whether the checksums of its headers are put right first, without which hardly any
/// mutation would get further.
///
/// # Panics
/// If it is told out of order, sizes do not add up, or the reader of the `tar` crate sees other files in what was accepted
/// (CVE-2025-62518, CVE-2026-33055).
pub fn tar(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if how & 1 == 1 {
        put_checksums_right(&mut bytes);
    }
    let Ok(gathered) = read_tar(ArchiveFormat::Tar, &bytes) else { return };
    // What only we read, or others read wrongly, by design: global headers, sparse files, names for directories.
    if has_headers_of(&bytes, |kind| !matches!(kind, b'0' | 0 | b'5' | b'1' | b'2' | b'x' | b'L' | b'K'))
        || is_sparse(&bytes)
    {
        return;
    }
    let others = files_by_tar_crate(&bytes);
    if let Ok(others) = others {
        let ours: Vec<_> = gathered.files();
        assert_eq!(ours.len(), others.len(), "others see {:?}, we {:?}", names(&others), names(&ours));
        for ((our_name, our_content), (name, content)) in ours.iter().zip(&others) {
            assert!(
                our_name == &normal(name),
                "{} is {} to others",
                our_name.escape_ascii(),
                name.escape_ascii()
            );
            assert!(our_content == content, "another content of {:?}", name.escape_ascii().to_string());
        }
    }
}

fn names(files: &[(Vec<u8>, Vec<u8>)]) -> Vec<String> {
    files.iter().map(|(name, content)| format!("{} {}", name.escape_ascii(), content.len())).collect()
}

/// A name as a path. One of GNU's long names ends at a NUL, which the `tar` crate leaves in it.
fn normal(name: &[u8]) -> Vec<u8> {
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let segments = name.split(|byte| *byte == b'/').filter(|segment| !matches!(*segment, b"" | b"."));
    segments.collect::<Vec<_>>().join(&b'/')
}

fn files_by_tar_crate(bytes: &[u8]) -> std::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut archive = ::tar::Archive::new(bytes);
    let mut files = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path_bytes().into_owned();
        // The oldest tars knew a directory by its last slash; the crate leaves that to its callers.
        if !entry.header().entry_type().is_file() || name.ends_with(b"/") {
            continue;
        }
        let mut content = Vec::new();
        entry.by_ref().take(u64::try_from(MAX_GATHERED).unwrap_or(0)).read_to_end(&mut content)?;
        files.push((name, content));
    }
    Ok(files)
}

/// Calls `look` with every block that stands where a header would, if sizes are believed as they stand in the headers.
fn visit_headers(bytes: &mut [u8], mut look: impl FnMut(&mut [u8])) {
    let mut at = 0;
    while let Some(block) = bytes.get_mut(at..at + BLOCK) {
        if block.iter().all(|byte| *byte == 0) {
            return;
        }
        look(block);
        let digits = block[124..136].iter().skip_while(|byte| **byte == b' ');
        let size = digits
            .take_while(|byte| (b'0'..=b'7').contains(*byte))
            .fold(0_usize, |size, digit| size.saturating_mul(8).saturating_add(usize::from(digit - b'0')));
        at = at.saturating_add(BLOCK).saturating_add(size.saturating_add(BLOCK - 1) / BLOCK * BLOCK);
        if at > bytes.len() {
            return;
        }
    }
}

fn put_checksums_right(bytes: &mut [u8]) {
    visit_headers(bytes, |block| {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    });
}

fn has_headers_of(bytes: &[u8], kind: impl Fn(u8) -> bool) -> bool {
    let mut found = false;
    visit_headers(&mut bytes.to_vec(), |block| found |= kind(block[156]));
    found
}

fn is_sparse(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|window| window == b"GNU.sparse.")
}

/// Reads a zip.
///
/// # Panics
/// If it is told out of order, sizes do not add up, or the reader of the `zip` crate sees other files in what was accepted.
pub fn zip(data: &[u8]) {
    let Ok(gathered) = read_zip(data) else { return };
    let mut other =
        ::zip::ZipArchive::new(Cursor::new(data)).expect("what is accepted is a zip to others too");
    // The crate knows a name once, and the last entry of that name.
    let mut ours: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (member, content) in gathered.members {
        if matches!(member.kind, MemberKind::File { .. }) {
            ours.insert(member.path.as_bytes().to_vec(), content);
        } else {
            ours.remove(member.path.as_bytes());
        }
    }
    for index in 0..other.len() {
        let raw = other.by_index_raw(index).expect("its directory is read by others too");
        // A directory has no content, so whatever is said of that is nothing to us.
        let Some(content) = ours.get(&normal(raw.name_raw())) else { continue };
        drop(raw);
        let mut file = other.by_index(index).expect("a file is read by others too");
        let name = file.name_raw().to_vec();
        let mut found = Vec::new();
        let is_read =
            file.by_ref().take(u64::try_from(MAX_GATHERED).unwrap_or(0)).read_to_end(&mut found).is_ok();
        assert!(is_read && &found == content, "another content of {:?}", name.escape_ascii().to_string());
    }
}

/// Reads a compressed tar, gzip or zstd as the first byte says.
///
/// # Panics
/// If it differs from what the decompressed tar is read as.
pub fn packed(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    let limit = u64::try_from(MAX_GATHERED).unwrap_or(0);
    let mut plain = Vec::new();
    let (format, decoded) = match how & 1 {
        0 => (
            ArchiveFormat::TarGz,
            flate2::bufread::MultiGzDecoder::new(bytes).take(limit).read_to_end(&mut plain),
        ),
        _ => {
            let decoder = zstd::stream::read::Decoder::with_buffer(bytes).and_then(|mut decoder| {
                decoder.window_log_max(23)?;
                Ok(decoder)
            });
            (ArchiveFormat::TarZst, decoder.and_then(|decoder| decoder.take(limit).read_to_end(&mut plain)))
        }
    };
    let ours = read_tar(format, bytes);
    if plain.len() >= MAX_GATHERED {
        return;
    }
    match (decoded, ours) {
        (Ok(_), ours) => {
            let expected = read_tar(ArchiveFormat::Tar, &plain);
            assert_eq!(
                ours.map(|gathered| gathered.members).map_err(|problem| problem.code),
                expected.map(|gathered| gathered.members).map_err(|problem| problem.code)
            );
        }
        (Err(_), ours) => assert!(ours.is_err(), "a stream that is damaged is read"),
    }
}

/// Writes an archive of made-up entries in every format, and reads it.
///
/// # Panics
/// If anything does not come back as it went in.
pub fn round_trip(data: &[u8]) {
    let mut source = Unstructured::new(data);
    let Ok(entries) = entries(&mut source) else { return };
    for format in ArchiveFormat::ALL {
        let mut writer = ArchiveWriter::new(format, Vec::new()).expect("a writer");
        let mut written = Vec::new();
        for entry in &entries {
            let attributes: &[_] = if writer.is_rich() { &entry.attributes } else { &[] };
            let head = EntryHead {
                name: &entry.name,
                mode: entry.mode,
                modified: entry.modified,
                uid: 0,
                gid: 0,
                attributes,
            };
            let added = match &entry.what {
                What::File(content) => {
                    let size = u64::try_from(content.len()).expect("small");
                    writer.add_file(&head, size, &content[..])
                }
                What::Directory => writer.add_directory(&head),
                What::Link(target) => writer.add_symlink(&head, target),
            };
            if added.is_ok() {
                written.push(entry);
            }
        }
        let archive = writer.finish().expect("in memory");
        let gathered = match format {
            ArchiveFormat::Zip => read_zip(&archive),
            tar => read_tar(tar, &archive),
        };
        let gathered = gathered.expect("what is written is read");
        assert_eq!(gathered.members.len(), written.len(), "{format}");
        for ((member, content), entry) in gathered.members.iter().zip(written) {
            compare(format, member, content, entry);
        }
    }
}

fn compare(format: ArchiveFormat, member: &Member, content: &[u8], entry: &Entry) {
    assert_eq!(member.path.as_bytes(), entry.name, "{format}");
    let is_link = matches!(entry.what, What::Link(_));
    assert!(is_link || member.mode == Some(entry.mode & 0o777), "{format}: {member:?}, {entry:?}");
    match &entry.what {
        What::File(expected) => assert!(content == expected, "{format}: {member:?}"),
        What::Directory => assert_eq!(member.kind, MemberKind::Directory, "{format}"),
        What::Link(target) => {
            assert_eq!(member.kind, MemberKind::Symlink { target: target.clone() }, "{format}");
        }
    }
    if format != ArchiveFormat::Zip {
        assert_eq!(member.modified, Some(entry.modified), "{format}: {member:?}");
        assert_eq!(member.attributes, entry.attributes, "{format}: {member:?}");
    }
}

#[derive(Debug)]
struct Entry {
    name: Vec<u8>,
    mode: u32,
    modified: Timestamp,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    what: What,
}

#[derive(Debug)]
enum What {
    File(Vec<u8>),
    Directory,
    Link(Vec<u8>),
}

fn entries(source: &mut Unstructured<'_>) -> arbitrary::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for number in 0..source.int_in_range(0..=8)? {
        let mut names = vec![format!("{number}").into_bytes()];
        for _ in 0..source.int_in_range(0..=3)? {
            names.push(name(source)?);
        }
        let what = match source.int_in_range(0..=3)? {
            0 => What::Directory,
            1 => What::Link(name(source)?),
            _ => {
                let length = source.int_in_range(0..=1500)?;
                What::File(source.bytes(length.min(source.len()))?.to_vec())
            }
        };
        let mut attributes = Vec::new();
        if matches!(what, What::File(_)) && source.ratio(1, 4)? {
            let value = source.int_in_range(1..=40)?;
            attributes.push((b"user.a".to_vec(), source.bytes(value.min(source.len()))?.to_vec()));
            attributes.retain(|(_, value)| !value.is_empty());
        }
        entries.push(Entry {
            name: names.join(&b'/'),
            mode: source.int_in_range(0..=0o7777)?,
            modified: Timestamp::from_nanoseconds(source.arbitrary()?),
            attributes,
            what,
        });
    }
    Ok(entries)
}

/// A name that Linux allows.
fn name(source: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    let length = source.int_in_range(1..=255)?;
    let mut name = source.bytes(length.min(source.len()))?.to_vec();
    name.iter_mut().filter(|byte| matches!(**byte, 0 | b'/')).for_each(|byte| *byte = b'_');
    if matches!(&name[..], b"" | b"." | b"..") {
        name = b"name".to_vec();
    }
    Ok(name)
}

fn sample(format: ArchiveFormat) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(format, Vec::new()).expect("a writer");
    let long = [&b"long/"[..], &[b'n'; 200]].concat();
    let attributes = vec![(b"user.a".to_vec(), b"value".to_vec())];
    for (name, attributes) in [(&b"a"[..], &[][..]), (&long, &attributes), (b"\xff\xfe", &[])] {
        let attributes = if writer.is_rich() { attributes } else { &[] };
        let modified = Timestamp::from_nanoseconds(1_700_000_000_123_456_789);
        let head = EntryHead { name, mode: 0o640, modified, uid: 1000, gid: 1000, attributes };
        writer.add_file(&head, 11, &b"the content"[..]).expect("added");
    }
    let head =
        EntryHead { name: b"dir", mode: 0o755, modified: Timestamp::EPOCH, uid: 0, gid: 0, attributes: &[] };
    writer.add_directory(&head).expect("added");
    writer.add_symlink(&EntryHead { name: b"link", ..head }, b"../a").expect("added");
    if let ArchiveWriter::Tar(tar) = &mut writer {
        tar.add_hard_link(&EntryHead { name: b"again", ..head }, b"a").expect("added");
    }
    writer.finish().expect("in memory")
}

/// Our own tars, one with GNU's long names, and one whose size is told twice.
#[must_use]
pub fn tar_seeds() -> Vec<Vec<u8>> {
    let mut gnu = ::tar::Builder::new(Vec::new());
    for (name, content) in [("short", "content"), (&*"l".repeat(150), "more")] {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(u64::try_from(content.len()).expect("small"));
        header.set_mode(0o644);
        gnu.append_data(&mut header, name, content.as_bytes()).expect("added");
    }
    let gnu = gnu.into_inner().expect("in memory");
    let ours = sample(ArchiveFormat::Tar);
    let mut global = ours.clone();
    global[156] = b'g';
    [&ours, &gnu, &global]
        .into_iter()
        .flat_map(|tar| [[&[0], &tar[..]].concat(), [&[1], &tar[..]].concat()])
        .collect()
}

/// Our own zips, and others'.
#[must_use]
pub fn zip_seeds() -> Vec<Vec<u8>> {
    use std::io::Write as _;
    let mut other = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored =
        ::zip::write::SimpleFileOptions::default().compression_method(::zip::CompressionMethod::Stored);
    other.start_file("stored", stored).expect("begun");
    other.write_all(b"content").expect("written");
    other.start_file("large", stored.large_file(true)).expect("begun");
    other.write_all(b"content").expect("written");
    other.add_directory("dir", stored).expect("added");
    let other = other.finish().expect("in memory").into_inner();
    let empty = ArchiveWriter::new(ArchiveFormat::Zip, Vec::new()).and_then(ArchiveWriter::finish);
    vec![sample(ArchiveFormat::Zip), other, empty.expect("in memory")]
}

/// Compressed tars.
#[must_use]
pub fn packed_seeds() -> Vec<Vec<u8>> {
    let seed = |how: u8, format| [&[how], &sample(format)[..]].concat();
    vec![seed(0, ArchiveFormat::TarGz), seed(1, ArchiveFormat::TarZst)]
}
