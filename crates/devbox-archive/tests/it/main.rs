//! Archives that other people's readers understand.

mod tar;

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::process::Command;

use devbox_archive::{ArchiveError, EntryHead, ZipWriter};
use devbox_types::{Coded as _, ErrorCode, Timestamp};
use proptest::prelude::*;

fn head(name: &[u8], mode: u32) -> EntryHead<'_> {
    EntryHead {
        name,
        mode,
        modified: Timestamp::from_parts(1_700_000_001, 5),
        uid: 0,
        gid: 0,
        attributes: &[],
    }
}

fn sample() -> Vec<u8> {
    let mut zip = ZipWriter::new(Vec::new());
    zip.add_directory(&head(b"folder", 0o750)).expect("a directory");
    zip.add_file(&head(b"folder/run.sh", 0o755), 10, &b"#!/bin/sh\nleft unread"[..]).expect("a file");
    zip.add_file(&head("folder/grüße".as_bytes(), 0o644), 0, io::empty()).expect("a file");
    zip.add_file(&head(b"folder/\xff\xfe", 0o600), 3, &b"abc"[..]).expect("a file");
    zip.add_symlink(&head(b"link", 0o777), b"folder/run.sh").expect("a symlink");
    zip.finish().expect("an archive")
}

#[test]
fn names_modes_times_links_and_contents_are_there() {
    let mut archive = zip::ZipArchive::new(Cursor::new(sample())).expect("an archive");
    let mut seen = BTreeMap::new();
    for place in 0..archive.len() {
        let mut entry = archive.by_index(place).expect("an entry");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("content");
        let time = entry.last_modified().expect("a time");
        assert_eq!((time.year(), time.month(), time.day(), time.hour()), (2023, 11, 14, 22));
        seen.insert(entry.name_raw().to_vec(), (entry.unix_mode().expect("a mode"), content));
    }
    let expected = [
        (&b"folder/"[..], 0o040_750, &b""[..]),
        (b"folder/run.sh", 0o100_755, b"#!/bin/sh\n"),
        ("folder/grüße".as_bytes(), 0o100_644, b""),
        (b"folder/\xff\xfe", 0o100_600, b"abc"),
        (b"link", 0o120_777, b"folder/run.sh"),
    ];
    let expected: BTreeMap<_, _> =
        expected.into_iter().map(|(name, mode, content)| (name.to_vec(), (mode, content.to_vec()))).collect();
    assert_eq!(seen, expected);
}

#[test]
fn python_reads_it_and_finds_no_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sample.zip");
    std::fs::write(&path, sample()).expect("a file");
    let script = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; \
                  print([(i.filename, oct(i.external_attr >> 16), i.file_size) for i in z.infolist()])";
    let output = Command::new("python3").arg("-c").arg(script).arg(&path).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("('folder/grüße', '0o100644', 0)"), "{said}");
    assert!(said.contains("('link', '0o120777', 13)"), "{said}");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let mut zip = ZipWriter::new(Vec::new());
    for name in [&b""[..], b"/etc/passwd", b"../x", b"a/../b", b"a//b", b"./a", b"a/", b"a\0b"] {
        let error = zip.add_file(&head(name, 0o644), 1, &b"x"[..]).expect_err("an error");
        assert_eq!(error.code(), ErrorCode::InvalidPath, "{}", name.escape_ascii());
    }
    assert_eq!(zip.finish().expect("an archive").len(), 22, "an empty archive");
}

#[test]
fn a_file_that_is_shorter_than_announced_is_an_error() {
    let mut zip = ZipWriter::new(Vec::new());
    let error = zip.add_file(&head(b"a", 0o644), 5, &b"abc"[..]).expect_err("an error");
    assert!(matches!(error, ArchiveError::Truncated { found: 3, announced: 5, .. }));
}

/// Keeps the last bytes that were written, and counts.
struct Tail {
    length: u64,
    last: Vec<u8>,
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        const KEPT: usize = 1024;
        self.length += bytes.len() as u64;
        self.last.extend_from_slice(bytes);
        let surplus = self.last.len().saturating_sub(KEPT);
        self.last.drain(..surplus);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn sizes_beyond_four_gibibytes_have_their_zip64_fields() {
    const SIZE: u64 = (4 << 30) + 1;
    let mut zip = ZipWriter::new(Tail { length: 0, last: Vec::new() });
    zip.add_file(&head(b"zeros", 0o644), SIZE, io::repeat(0)).expect("a file");
    let tail = zip.finish().expect("an archive");
    let field = [&[1, 0, 8, 0][..], &SIZE.to_le_bytes()].concat();
    assert!(tail.last.windows(field.len()).any(|window| window == field));
    assert!(tail.length < 64 << 20);
}

#[test]
fn more_entries_than_sixteen_bits_count_are_all_found() {
    let mut zip = ZipWriter::new(Vec::new());
    for number in 0..70_000 {
        zip.add_file(&head(format!("{number}").as_bytes(), 0o644), 0, io::empty()).expect("a file");
    }
    let archive = zip::ZipArchive::new(Cursor::new(zip.finish().expect("an archive"))).expect("an archive");
    assert_eq!(archive.len(), 70_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_content_survives(
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200_000), 1..5),
        mode in 0..=0o777_u32,
    ) {
        let mut zip = ZipWriter::new(Vec::new());
        for (place, content) in contents.iter().enumerate() {
            let name = format!("folder/{place}");
            zip.add_file(&head(name.as_bytes(), mode), content.len() as u64, &content[..]).expect("a file");
        }
        let bytes = zip.finish().expect("an archive");
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).expect("an archive");
        for (place, content) in contents.iter().enumerate() {
            let mut entry = archive.by_name(&format!("folder/{place}")).expect("an entry");
            let mut read = Vec::new();
            entry.read_to_end(&mut read).expect("content");
            prop_assert_eq!(&read, content);
            prop_assert_eq!(entry.unix_mode(), Some(0o100_000 | mode));
        }
    }
}
