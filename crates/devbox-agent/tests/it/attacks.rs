//! Archives that mean harm. Each test names what it defends against; nothing may show outside of the directory, and of what is
//! refused nothing inside either.

#![expect(clippy::disallowed_methods, reason = "tests look from outside")]

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::process::Command;

use devbox_types::archive::ArchiveFormat;
use devbox_types::{ErrorCode, Grant};

use crate::unpack::{Tar, assert_untouched, ground, names, refused, unpack, unpack_as};

/// What a Python program writes to its output.
fn python(script: &str) -> Vec<u8> {
    let output = Command::new("python3").args(["-c", script]).output().expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A zip of files, by a Python program that has it as `zip`.
fn zip(script: &str) -> Vec<u8> {
    python(&format!(
        "import io, sys, warnings, zipfile
warnings.simplefilter('ignore')
out = io.BytesIO()
with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as zip:
    def entry(name, mode, content=''):
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        zip.writestr(info, content)
{script}
sys.stdout.buffer.write(out.getvalue())"
    ))
}

/// A pax record, which begins with its own length.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = [format!(" {key}=").as_bytes(), value, b"\n"].concat();
    let whole = (rest.len()..).find(|whole| whole.to_string().len() + rest.len() == *whole);
    [whole.expect("a length").to_string().as_bytes(), &rest].concat()
}

/// The records of a file `x` with holes, as PAX 1.0 has them.
fn sparse_records(name: &[u8], size: u64) -> Vec<u8> {
    let size = size.to_string();
    let records: [(&str, &[u8]); 4] =
        [("major", b"1"), ("minor", b"0"), ("name", name), ("realsize", size.as_bytes())];
    records.map(|(key, value)| record(&format!("GNU.sparse.{key}"), value)).concat()
}

/// Zip slip, and CVE-2019-11246: names that climb.
#[tokio::test]
async fn attack_names_that_lead_out() {
    for name in [&b"../secret"[..], b"a/../../secret", b"/workspace/secret", b"a/.."] {
        refused(ArchiveFormat::Tar, Tar::default().file(name, b"owned").end(), ErrorCode::PathEscapes).await;
    }
    let script = "import sys, zipfile
with zipfile.ZipFile(sys.stdout.buffer, 'w') as zip: zip.writestr('../secret', 'owned')";
    let zip = Command::new("python3").args(["-c", script]).output().expect("python").stdout;
    refused(ArchiveFormat::Zip, zip, ErrorCode::PathEscapes).await;
}

/// CVE-2019-11249 and CVE-2019-11251: a link first, then a file through it.
#[tokio::test]
async fn attack_symlink_then_file() {
    for target in [&b".."[..], b"../../workspace", b"/workspace", b"."] {
        let through = Tar::default().symlink(b"link", target).file(b"link/secret", b"owned").end();
        refused(ArchiveFormat::Tar, through, ErrorCode::InvalidRequest).await;
    }
    // The link itself is replaced by a file, not written through; the same name twice is refused.
    let twice = Tar::default().symlink(b"x", b"../secret").file(b"x", b"owned").end();
    refused(ArchiveFormat::Tar, twice, ErrorCode::InvalidRequest).await;
}

/// A link that was there before, and leads out.
#[tokio::test]
async fn attack_link_that_was_there() {
    let (folder, guest) = ground();
    symlink("..", folder.path().join("workspace/in/up")).expect("a link");
    symlink("../secret", folder.path().join("workspace/in/file")).expect("a link");
    let through = Tar::default().file(b"up/secret", b"owned").end();
    let problem = unpack(&guest, ArchiveFormat::Tar, through).await.expect_err("a problem");
    assert_eq!(problem.code, ErrorCode::PathEscapes);
    unpack(&guest, ArchiveFormat::Tar, Tar::default().file(b"file", b"mine").end()).await.expect("a report");
    assert_eq!(std::fs::read(folder.path().join("workspace/secret")).expect("a file"), b"untouched");
}

