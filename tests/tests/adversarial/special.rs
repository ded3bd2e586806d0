//! What is no file in the place of a file: FIFOs, devices, `/proc`, magic links. Nothing may wait for them, read them without
//! end, or go through them.
//!
//! A FIFO that nobody writes to holds whoever opens it (CWE-412); `/proc/self/fd` and `/proc/1/root` are links that no path
//! resolution sees, and led out of containers again and again (CVE-2019-5736, CVE-2024-21626).

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use devbox_agent::{LocalGuest, LocalGuestOptions};
use devbox_archive::{ArchiveWriter, EntryHead};
use devbox_fs::Confinement;
use devbox_guest::contract::UploadPart;
use devbox_guest::{Archives as _, Body, Files as _, Uploads as _};
use devbox_types::archive::{ArchiveFormat, ArchiveRequest, UnpackRequest};
use devbox_types::entry::StatRequest;
use devbox_types::file::{ReadRequest, WriteRequest};
use devbox_types::operation::Operation;
use devbox_types::patch::{PatchPlace, PatchRequest};
use devbox_types::upload::{UploadRequest, UploadRole};
use devbox_types::{ErrorCode, Grant, ListRequest, Problem, Timestamp};
use futures_util::stream::{self, StreamExt as _};
use rustix::fs::{CWD, FileType, Mode};

use crate::arena::path;

/// How long one call may take at most. It takes well below a millisecond.
const PATIENCE: Duration = Duration::from_secs(30);

const CONFINED: [Confinement; 2] = [Confinement::OpenAt2, Confinement::Descriptors];

struct Ground {
    guest: LocalGuest,
    folder: tempfile::TempDir,
}

impl Ground {
    fn make(confinement: Confinement) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options =
            LocalGuestOptions { confinement: Some(confinement), ..LocalGuestOptions::below(folder.path()) };
        let guest = LocalGuest::open(options).expect("a guest");
        std::fs::create_dir(folder.path().join("dir")).expect("a directory");
        std::fs::write(folder.path().join("dir/plain"), "plain").expect("a file");
        Self { guest, folder }
    }

    fn host(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Makes every call there is on a name; what each came to.
    async fn every_call(&self, name: &str) -> Vec<(&'static str, Result<(), Problem>)> {
        let (guest, grant) = (&self.guest, &Grant::whole_box());
        let at = || path(name);
        let apply = async |operation| guest.apply(grant, vec![operation]).await.map(drop);
        let mut calls = Vec::new();
        let mut made = |call, outcome| calls.push((call, outcome));
        made("read", in_time(drain(guest, at())).await);
        made("stat", in_time(guest.stat(grant, StatRequest::target_of(at()))).await.map(drop));
        let list = ListRequest::of(path("/dir"));
        made("list", in_time(guest.list(grant, list.clone())).await.map(drop));
        made("list it", in_time(guest.list(grant, ListRequest::of(at()))).await.map(drop));
        made("walk", in_time(walk(guest, list)).await);
        let write = || WriteRequest::to(at());
        made("write", in_time(guest.write(grant, write(), Body::from_bytes("new"))).await.map(drop));
        let in_place = WriteRequest { in_place: true, ..write() };
        made(
            "write in place",
            in_time(guest.write(grant, in_place, Body::from_bytes("new"))).await.map(drop),
        );
        for atomic in [false, true] {
            let patch = PatchRequest { atomic, create: true, ..PatchRequest::at(at(), PatchPlace::End) };
            made("patch", in_time(guest.patch(grant, patch, Body::from_bytes("new"))).await.map(drop));
        }
        let part = UploadPart { request: write(), body: Body::from_bytes("new") };
        let parts = stream::iter([Ok(part)]).boxed();
        made("write many", in_time(guest.write_many(grant, parts)).await.map(drop));
        let archive = ArchiveRequest::of(vec![at().into()], ArchiveFormat::Tar);
        made("pack it", in_time(pack(guest, archive)).await);
        let archive = ArchiveRequest::of(vec![path("/dir").into()], ArchiveFormat::Zip);
        made("pack", in_time(pack(guest, archive)).await);
        let unpack = UnpackRequest::into(path("/dir"), ArchiveFormat::Tar);
        let archive = Body::from_bytes(archive_with(name.trim_start_matches("/dir/")));
        made("unpack", in_time(guest.unpack(grant, unpack, archive)).await.map(drop));
        let upload = WriteRequest { length: Some(0), ..write() };
        let upload = UploadRequest {
            write: upload,
            digest_follows: false,
            metadata: String::new(),
            role: UploadRole::File,
        };
        made("upload", in_time(guest.create_upload(grant, upload)).await.map(drop));
        let copy = |from: &str, to: &str| Operation::Copy {
            from: path(from),
            to: path(to),
            recursive: true,
            overwrite: true,
        };
        made("copy it", in_time(apply(copy(name, "/copied"))).await);
        made("copy", in_time(apply(copy("/dir", "/copied-tree"))).await);
        made("copy over", in_time(apply(copy("/dir/plain", name))).await);
        made("utime", in_time(apply(Operation::Utime { path: at(), modified: None, nofollow: false })).await);
        calls
    }
}

