//! Archives of a hard tree, between us and tools that are not ours: what comes out is compared with what went in, name by
//! name, with modes, times, contents, links, attributes and holes, as far as the format has words for them.

#![expect(clippy::disallowed_methods, reason = "tests look from outside")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use devbox_agent::LocalGuest;
use devbox_guest::{Archives as _, Body};
use devbox_types::archive::{ArchiveFormat, ArchiveRequest, UnpackRequest};
use devbox_types::{BoxPath, Grant};
use futures_util::stream;

use crate::support::local_guest;

const TREE: &str = include_str!("tools/tree.py");
/// What zip has no words for, or its tools do not say.
const NOT_IN_ZIP: [&str; 4] = ["seconds", "links", "attributes", "holes"];

/// Runs a line of shell in a folder.
fn shell(folder: &Path, line: &str) {
    let output = Command::new("sh").args(["-ec", line]).current_dir(folder).output().expect("a shell");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {complaint}");
}

fn python(arguments: &[&str], folder: &Path) -> String {
    let mut command = Command::new("python3");
    command.args(["-c", TREE, arguments[0]]).arg(folder).args(&arguments[1..]).stdin(Stdio::null());
    let output = command.output().expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[track_caller]
fn assert_same(found: &Path, expected: &Path, left_out: &[&str], by: &str) {
    let describe = |folder| python(&[&["describe"], left_out].concat(), folder);
    let (found, expected) = (describe(found), describe(expected));
    let (found, expected): (BTreeSet<_>, BTreeSet<_>) = (found.lines().collect(), expected.lines().collect());
    let differ: Vec<_> = found.difference(&expected).collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    assert!(differ.is_empty() && missing.is_empty(), "{by}: found {differ:#?} and not {missing:#?}");
}

async fn unpack(guest: &LocalGuest, format: ArchiveFormat, archive: &[u8], into: &str) {
    let directory = BoxPath::parse(format!("/workspace/{into}").as_bytes()).expect("a path");
    let request = UnpackRequest { make_parents: true, ..UnpackRequest::into(directory, format) };
    let chunks: Vec<_> = archive.chunks(60_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let body = Body::from_stream(stream::iter(chunks), None);
    guest.unpack(&Grant::whole_box(), request, body).await.expect("a report");
}

async fn pack(guest: &LocalGuest, format: ArchiveFormat) -> Bytes {
    let path = BoxPath::parse(b"/workspace/tree").expect("a path");
    let request = ArchiveRequest::of(vec![path.into()], format);
    let body = guest.pack(&Grant::whole_box(), request).await.expect("a body");
    body.collect(256 << 20).await.expect("an archive")
}

#[tokio::test]
async fn what_other_tools_pack_is_unpacked_as_it_was() {
    const GNU: &str = "--format=gnu";
    let source = tempfile::tempdir().expect("a folder");
    let tree = source.path().join("tree");
    python(&["make", "100"], &tree);
    let attributes = "--xattrs --xattrs-include='user.*'";
    let formats = [
        (format!("tar -cf - --format=posix {attributes} --sparse tree"), ArchiveFormat::Tar, &[][..]),
        (format!("tar -c --format=posix {attributes} --sparse --sparse-version=0.1 tree"), ArchiveFormat::Tar, &[]),
        (format!("tar -c --format=posix {attributes} --sparse --sparse-version=0.0 tree"), ArchiveFormat::Tar, &[]),
        (format!("tar -cz --format=posix {attributes} tree"), ArchiveFormat::TarGz, &["holes"]),
        (format!("tar -c --format=posix {attributes} --sparse tree | zstd -c"), ArchiveFormat::TarZst, &[]),
        (format!("tar -c {GNU} --sparse tree"), ArchiveFormat::Tar, &["seconds", "attributes"]),
        (format!("tar -c {GNU} tree | gzip -c"), ArchiveFormat::TarGz, &["seconds", "attributes", "holes"]),
        (
            "python3 -c 'import sys, tarfile
with tarfile.open(fileobj=sys.stdout.buffer, mode=\"w|gz\", format=tarfile.PAX_FORMAT) as tar: tar.add(\"tree\")'"
                .to_owned(),
            ArchiveFormat::TarGz,
            // A float has no room for the last digits of a time.
            &["seconds", "attributes", "holes"],
        ),
        ("zip -qry t.zip tree; cat t.zip; rm t.zip".to_owned(), ArchiveFormat::Zip, &NOT_IN_ZIP),
    ];
    for (number, (command, format, left_out)) in formats.into_iter().enumerate() {
        shell(source.path(), &format!("{{ {command}; }} >archive"));
        let archive = std::fs::read(source.path().join("archive")).expect("an archive");
        let (folder, guest) = local_guest();
        unpack(&guest, format, &archive, "in").await;
        assert_same(
            &folder.path().join("workspace/in/tree"),
            &tree,
            left_out,
            &format!("{number}: {command}"),
        );
    }
}

#[tokio::test]
async fn what_is_packed_other_tools_unpack_as_it_was() {
    let (folder, guest) = local_guest();
    let tree = folder.path().join("workspace/tree");
    python(&["make", "100"], &tree);
    let attributes = "--xattrs --xattrs-include='user.*'";
    for (command, format, left_out) in [
        (format!("tar -xp {attributes} -f archive"), ArchiveFormat::Tar, &[][..]),
        (format!("tar -xpz {attributes} -f archive"), ArchiveFormat::TarGz, &[]),
        (format!("zstd -dcq archive | tar -xp {attributes} -f -"), ArchiveFormat::TarZst, &[]),
        (
            "python3 -c 'import tarfile
tarfile.open(\"archive\").extractall()'"
                .to_owned(),
            ArchiveFormat::TarGz,
            &["seconds", "attributes"],
        ),
        (
            "TZ=UTC unzip -qq archive".to_owned(),
            ArchiveFormat::Zip,
            &[&NOT_IN_ZIP[..], &["odd-names"]].concat(),
        ),
        (
            "python3 -c 'import zipfile
zip = zipfile.ZipFile(\"archive\")
assert zip.testzip() is None
zip.extractall(members=[member for member in zip.infolist() if member.external_attr >> 28 != 10])'"
                .to_owned(),
            ArchiveFormat::Zip,
            &[&NOT_IN_ZIP[..], &["odd-names", "modes", "symlinks"]].concat(),
        ),
    ] {
        let target = tempfile::tempdir().expect("a folder");
        std::fs::write(target.path().join("archive"), pack(&guest, format).await).expect("written");
        shell(target.path(), &command);
        let unpacked = target.path().join(if target.path().join("workspace").exists() {
            "workspace/tree"
        } else {
            "tree"
        });
        assert_same(&unpacked, &tree, left_out, &command);
    }
}

/// Ten thousand files each way, and through us in both.
#[tokio::test]
async fn ten_thousand_entries_go_both_ways() {
    let (folder, guest) = local_guest();
    let tree = folder.path().join("workspace/tree");
    python(&["make", "10000"], &tree);
    for (format, left_out) in [(ArchiveFormat::TarZst, &[][..]), (ArchiveFormat::Zip, &NOT_IN_ZIP)] {
        let archive = pack(&guest, format).await;
        unpack(&guest, format, &archive, &format!("{format}")).await;
        let unpacked = folder.path().join(format!("workspace/{format}/workspace/tree"));
        assert_same(&unpacked, &tree, left_out, format.as_str());
        std::fs::remove_dir_all(unpacked).expect("removed");
    }
}

/// What is sparse is sent so: the archive is not as long as the file.
#[tokio::test]
async fn holes_are_not_sent() {
    let (folder, guest) = local_guest();
    let tree = folder.path().join("workspace/tree");
    std::fs::create_dir(&tree).expect("a folder");
    let file = std::fs::File::create(tree.join("disk")).expect("a file");
    file.set_len(64 << 30).expect("a long file");
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", 10 << 30).expect("data");
    let archive = pack(&guest, ArchiveFormat::Tar).await;
    assert!(archive.len() < 1 << 20, "{} bytes", archive.len());
    unpack(&guest, ArchiveFormat::Tar, &archive, "in").await;
    let unpacked = std::fs::metadata(folder.path().join("workspace/in/workspace/tree/disk")).expect("a file");
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(unpacked.len(), 64 << 30);
    assert!(unpacked.blocks() * 512 < 1 << 20);
}
