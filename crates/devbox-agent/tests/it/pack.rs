//! Archives of hard trees.

#![expect(clippy::disallowed_methods, reason = "tests look from outside")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use devbox_guest::Archives as _;
use devbox_types::archive::{ArchiveFormat, ArchiveRequest};
use devbox_types::{BoxPath, ErrorCode, Grant};

use crate::support::local_guest;

fn request(paths: &[&str]) -> ArchiveRequest {
    let paths = paths.iter().map(|path| BoxPath::parse(path.as_bytes()).expect("a path").into()).collect();
    ArchiveRequest::of(paths, ArchiveFormat::Zip)
}

/// The names of a zip, as its directory at the end has them.
fn names(zip: &[u8]) -> Vec<String> {
    const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";
    let places = zip.windows(4).enumerate().filter(|(_, window)| *window == DIRECTORY_ENTRY);
    let names = places.map(|(place, _)| {
        let length = usize::from(u16::from_le_bytes([zip[place + 28], zip[place + 29]]));
        String::from_utf8_lossy(&zip[place + 46..place + 46 + length]).into_owned()
    });
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn deep_trees_are_whole_and_what_is_no_file_is_left_out() {
    let (folder, guest) = local_guest();
    let top = folder.path().join("workspace");
    let deep = (0..150).fold(top.join("deep"), |path, _| path.join("d"));
    std::fs::create_dir_all(&deep).expect("a deep folder");
    std::fs::write(deep.join("file"), "x").expect("a file");
    symlink("nowhere", top.join("link")).expect("a link");
    rustix::fs::mkfifoat(rustix::fs::CWD, top.join("fifo"), rustix::fs::Mode::RWXU).expect("a fifo");
    let body = guest.pack(&Grant::whole_box(), request(&["/workspace"])).await.expect("a body");
    let names = names(&body.collect(1 << 20).await.expect("a zip"));
    assert_eq!(names.len(), 1 + 1 + 150 + 1 + 1, "{names:?}");
    assert!(
        names.contains(&"workspace/link".to_owned()) && names.iter().any(|name| name.ends_with("d/file"))
    );
}

#[tokio::test]
async fn limits_and_kinds_are_checked() {
    let (folder, guest) = local_guest();
    let top = folder.path().join("workspace");
    std::fs::write(top.join("a"), vec![1; 100_000]).expect("a file");
    rustix::fs::mkfifoat(rustix::fs::CWD, top.join("fifo"), rustix::fs::Mode::RWXU).expect("a fifo");
    let refused =
        guest.pack(&Grant::whole_box(), request(&["/workspace/fifo"])).await.expect_err("a problem");
    assert_eq!(refused.code, ErrorCode::NotARegularFile);
    let refused = guest.pack(&Grant::whole_box(), request(&[])).await.expect_err("a problem");
    assert_eq!(refused.code, ErrorCode::InvalidRequest);
    for grant in [
        Grant { max_bytes: Some(99_999), ..Grant::whole_box() },
        Grant { max_entries: Some(1), ..Grant::whole_box() },
    ] {
        let body = guest.pack(&grant, request(&["/workspace"])).await.expect("a body");
        let error = body.collect(1 << 20).await.expect_err("a problem");
        assert_eq!(error.to_problem().code, ErrorCode::TooLarge);
    }
}

#[tokio::test]
async fn an_archive_is_never_silently_incomplete() {
    if rustix::process::geteuid().is_root() {
        // Root may read everything; act as somebody who may not.
        let (folder, guest) = local_guest();
        let locked = folder.path().join("workspace/locked");
        std::fs::create_dir(&locked).expect("a folder");
        for open in [folder.path().to_owned(), folder.path().join("workspace")] {
            std::fs::set_permissions(open, PermissionsExt::from_mode(0o755)).expect("a mode");
        }
        std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o700)).expect("a mode");
        let somebody = Grant::whole_box().with_user("12345".parse().expect("a user"));
        let body = guest.pack(&somebody, request(&["/workspace"])).await.expect("a body");
        let error = body.collect(1 << 20).await.expect_err("a problem");
        assert_eq!(error.to_problem().code, ErrorCode::PermissionDenied);
    }
}