async fn in_time<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, call).await.expect("the call hangs")
}

async fn drain(guest: &LocalGuest, path: devbox_types::BoxPath) -> Result<(), Problem> {
    let content = guest.read(&Grant::whole_box(), ReadRequest::whole(path)).await?;
    content.body.collect(4 << 20).await?;
    Ok(())
}

async fn walk(guest: &LocalGuest, request: ListRequest) -> Result<(), Problem> {
    let mut entries = guest.walk(&Grant::whole_box(), request).await?;
    while let Some(entry) = entries.next().await {
        entry?;
    }
    Ok(())
}

async fn pack(guest: &LocalGuest, request: ArchiveRequest) -> Result<(), Problem> {
    guest.pack(&Grant::whole_box(), request).await?.collect(4 << 20).await?;
    Ok(())
}

fn archive_with(name: &str) -> Bytes {
    let mut archive = ArchiveWriter::new(ArchiveFormat::Tar, Vec::new()).expect("an archive");
    let name = name.as_bytes();
    let head = EntryHead { name, mode: 0o644, modified: Timestamp::EPOCH, uid: 0, gid: 0, attributes: &[] };
    archive.add_file(&head, 3, &b"new"[..]).expect("added");
    archive.finish().expect("an archive").into()
}

/// What a call on a name may come to: its own effect, or one of the codes that say what is wrong with the name.
fn assert_sensible(about: &str, outcomes: &[(&str, Result<(), Problem>)]) {
    for (call, outcome) in outcomes {
        if let Err(problem) = outcome {
            let vague = matches!(problem.code, ErrorCode::Internal | ErrorCode::Interrupted);
            assert!(!vague, "{call} of {about}: {problem:?}");
        }
    }
}

fn code(outcomes: &[(&str, Result<(), Problem>)], wanted: &str) -> Option<ErrorCode> {
    let (_, outcome) = outcomes.iter().find(|(call, _)| *call == wanted).expect("such a call");
    outcome.as_ref().err().map(|problem| problem.code)
}

fn is_still(path: &Path, kind: fn(&std::fs::FileType) -> bool) -> bool {
    path.symlink_metadata().is_ok_and(|about| kind(&about.file_type()))
}

#[tokio::test]
async fn attack_fifo_hangs_nobody() {
    use std::os::unix::fs::FileTypeExt as _;
    for confinement in CONFINED {
        for (name, points_to) in [("/dir/fifo", None), ("/dir/link", Some("fifo"))] {
            let ground = Ground::make(confinement);
            let fifo = ground.host("dir/fifo");
            rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).expect("a FIFO");
            if let Some(target) = points_to {
                std::os::unix::fs::symlink(target, ground.host("dir/link")).expect("a link");
            }
            let outcomes = ground.every_call(name).await;
            assert_sensible(name, &outcomes);
            for call in ["read", "write", "write in place", "patch", "write many"] {
                assert_eq!(code(&outcomes, call), Some(ErrorCode::NotARegularFile), "{call} of {name}");
            }
            assert_eq!(code(&outcomes, "list"), None);
            assert_eq!(code(&outcomes, "pack"), None, "a FIFO below what is packed is left out");
            assert!(points_to.is_none() || is_still(&fifo, |kind| kind.is_fifo()), "{outcomes:?}");
        }
    }
}

#[tokio::test]
async fn attack_device_is_never_opened() {
    for confinement in CONFINED {
        // /dev/zero has no end, /dev/full takes nothing, a disk (7:0 is the first loop device) can be read by root.
        for (kind, major, minor) in [
            (FileType::CharacterDevice, 1, 5),
            (FileType::CharacterDevice, 1, 7),
            (FileType::BlockDevice, 7, 0),
        ] {
            let ground = Ground::make(confinement);
            let device = ground.host("dir/device");
            let number = rustix::fs::makedev(major, minor);
            rustix::fs::mknodat(CWD, &device, kind, Mode::RWXU, number).expect("a device");
            std::os::unix::fs::symlink("device", ground.host("dir/link")).expect("a link");
            for name in ["/dir/link", "/dir/device"] {
                let outcomes = ground.every_call(name).await;
                assert_sensible(name, &outcomes);
                for call in ["read", "write", "write in place", "patch", "write many"] {
                    assert_eq!(code(&outcomes, call), Some(ErrorCode::NotARegularFile), "{call} of {name}");
                }
                assert!(ground.host("copied").symlink_metadata().is_err_and(|_| true) || name == "/dir/link");
                let _ = std::fs::remove_file(ground.host("copied"));
            }
        }
    }
}