/// CVE-2026-33056: a directory entry for a link must not change what the link leads to.
#[tokio::test]
async fn attack_directory_entry_over_a_link() {
    let (folder, guest) = ground();
    let victim = folder.path().join("workspace/in/victim");
    std::fs::create_dir(&victim).expect("a folder");
    std::fs::set_permissions(&victim, PermissionsExt::from_mode(0o700)).expect("a mode");
    let archive = Tar::default().symlink(b"link", b"victim").raw(b"link/", b'5', 0, b"", b"").end();
    let problem = unpack(&guest, ArchiveFormat::Tar, archive).await.expect_err("a problem");
    assert_eq!(problem.code, ErrorCode::InvalidRequest);
    assert_eq!(std::fs::metadata(&victim).expect("a folder").mode() & 0o7777, 0o700);
}

#[tokio::test]
async fn attack_hard_links_to_others() {
    for first in [&b"../secret"[..], b"/workspace/secret", b"not-in-the-archive"] {
        let archive = Tar::default().hard_link(b"mine", first).end();
        let code = match first {
            b"not-in-the-archive" => ErrorCode::InvalidRequest,
            _ => ErrorCode::PathEscapes,
        };
        refused(ArchiveFormat::Tar, archive, code).await;
    }
}

#[tokio::test]
async fn attack_devices_and_set_user_id() {
    for kind in [b'3', b'4', b'6'] {
        let archive = Tar::default().file(b"a", b"").raw(b"device", kind, 0, b"", b"").end();
        refused(ArchiveFormat::Tar, archive, ErrorCode::NotARegularFile).await;
    }
    let (folder, guest) = ground();
    unpack(&guest, ArchiveFormat::Tar, Tar::default().file(b"a", b"#!").end()).await.expect("a report");
    let mode = std::fs::metadata(folder.path().join("workspace/in/a")).expect("a file").mode();
    assert_eq!(mode & 0o7777, 0o755, "6755 loses its first digit");
}

/// CVE-2025-62518 and CVE-2026-33055: two sizes, so that one reader sees entries inside another one's content.
#[tokio::test]
async fn attack_two_sizes() {
    let inner = Tar::default().file(b"smuggled", b"").0;
    for (told, in_header) in [(1024, 0), (0, 1024), (512, 1024)] {
        let records = format!("{} size={told}\n", if told == 0 { 9 } else { 8 + told.to_string().len() });
        let records = if told == 0 { "10 size=0\n".replace("10", "9") } else { records };
        let archive =
            Tar::default().pax(records.as_bytes()).raw(b"outer", b'0', in_header, b"", &inner).end();
        refused(ArchiveFormat::Tar, archive, ErrorCode::InvalidRequest).await;
    }
    // What comes after the end, some readers see.
    let mut hidden = Tar::default().file(b"a", b"").end();
    hidden.extend_from_slice(&Tar::default().file(b"hidden", b"").end());
    refused(ArchiveFormat::Tar, hidden, ErrorCode::InvalidRequest).await;
    // A link or a directory with content.
    let archive = Tar::default().raw(b"d/", b'5', 512, b"", &inner).end();
    refused(ArchiveFormat::Tar, archive, ErrorCode::InvalidRequest).await;
}

#[tokio::test]
async fn attack_bombs() {
    // Half a gigabyte of zeros in some kilobytes, refused before all of them are written.
    let bomb = "truncate -s 512M zeros && tar -c zeros | zstd -q";
    let folder = tempfile::tempdir().expect("a folder");
    let bomb =
        Command::new("sh").args(["-c", bomb]).current_dir(folder.path()).output().expect("a shell").stdout;
    assert!(bomb.len() < 1 << 20);
    refused(ArchiveFormat::TarZst, bomb, ErrorCode::TooLarge).await;
}

/// CVE-2018-1002100, and CVE-2019-1002101: an archive of a hostile box that names whatever file it likes.
#[tokio::test]
async fn attack_cve_2018_1002100_paths_of_a_hostile_sender() {
    for name in ["/etc/cron.d/x", "//secret", "..", "a/../../secret", "./../secret", "a/b/../../../secret"] {
        refused(ArchiveFormat::Tar, Tar::default().file(name.as_bytes(), b"x").end(), ErrorCode::PathEscapes)
            .await;
        let script = format!("    entry({name:?}, 0o100644, 'x')");
        refused(ArchiveFormat::Zip, zip(&script), ErrorCode::PathEscapes).await;
    }
}

