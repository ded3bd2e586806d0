//! Archives in: what other people's tools make, and what becomes of it. What attackers make is in `attacks`.

#![expect(clippy::disallowed_methods, reason = "tests look from outside")]

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use devbox_agent::LocalGuest;
use devbox_guest::{Archives as _, Body, BodyError};
use devbox_types::archive::{ArchiveFormat, ArchiveRequest, UnpackRequest};
use devbox_types::operation::Report;
use devbox_types::{BoxPath, ErrorCode, Grant, Problem};
use futures_util::stream;
use tempfile::TempDir;

use crate::support::local_guest;

/// A guest with `/workspace/in` to unpack into, beside `/workspace/secret`, which nothing may touch.
pub(crate) fn ground() -> (TempDir, LocalGuest) {
    let (folder, guest) = local_guest();
    let workspace = folder.path().join("workspace");
    std::fs::create_dir(workspace.join("in")).expect("a folder");
    std::fs::write(workspace.join("secret"), "untouched").expect("a file");
    (folder, guest)
}

pub(crate) async fn unpack(
    guest: &LocalGuest,
    format: ArchiveFormat,
    archive: Vec<u8>,
) -> Result<Report, Problem> {
    unpack_as(guest, &Grant::whole_box(), format, archive).await
}

pub(crate) async fn unpack_as(
    guest: &LocalGuest,
    grant: &Grant,
    format: ArchiveFormat,
    archive: Vec<u8>,
) -> Result<Report, Problem> {
    let directory = BoxPath::parse(b"/workspace/in").expect("a path");
    let chunks: Vec<_> = archive.chunks(1000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let body = Body::from_stream(stream::iter(chunks), None);
    guest.unpack(grant, UnpackRequest::into(directory, format), body).await
}

/// All names below a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let output = Command::new("find").arg(folder).args(["-mindepth", "1", "-printf", "%P\n"]).output();
    let text = String::from_utf8_lossy(&output.expect("find").stdout).into_owned();
    let mut names: Vec<_> = text.lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// Asserts that an archive is refused, and that nothing came of it.
pub(crate) async fn refused(format: ArchiveFormat, archive: Vec<u8>, code: ErrorCode) {
    let (folder, guest) = ground();
    let problem = unpack(&guest, format, archive).await.expect_err("a problem");
    assert_eq!(problem.code, code, "{problem:?}");
    assert_untouched(folder.path());
}

pub(crate) fn assert_untouched(folder: &Path) {
    assert_eq!(names(&folder.join("workspace/in")), Vec::<String>::new());
    assert_eq!(std::fs::read(folder.join("workspace/secret")).expect("a file"), b"untouched");
}

/// A tar, header by header.
#[derive(Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    pub(crate) fn raw(mut self, name: &[u8], kind: u8, size: usize, link: &[u8], content: &[u8]) -> Self {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name);
        block[100..108].copy_from_slice(b"0006755\0");
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        block[136..148].copy_from_slice(b"14524770401\0");
        block[148..156].fill(b' ');
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(content);
        let padded = self.0.len().next_multiple_of(512);
        self.0.resize(padded, 0);
        self
    }

    pub(crate) fn file(self, name: &[u8], content: &[u8]) -> Self {
        self.raw(name, b'0', content.len(), b"", content)
    }

    pub(crate) fn symlink(self, name: &[u8], target: &[u8]) -> Self {
        self.raw(name, b'2', 0, target, b"")
    }

    pub(crate) fn hard_link(self, name: &[u8], first: &[u8]) -> Self {
        self.raw(name, b'1', 0, first, b"")
    }

    pub(crate) fn pax(self, records: &[u8]) -> Self {
        self.raw(b"pax", b'x', records.len(), b"", records)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

#[tokio::test]
async fn what_tools_make_comes_in_as_it_was() {
    let source = tempfile::tempdir().expect("a folder");
    let make = r#"
        mkdir -p tree/closed && printf content > tree/plain && chmod 640 tree/plain && ln tree/plain tree/same
        ln -s plain tree/link && ln -s /etc/passwd tree/absolute && printf x > "tree/$(printf '%0200d' 7)"
        printf y > "$(printf 'tree/\377\376')" && printf z > tree/closed/inner && chmod 750 tree/closed
        touch -d '2021-02-03 04:05:06.789' tree/plain tree/closed
        tar -cf ustar-gnu.tar --format=gnu tree && tar -czf pax.tar.gz --format=pax tree && tar --zstd -cf t.tar.zst tree
        zip -qry t.zip tree
        python3 -c "import tarfile
with tarfile.open('python.tar', 'w') as tar: tar.add('tree')"
    "#;
    let made = Command::new("sh").args(["-ec", make]).current_dir(source.path()).status().expect("a shell");
    assert!(made.success());
    for (file, format) in [
        ("ustar-gnu.tar", ArchiveFormat::Tar),
        ("pax.tar.gz", ArchiveFormat::TarGz),
        ("t.tar.zst", ArchiveFormat::TarZst),
        ("python.tar", ArchiveFormat::Tar),
        ("t.zip", ArchiveFormat::Zip),
    ] {
        let (folder, guest) = ground();
        let archive = std::fs::read(source.path().join(file)).expect("an archive");
        let report = unpack(&guest, format, archive).await.expect(file);
        assert_eq!(report.entries, 9, "{file}");
        let tree = folder.path().join("workspace/in/tree");
        assert_eq!(names(&tree), names(&source.path().join("tree")), "{file}");
        let plain = std::fs::metadata(tree.join("plain")).expect("a file");
        let links = if format == ArchiveFormat::Zip { 1 } else { 2 };
        assert_eq!(
            (plain.mode() & 0o7777, plain.nlink(), plain.mtime()),
            (0o640, links, 1_612_325_106),
            "{file}"
        );
        let closed = std::fs::metadata(tree.join("closed")).expect("a directory");
        assert_eq!((closed.mode() & 0o7777, closed.mtime()), (0o750, 1_612_325_106), "{file}");
        let absolute = std::fs::read_link(tree.join("absolute")).expect("a link");
        assert_eq!(absolute.as_os_str().as_bytes(), b"/etc/passwd", "{file}");
    }
}

#[tokio::test]
async fn what_was_packed_here_comes_back() {
    let (folder, guest) = ground();
    let workspace = folder.path().join("workspace");
    std::fs::create_dir_all(workspace.join("out/sub")).expect("a folder");
    for number in 0..300 {
        std::fs::write(workspace.join(format!("out/sub/{number}")), vec![7; number * 10]).expect("a file");
    }
    let flags = rustix::fs::XattrFlags::empty();
    let has_attributes = rustix::fs::setxattr(workspace.join("out/sub/1"), "user.a", b"\x00b", flags).is_ok();
    for format in ArchiveFormat::ALL {
        let path = BoxPath::parse(b"/workspace/out").expect("a path");
        let packed = guest.pack(&Grant::whole_box(), ArchiveRequest::of(vec![path.into()], format)).await;
        let directory = BoxPath::parse(format!("/workspace/new/{format}").as_bytes()).expect("a path");
        let request =
            UnpackRequest { strip: 2, make_parents: true, ..UnpackRequest::into(directory, format) };
        let report =
            guest.unpack(&Grant::whole_box(), request, packed.expect("a body")).await.expect("a report");
        assert_eq!(report.bytes, (0..300).map(|number| number * 10).sum::<u64>());
        let new = workspace.join(format!("new/{format}"));
        assert_eq!(names(&new), names(&workspace.join("out")));
        let mut value = [0; 8];
        let read = rustix::fs::getxattr(new.join("sub/1"), "user.a", &mut value[..]);
        assert_eq!(read.is_ok(), has_attributes && format != ArchiveFormat::Zip);
    }
}

#[tokio::test]
async fn what_is_there_is_replaced_or_all_of_it_stays() {
    let (folder, guest) = ground();
    let inside = folder.path().join("workspace/in");
    std::fs::write(inside.join("old"), "old").expect("a file");
    std::fs::create_dir(inside.join("kept")).expect("a folder");
    std::fs::set_permissions(inside.join("kept"), PermissionsExt::from_mode(0o700)).expect("a mode");
    let good =
        Tar::default().file(b"old", b"new").raw(b"kept/", b'5', 0, b"", b"").file(b"kept/x", b"").end();
    unpack(&guest, ArchiveFormat::Tar, good).await.expect("a report");
    assert_eq!(std::fs::read(inside.join("old")).expect("a file"), b"new");
    assert_eq!(std::fs::metadata(inside.join("kept")).expect("a folder").mode() & 0o7777, 0o700);
    // The last entry cannot be: a directory is in its place.
    let bad = Tar::default().file(b"old", b"newer").file(b"more/x", b"").file(b"kept", b"").end();
    let problem = unpack(&guest, ArchiveFormat::Tar, bad).await.expect_err("a problem");
    assert_eq!(problem.code, ErrorCode::IsADirectory);
    assert_eq!(std::fs::read(inside.join("old")).expect("a file"), b"new");
    assert_eq!(names(&inside), ["kept", "kept/x", "old"]);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing() {
    let (folder, guest) = ground();
    let archive = Tar::default().file(b"a", b"a").file(b"d/b", b"b").end();
    for cut in (0..archive.len()).step_by(100) {
        let chunks =
            vec![Ok(Bytes::copy_from_slice(&archive[..cut])), Err(BodyError::Interrupted { source: None })];
        let body = Body::from_stream(stream::iter(chunks), None);
        let directory = BoxPath::parse(b"/workspace/in").expect("a path");
        let request = UnpackRequest::into(directory, ArchiveFormat::Tar);
        let problem = guest.unpack(&Grant::whole_box(), request, body).await.expect_err("a problem");
        assert_eq!(problem.code, ErrorCode::Interrupted, "cut at {cut}");
        assert_untouched(folder.path());
    }
}

#[tokio::test]
async fn limits_count_what_comes_out() {
    let (folder, guest) = ground();
    let archive = Tar::default().file(b"a", &[0; 5000]).file(b"b", &[0; 5000]).end();
    for grant in [
        Grant { max_bytes: Some(9_999), ..Grant::whole_box() },
        Grant { max_entries: Some(1), ..Grant::whole_box() },
    ] {
        let problem = unpack_as(&guest, &grant, ArchiveFormat::Tar, archive.clone()).await;
        assert_eq!(problem.expect_err("a problem").code, ErrorCode::TooLarge);
        assert_untouched(folder.path());
    }
    let enough = Grant { max_bytes: Some(10_000), max_entries: Some(2), ..Grant::whole_box() };
    unpack_as(&guest, &enough, ArchiveFormat::Tar, archive).await.expect("a report");
}

#[tokio::test]
async fn nonsense_is_refused_in_every_format() {
    for format in ArchiveFormat::ALL {
        refused(format, Vec::new(), ErrorCode::InvalidRequest).await;
        refused(format, vec![b'x'; 5000], ErrorCode::InvalidRequest).await;
    }
}

#[tokio::test]
async fn a_key_stands_for_one_way_to_unpack() {
    let (folder, guest) = ground();
    let grant = Grant::whole_box().with_key("key".parse().expect("a key"));
    let unpack = async |strip: u32, archive: Vec<u8>| {
        let directory = BoxPath::parse(b"/workspace/in").expect("a path");
        let request = UnpackRequest { strip, ..UnpackRequest::into(directory, ArchiveFormat::Tar) };
        guest.unpack(&grant, request, Body::from_bytes(archive)).await
    };
    let archive = || Tar::default().file(b"a/b/file", b"content").end();
    let first = unpack(1, archive()).await.expect("unpacked");
    assert_eq!(unpack(1, archive()).await.expect("answered"), first);
    for (strip, archive) in [(2, archive()), (1, Tar::default().file(b"a/b/file", b"other").end())] {
        let refused = unpack(strip, archive).await.expect_err("another call");
        assert_eq!(refused.code, ErrorCode::IdempotencyMismatch);
    }
    assert_eq!(names(&folder.path().join("workspace/in")), ["b", "b/file"]);
}