#[tokio::test]
async fn readers_that_go_away_free_their_place() {
    let (folder, guest) = local_guest();
    // Deflate leaves it as large as it is.
    let mut seed = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed.to_be_bytes()[0]
    })
    .take(4 << 20)
    .collect();
    std::fs::write(folder.path().join("workspace/noise"), noise).expect("a file");
    let guest = Arc::new(guest);
    for _ in 0..40 {
        // More than may be packed at a time; each is dropped unread.
        let body = guest.pack(&Grant::whole_box(), request(&["/workspace"])).await.expect("a body");
        drop(body);
    }
}

/// The names that GNU tar lists.
fn tar_names(archive: &[u8]) -> Vec<String> {
    use std::io::Write as _;
    let mut command = std::process::Command::new("tar");
    let piped = std::process::Stdio::piped;
    let mut tar = command.args(["-t"]).stdin(piped()).stdout(piped()).spawn().expect("tar");
    tar.stdin.take().expect("its input").write_all(archive).expect("it reads");
    let output = tar.wait_with_output().expect("its end");
    assert!(output.status.success());
    let mut names: Vec<_> =
        String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[tokio::test]
async fn patterns_choose_what_goes_in() {
    let (folder, guest) = local_guest();
    let top = folder.path().join("workspace");
    for (name, content) in [
        (".gitignore", "*.log\n/build/\n!keep.log\n"),
        (".git/HEAD", ""),
        ("build/out", ""),
        ("src/main.rs", ""),
        ("src/a.log", ""),
        ("src/keep.log", ""),
        ("src/.gitignore", "generated\n"),
        ("src/generated/x", ""),
        ("src/build/y", ""),
    ] {
        let path = top.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, content).expect("a file");
    }
    let workspace = request(&["/workspace"]);
    let tar = ArchiveRequest { format: ArchiveFormat::Tar, ..workspace };
    for (request, expected) in [
        (
            ArchiveRequest { gitignore: true, ..tar.clone() },
            &[
                ".gitignore",
                "src/",
                "src/.gitignore",
                "src/build/",
                "src/build/y",
                "src/keep.log",
                "src/main.rs",
            ][..],
        ),
        (
            ArchiveRequest {
                gitignore: true,
                exclude: vec![".gitignore".into(), "/src/build".into(), "!a.log".into()],
                ..tar.clone()
            },
            &["src/", "src/a.log", "src/keep.log", "src/main.rs"],
        ),
        (
            ArchiveRequest { include: vec!["*.rs".into(), "build/".into()], ..tar.clone() },
            &["build/", "build/out", "src/build/", "src/build/y", "src/main.rs"],
        ),
    ] {
        let body = guest.pack(&Grant::whole_box(), request).await.expect("a body");
        let names = tar_names(&body.collect(1 << 20).await.expect("a tar"));
        let below: Vec<_> = names
            .iter()
            .filter_map(|name| name.strip_prefix("workspace/"))
            .filter(|name| !name.is_empty())
            .collect();
        assert_eq!(below, expected);
    }
    let nonsense = ArchiveRequest { include: vec!["/".into()], ..tar };
    let refused = guest.pack(&Grant::whole_box(), nonsense).await.expect_err("a problem");
    assert_eq!(refused.code, ErrorCode::InvalidRequest);
}

#[tokio::test]
async fn a_tar_tells_hard_links_and_attributes() {
    let (folder, guest) = local_guest();
    let top = folder.path().join("workspace");
    std::fs::write(top.join("a"), vec![7; 100_000]).expect("a file");
    std::fs::hard_link(top.join("a"), top.join("b")).expect("a link");
    let flags = rustix::fs::XattrFlags::empty();
    let attributes = rustix::fs::setxattr(top.join("a"), "user.colour", b"blue", flags).is_ok();
    let request = ArchiveRequest { format: ArchiveFormat::Tar, ..request(&["/workspace"]) };
    let body = guest.pack(&Grant::whole_box(), request).await.expect("a body");
    let tar = body.collect(1 << 20).await.expect("a tar");
    assert!(tar.len() < 120_000, "the content is in it once: {}", tar.len());
    let record = b"SCHILY.xattr.user.colour=blue\n";
    assert_eq!(tar.windows(record.len()).any(|window| window == record), attributes);
}