/// The same, with the true name in a pax record, or in a sparse file's, behind a harmless one.
#[tokio::test]
async fn attack_names_in_records() {
    for name in [&b"../secret"[..], b"/workspace/x"] {
        let archive = Tar::default().pax(&record("path", name)).file(b"harmless", b"x").end();
        refused(ArchiveFormat::Tar, archive, ErrorCode::PathEscapes).await;
    }
    let mut map = b"0\n".to_vec();
    map.resize(512, 0);
    let archive = Tar::default().pax(&sparse_records(b"../secret", 0)).file(b"harmless", &map).end();
    refused(ArchiveFormat::Tar, archive, ErrorCode::PathEscapes).await;
    let mut long = b"../secret\0".to_vec();
    long.resize(512, 0);
    let archive =
        Tar::default().raw(b"././@LongLink", b'L', 10, b"", &long[..10]).file(b"harmless", b"x").end();
    refused(ArchiveFormat::Tar, archive, ErrorCode::PathEscapes).await;
    let archive =
        Tar::default().raw(b"././@LongLink", b'K', 10, b"", &long[..10]).hard_link(b"mine", b"x").end();
    refused(ArchiveFormat::Tar, archive, ErrorCode::PathEscapes).await;
}

/// CVE-2019-11249 in a zip: a link first, then a file through it; and a link's target is never followed to write.
#[tokio::test]
async fn attack_zip_symlink_then_file() {
    for target in ["..", "../..", "/workspace", "."] {
        let script =
            format!("    entry('link', 0o120777, {target:?})\n    entry('link/secret', 0o100644, 'owned')");
        refused(ArchiveFormat::Zip, zip(&script), ErrorCode::InvalidRequest).await;
    }
    let script = "    entry('x', 0o120777, '../secret')\n    entry('x', 0o100644, 'owned')";
    refused(ArchiveFormat::Zip, zip(script), ErrorCode::InvalidRequest).await;
    // Two archives, the link with the first.
    let (folder, guest) = ground();
    unpack(&guest, ArchiveFormat::Zip, zip("    entry('up', 0o120777, '..')")).await.expect("a report");
    let second = unpack(&guest, ArchiveFormat::Zip, zip("    entry('up/secret', 0o100644, 'owned')")).await;
    assert_eq!(second.expect_err("a problem").code, ErrorCode::PathEscapes);
    assert_eq!(std::fs::read(folder.path().join("workspace/secret")).expect("a file"), b"untouched");
}

/// CVE-2021-20206 and its like: a hard link to a link, so that a write goes through what the link means.
#[tokio::test]
async fn attack_hard_link_to_a_link() {
    let archive = Tar::default().symlink(b"link", b"../secret").hard_link(b"mine", b"link").end();
    refused(ArchiveFormat::Tar, archive, ErrorCode::InvalidRequest).await;
    let through = Tar::default().symlink(b"d", b"..").hard_link(b"mine", b"d/secret").end();
    refused(ArchiveFormat::Tar, through, ErrorCode::InvalidRequest).await;
}

/// Set-user-ID programs, sticky directories, devices and FIFOs in a zip.
#[tokio::test]
async fn attack_zip_devices_and_set_user_id() {
    for mode in ["0o010644", "0o020644", "0o060644", "0o140644"] {
        let script = format!("    entry('first', 0o100644)\n    entry('special', {mode})");
        refused(ArchiveFormat::Zip, zip(&script), ErrorCode::NotARegularFile).await;
    }
    let (folder, guest) = ground();
    let script = "    entry('run', 0o106755)\n    entry('d/', 0o041777)";
    unpack(&guest, ArchiveFormat::Zip, zip(script)).await.expect("a report");
    for (name, mode) in [("run", 0o755), ("d", 0o777)] {
        let found = std::fs::metadata(folder.path().join("workspace/in").join(name)).expect("an entry");
        assert_eq!(found.mode() & 0o7777, mode, "{name}");
    }
}

/// The same name twice, also where only a slash, a dot or the kind differs: the last one would win, or the first, as the
/// reader likes.
#[tokio::test]
async fn attack_duplicate_names() {
    for (first, second) in [("a", "a"), ("a", "./a"), ("d/a", "d//a"), ("a", "a/b"), ("d/", "d")] {
        let archive =
            Tar::default().file(first.trim_end_matches('/').as_bytes(), b"1").file(second.as_bytes(), b"2");
        refused(ArchiveFormat::Tar, archive.end(), ErrorCode::InvalidRequest).await;
        let script = format!("    entry({first:?}, 0o100644)\n    entry({second:?}, 0o100644)");
        let (folder, guest) = ground();
        let problem = unpack(&guest, ArchiveFormat::Zip, zip(&script)).await.expect_err("a problem");
        assert!(
            matches!(problem.code, ErrorCode::InvalidRequest | ErrorCode::IsADirectory),
            "{first} {second}: {problem:?}"
        );
        assert_untouched(folder.path());
    }
}