#[tokio::test]
async fn attack_socket_is_never_connected_to() {
    for confinement in CONFINED {
        let ground = Ground::make(confinement);
        let listener = std::os::unix::net::UnixListener::bind(ground.host("dir/socket")).expect("a socket");
        listener.set_nonblocking(true).expect("a flag");
        let outcomes = ground.every_call("/dir/socket").await;
        assert_sensible("a socket", &outcomes);
        for call in ["read", "write", "write in place", "patch", "write many"] {
            assert_eq!(code(&outcomes, call), Some(ErrorCode::NotARegularFile), "{call}");
        }
        let nobody = listener.accept().expect_err("nobody came");
        assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
    }
}

/// Links that the kernel makes up lead to wherever a descriptor was opened, whatever the root.
#[tokio::test]
async fn attack_magic_links_lead_nowhere() {
    for confinement in CONFINED {
        let options = LocalGuestOptions { confinement: Some(confinement), ..LocalGuestOptions::below("/") };
        let guest = LocalGuest::open(options).expect("a guest");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("secret"), "secret").expect("a file");
        let secret = std::fs::File::open(folder.path()).expect("a directory");
        let number = std::os::fd::AsRawFd::as_raw_fd(&secret);
        let way = folder.path().to_str().expect("text");
        let own = std::process::id();
        for magic in [
            format!("/proc/self/fd/{number}"),
            format!("/proc/{own}/fd/{number}"),
            format!("/proc/thread-self/fd/{number}"),
            format!("/proc/self/root{way}"),
            format!("/proc/{own}/cwd/../../../../../..{way}").replace("/..", ""),
            format!("/proc/1/root{way}"),
            format!("/proc/self/task/{own}/root{way}"),
        ] {
            let grant = Grant::whole_box();
            let read = in_time(drain(&guest, path(&format!("{magic}/secret")))).await;
            assert!(read.is_err(), "{confinement:?}: read through {magic}");
            let request = WriteRequest::to(path(&format!("{magic}/planted")));
            let written = in_time(guest.write(&grant, request, Body::from_bytes("planted"))).await;
            assert!(written.is_err(), "{confinement:?}: wrote through {magic}");
            let list = in_time(guest.list(&grant, ListRequest::of(path(&magic)))).await;
            assert!(list.is_err(), "{confinement:?}: listed through {magic}");
            let delete = Operation::Delete {
                path: path(&format!("{magic}/secret")),
                recursive: true,
                missing_ok: false,
            };
            assert!(in_time(guest.apply(&grant, vec![delete])).await.is_err(), "{magic}");
            let archive =
                ArchiveRequest::of(vec![path(&format!("{magic}/secret")).into()], ArchiveFormat::Tar);
            assert!(in_time(pack(&guest, archive)).await.is_err(), "{magic}");
            // A planted link to it is no better.
            let link = folder.path().join("link");
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(&magic, &link).expect("a link");
            let planted = path(&format!("{way}/link/secret"));
            assert!(
                in_time(drain(&guest, planted)).await.is_err(),
                "{confinement:?}: read through a link to {magic}"
            );
        }
        assert_eq!(std::fs::read(folder.path().join("secret")).expect("a file"), b"secret");
        assert!(!folder.path().join("planted").exists());
    }
}

/// Files of `/proc` that never end, or wait: each call comes back.
#[tokio::test]
async fn attack_proc_files_end() {
    for confinement in CONFINED {
        let options = LocalGuestOptions { confinement: Some(confinement), ..LocalGuestOptions::below("/") };
        let guest = LocalGuest::open(options).expect("a guest");
        for name in
            ["/proc/self/maps", "/proc/self/pagemap", "/proc/kmsg", "/proc/self/environ", "/proc/kcore"]
        {
            if let Err(problem) = in_time(drain(&guest, path(name))).await {
                assert!(problem.code != ErrorCode::Internal, "{name}: {problem:?}");
            }
        }
    }
}
