//! Tar archives as other people's tools read them.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use devbox_archive::{ArchiveWriter, EntryHead, Member, Sink, unpack_tar};
use devbox_types::archive::ArchiveFormat;
use devbox_types::{Problem, Timestamp};

const LONG: &[u8] = &[b'x'; 150];

fn head(name: &[u8]) -> EntryHead<'_> {
    let modified = Timestamp::from_parts(1_700_000_001, 500_000_000);
    EntryHead { name, mode: 0o640, modified, uid: 0, gid: 0, attributes: &[] }
}

/// A tree with all that is hard to tell.
fn archive(format: ArchiveFormat) -> Vec<u8> {
    let mut archive = ArchiveWriter::new(format, Vec::new()).expect("an archive");
    archive.add_directory(&EntryHead { mode: 0o750, ..head(b"d") }).expect("a directory");
    archive.add_file(&head(b"d/plain"), 7, &b"content"[..]).expect("a file");
    archive.add_file(&head(b"d/\xff\xfe"), 0, &b""[..]).expect("a file");
    let long = [b"d/", LONG, b"\xff"].concat();
    archive.add_file(&head(&long), 1000, &[b'y'; 1000][..]).expect("a file");
    archive.add_symlink(&head(b"d/link"), &[b"to/", LONG].concat()).expect("a link");
    if let ArchiveWriter::Tar(tar) = &mut archive {
        tar.add_hard_link(&head(b"d/same"), b"d/plain").expect("a hard link");
    }
    archive.finish().expect("an archive")
}

fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a program");
    child.stdin.take().expect("its input").write_all(input).expect("it reads");
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

#[test]
fn gnu_tar_unpacks_every_format_as_it_was() {
    for (format, option) in [
        (ArchiveFormat::Tar, None),
        (ArchiveFormat::TarGz, Some("-z")),
        (ArchiveFormat::TarZst, Some("--zstd")),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        run(Command::new("tar").arg("-xp").args(option).arg("-C").arg(folder.path()), &archive(format));
        let at = |name: &[u8]| folder.path().join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(std::fs::read(at(b"d/plain")).expect("a file"), b"content");
        let plain = std::fs::metadata(at(b"d/plain")).expect("a file");
        assert_eq!((plain.mode() & 0o7777, plain.nlink()), (0o640, 2));
        assert_eq!((plain.mtime(), plain.mtime_nsec()), (1_700_000_001, 500_000_000));
        assert_eq!(std::fs::metadata(at(b"d")).expect("a directory").mode() & 0o7777, 0o750);
        assert!(at(b"d/\xff\xfe").exists());
        assert_eq!(std::fs::read(at(&[b"d/", LONG, b"\xff"].concat())).expect("a file"), [b'y'; 1000]);
        let target = std::fs::read_link(at(b"d/link")).expect("a link");
        assert_eq!(target.as_os_str().as_bytes(), [b"to/", LONG].concat());
    }
}

#[test]
fn pythons_tarfile_lists_the_same() {
    const SCRIPT: &str = "
import io, os, sys, tarfile
for member in tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read())):
    print(ascii(os.fsencode(member.name)), member.type.decode(), oct(member.mode), member.size, member.mtime, len(member.linkname))
";
    let listed = run(Command::new("python3").args(["-c", SCRIPT]), &archive(ArchiveFormat::TarGz));
    let x = "x".repeat(150);
    let expected = format!(
        "b'd' 5 0o750 0 1700000001.5 0\n\
         b'd/plain' 0 0o640 7 1700000001.5 0\n\
         b'd/\\xff\\xfe' 0 0o640 0 1700000001.5 0\n\
         b'd/{x}\\xff' 0 0o640 1000 1700000001.5 0\n\
         b'd/link' 2 0o640 0 1700000001.5 153\n\
         b'd/same' 1 0o640 0 1700000001.5 7\n"
    );
    assert_eq!(String::from_utf8_lossy(&listed), expected);
}

/// Without the mark of a format, the `tar` crate took GNU's long name for a file, and the file behind it for one of another name.
#[test]
fn a_header_about_the_next_one_is_of_a_known_format() {
    let format = 257..265;
    for (mark, is_read) in
        [(b"ustar\x0000", true), (b"ustar  \0", true), (b"ustar\x0001", false), (&[0; 8], false)]
    {
        let mut tar = archive(ArchiveFormat::Tar);
        // The first header is one of pax records, about the time of what follows.
        assert_eq!(tar[156], b'x');
        tar[format.clone()].copy_from_slice(mark);
        tar[148..156].fill(b' ');
        let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
        tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let read = unpack_tar(ArchiveFormat::Tar, &tar[..], 0, &mut Ignored);
        assert_eq!(read.is_ok(), is_read, "{}: {read:?}", mark.escape_ascii());
    }
}

struct Ignored;

impl Sink for Ignored {
    fn begin(&mut self, _: Member) -> Result<(), Problem> {
        Ok(())
    }

    fn content(&mut self, _: &[u8]) -> Result<(), Problem> {
        Ok(())
    }

    fn hole(&mut self, _: u64) -> Result<(), Problem> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        Ok(())
    }
}

#[test]
fn names_that_stripping_leaves_out_take_their_links_along() {
    struct Told(Vec<String>);
    impl Sink for Told {
        fn begin(&mut self, member: Member) -> Result<(), Problem> {
            self.0.push(member.path.to_string());
            Ok(())
        }
        fn content(&mut self, _: &[u8]) -> Result<(), Problem> {
            Ok(())
        }
        fn hole(&mut self, _: u64) -> Result<(), Problem> {
            Ok(())
        }
        fn end(&mut self) -> Result<(), Problem> {
            Ok(())
        }
    }
    let mut told = Told(Vec::new());
    unpack_tar(ArchiveFormat::Tar, &archive(ArchiveFormat::Tar)[..], 2, &mut told).expect("nothing is left");
    assert_eq!(told.0, Vec::<String>::new());

    let mut tar = devbox_archive::TarWriter::new(Vec::new());
    tar.add_file(&head(b"first"), 1, &b"1"[..]).expect("a file");
    tar.add_hard_link(&head(b"d/second"), b"first").expect("a hard link");
    let refused = unpack_tar(ArchiveFormat::Tar, &tar.finish().expect("a tar")[..], 1, &mut told);
    let problem = refused.expect_err("its file is left out");
    assert!(problem.to_string().contains("left out"), "{problem}");
}