/// Names that shells, globs, options, web servers and terminals take for something else are names.
#[tokio::test]
async fn attack_names_that_mean_something_elsewhere() {
    let longest = vec![b'n'; 255];
    let strange: [&[u8]; 12] = [
        b"-rf",
        b"--help",
        b"[id].tsx",
        b"*",
        b"a\nb",
        b"%2e%2e",
        b"%2e%2e%2fsecret",
        b"..\\secret",
        b"\xff\xfe",
        b"$(id)",
        b"a\rb\x1b[2J",
        &longest,
    ];
    let mut archive = Tar::default();
    for name in strange {
        archive = archive.pax(&record("path", name)).file(b"cut", name);
    }
    let (folder, guest) = ground();
    unpack(&guest, ArchiveFormat::Tar, archive.end()).await.expect("a report");
    let inside = folder.path().join("workspace/in");
    for name in strange {
        assert_eq!(std::fs::read(inside.join(std::ffi::OsStr::from_bytes(name))).expect("a file"), name);
    }
    assert_eq!(std::fs::read_dir(&inside).expect("a list").count(), strange.len());
    assert_eq!(std::fs::read_dir(folder.path().join("workspace")).expect("a list").count(), 2);
    for (name, code) in [(&[b'n'; 256][..], ErrorCode::InvalidPath), (b"nul\0inside", ErrorCode::InvalidPath)]
    {
        refused(ArchiveFormat::Tar, Tar::default().pax(&record("path", name)).file(b"cut", b"x").end(), code)
            .await;
    }
}

/// Bombs: gzip in gzip's own terms, a zstd window that asks for gigabytes, entries without end, zips whose entries share
/// their bytes (David Fifield, "A better zip bomb") and one that is its own content.
#[tokio::test]
async fn attack_bombs_of_every_kind() {
    let gzip = python(
        "import gzip, io, sys, tarfile
out = io.BytesIO()
with tarfile.open(fileobj=out, mode='w:gz', compresslevel=9) as tar:
    info = tarfile.TarInfo('zeros')
    info.size = 600 << 20
    class Zeros:
        def read(self, length): return bytes(length)
    tar.addfile(info, Zeros())
sys.stdout.buffer.write(out.getvalue())",
    );
    assert!(gzip.len() < 1 << 20);
    refused(ArchiveFormat::TarGz, gzip, ErrorCode::TooLarge).await;
    // A frame whose header asks for a window of 2 GiB (RFC 8878, section 3.1.1.1.2).
    let window = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3][..], &[0x01, 0x00, 0x00]].concat();
    refused(ArchiveFormat::TarZst, window, ErrorCode::InvalidRequest).await;
    let (folder, guest) = ground();
    let mut many = Tar::default();
    for number in 0..1001 {
        many = many.file(format!("{number}").as_bytes(), b"");
    }
    let grant = Grant { max_entries: Some(1000), ..Grant::whole_box() };
    let problem = unpack_as(&guest, &grant, ArchiveFormat::Tar, many.end()).await.expect_err("a problem");
    assert_eq!(problem.code, ErrorCode::TooLarge);
    assert_untouched(folder.path());
    // Every entry of the directory points to the first one's bytes.
    let overlap = python(
        "import io, sys, zipfile, struct
out = io.BytesIO()
with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as zip:
    for name in 'abc': zip.writestr(name, bytes(1 << 20))
data = bytearray(out.getvalue())
at = data.find(b'PK\\x01\\x02')
while at >= 0:
    data[at + 42 : at + 46] = struct.pack('<I', 0)
    at = data.find(b'PK\\x01\\x02', at + 1)
sys.stdout.buffer.write(bytes(data))",
    );
    refused(ArchiveFormat::Zip, overlap, ErrorCode::InvalidRequest).await;
    // A header whose bytes are those of the directory itself: what a quine does.
    let quine = python(
        "import io, sys, zipfile, struct
out = io.BytesIO()
with zipfile.ZipFile(out, 'w') as zip: zip.writestr('r.zip', b'x' * 100)
data = bytearray(out.getvalue())
length = len(data)
for signature, places in [(b'PK\\x03\\x04', (18, 22)), (b'PK\\x01\\x02', (20, 24))]:
    at = data.find(signature)
    for place in places: data[at + place : at + place + 4] = struct.pack('<I', length)
sys.stdout.buffer.write(bytes(data))",
    );
    refused(ArchiveFormat::Zip, quine, ErrorCode::InvalidRequest).await;
}

/// Maps of sparse files that lie: about their size (holes count against the limit though they take no room), their order,
/// their data, and the type of their entry.
#[tokio::test]
async fn attack_sparse_maps() {
    let sparse = |size: u64, map: &str, data: &[u8]| {
        let mut content = map.as_bytes().to_vec();
        content.resize(content.len().next_multiple_of(512), 0);
        content.extend_from_slice(data);
        Tar::default().pax(&sparse_records(b"xy", size)).file(b"GNUSparseFile.0/xy", &content).end()
    };
    let (folder, guest) = ground();
    let good = sparse(1 << 20, "1\n1000\n4\n", b"data");
    unpack(&guest, ArchiveFormat::Tar, good).await.expect("a report");
    let mut expected = vec![0; 1 << 20];
    expected[1000..1004].copy_from_slice(b"data");
    assert!(std::fs::read(folder.path().join("workspace/in/xy")).expect("a file") == expected);
    for (size, map, data) in [
        (100, "1\n98\n4\n", &b"data"[..]),
        (100, "2\n50\n2\n0\n2\n", b"data"),
        (100, "2\n0\n3\n2\n1\n", b"data"),
        (100, "1\n0\n5\n", b"data"),
        (100, "1\n0\n3\n", b"data"),
        (100, "1\n18446744073709551615\n4\n", b"data"),
        (100, "99999999999\n", b""),
        (100, "-1\n", b""),
        (100, "", b""),
        (u64::MAX, "0\n", b""),
    ] {
        let (folder, guest) = ground();
        let problem = unpack(&guest, ArchiveFormat::Tar, sparse(size, map, data)).await.expect_err(map);
        assert!(
            matches!(problem.code, ErrorCode::InvalidRequest | ErrorCode::Unsupported),
            "{map:?}: {problem:?}"
        );
        assert_untouched(folder.path());
    }
    let (folder, guest) = ground();
    let grant = Grant { max_bytes: Some((1 << 40) - 1), ..Grant::whole_box() };
    let huge = sparse(1 << 40, "0\n", b"");
    let problem = unpack_as(&guest, &grant, ArchiveFormat::Tar, huge).await.expect_err("a problem");
    assert_eq!(problem.code, ErrorCode::TooLarge);
    assert_untouched(folder.path());
    let record = record("GNU.sparse.size", b"1024");
    let link = Tar::default().pax(&record).symlink(b"link", b"x").end();
    refused(ArchiveFormat::Tar, link, ErrorCode::InvalidRequest).await;
    let everywhere = Tar::default().raw(b"g", b'g', record.len(), b"", &record).file(b"a", b"x").end();
    refused(ArchiveFormat::Tar, everywhere, ErrorCode::InvalidRequest).await;
    assert_eq!(names(&folder.path().join("workspace")), ["in", "secret"]);
}

/// What many headers say of one entry is in memory at once, however small the compressed archive is.
#[tokio::test]
async fn attack_attributes_without_end() {
    let value = vec![b'x'; 60_000];
    let large = |header: usize| record(&format!("SCHILY.xattr.user.large{header}"), &value);
    let many = |header: usize| -> Vec<u8> {
        (0..5000).flat_map(|number| record(&format!("SCHILY.xattr.user.{header}.{number}"), b"")).collect()
    };
    let archive = |headers: usize, records: &dyn Fn(usize) -> Vec<u8>| {
        (0..headers).fold(Tar::default(), |tar, header| tar.pax(&records(header))).file(b"x", b"").end()
    };
    refused(ArchiveFormat::Tar, archive(100, &large), ErrorCode::InvalidRequest).await;
    refused(ArchiveFormat::Tar, archive(2, &many), ErrorCode::InvalidRequest).await;
}
