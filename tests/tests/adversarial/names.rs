//! Names made to be misread: by patterns, options, escapes, lines of headers. Every name that Linux allows is a name here, through
//! every call, over HTTP, and never becomes a header of its own (CWE-113) or a way upwards (CWE-22).

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use bytes::Bytes;
use devbox_agent::serve::serve_connections;
use devbox_agent::{LocalGuest, LocalGuestOptions};
use devbox_guest::contract::UploadPart;
use devbox_guest::{Archives as _, Body, Files as _, GuestClient, UnixTransport, Uploads as _};
use devbox_types::archive::{ArchiveFormat, ArchiveRequest, UnpackRequest};
use devbox_types::entry::StatRequest;
use devbox_types::file::{ReadRequest, WriteRequest};
use devbox_types::operation::Operation;
use devbox_types::upload::{UploadRequest, UploadRole};
use devbox_types::{BoxPath, Grant, ListRequest, Problem};
use futures_util::stream::{self, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Each with what misreads it.
fn names() -> Vec<Vec<u8>> {
    let long = [vec![b'n'; 255], "ü".repeat(127).into_bytes(), vec![0xff; 255]];
    let names: [&[u8]; 30] = [
        b"[id].tsx",
        b"*",
        b"?",
        b"{a,b}",
        b"-x",
        b"--help",
        b"~",
        b"$HOME",
        b"`id`",
        b"; rm -rf .",
        b"a b",
        b" ",
        b"...",
        b"..%2f..",
        b"%2e%2e",
        b"%2e%2e%2fetc",
        b"%",
        b"%zz",
        b"%00",
        b"+",
        b"a?b=c#d&e",
        b"new\nline",
        b"a\r\nSet-Cookie: owned=1\r\n\r\n<script>",
        b"a\"; filename=\"b",
        b"\\..\\..\\x",
        b"\x01\x1b[31m\x7f",
        b"\xff\xfe",
        b"\xc0\xae\xc0\xae",
        "\u{202e}txt.exe".as_bytes(),
        b"C:",
    ];
    names.map(<[u8]>::to_vec).into_iter().chain(long).collect()
}

struct Served {
    client: GuestClient,
    socket: std::path::PathBuf,
    root: tempfile::TempDir,
    _sockets: tempfile::TempDir,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Served {
    fn start() -> Self {
        let (root, sockets) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let guest = LocalGuest::open(LocalGuestOptions::below(root.path())).expect("a guest");
        let socket = sockets.path().join("agent.sock");
        let listener = tokio::net::UnixListener::bind(&socket).expect("a socket");
        let router = devbox_router::agent_router(Arc::new(guest));
        let server = tokio::spawn(async move {
            serve_connections(listener, router, std::future::pending()).await;
            Ok(())
        });
        let client = GuestClient::to_agent(Arc::new(UnixTransport::new(socket.clone())));
        Self { client, socket, root, _sockets: sockets, server }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn at(names: &[&[u8]]) -> BoxPath {
    names.iter().fold(BoxPath::root(), |path, name| path.join(name).expect("a path"))
}

#[tokio::test]
async fn attack_names_are_only_names() {
    let served = Served::start();
    for name in names() {
        let problem = through_every_call(&served, &name).await.err();
        assert!(problem.is_none(), "{}: {problem:?}", name.escape_ascii());
        let left: Vec<_> = std::fs::read_dir(served.root.path()).expect("a directory").collect();
        assert_eq!(left.len(), 1, "{}: {left:?}", name.escape_ascii());
    }
}

async fn through_every_call(served: &Served, name: &[u8]) -> Result<(), Problem> {
    let (client, grant) = (&served.client, &Grant::whole_box());
    let file = at(&[b"dir", name]);
    let write = |path: &BoxPath| WriteRequest { make_parents: true, ..WriteRequest::to(path.clone()) };
    client.write(grant, write(&file), Body::from_bytes("content")).await?;
    let on_disk = served.root.path().join("dir").join(std::ffi::OsStr::from_bytes(name));
    assert_eq!(std::fs::read(on_disk).expect("the file, under this very name"), b"content");
    let found = client.read(grant, ReadRequest::whole(file.clone())).await?;
    assert_eq!(found.head.entry.path.0, file);
    assert_eq!(found.body.collect(100).await?, "content");
    let listed = client.list(grant, ListRequest::of(at(&[b"dir"]))).await?;
    assert_eq!(listed.entries.iter().map(|entry| &entry.path.0).collect::<Vec<_>>(), [&file]);
    let walked = client.walk(grant, ListRequest::of(at(&[b"dir"]))).await?.collect::<Vec<_>>().await;
    assert!(matches!(&walked[..], [Ok(entry)] if entry.path.0 == file), "{walked:?}");

    let part = UploadPart { request: write(&at(&[b"dir", b"batch", name])), body: Body::from_bytes("part") };
    client.write_many(grant, stream::iter([Ok(part)]).boxed()).await?;
    let linked = at(&[b"dir", b"batch", b"link"]);
    client
        .apply(
            grant,
            vec![
                Operation::Mkdir { path: at(&[b"dir", b"made", name]), mode: None, parents: true },
                Operation::Copy {
                    from: file.clone(),
                    to: at(&[b"dir", b"made", name, name]),
                    recursive: false,
                    overwrite: false,
                },
                Operation::Symlink { path: linked.clone(), target: name.to_vec() },
            ],
        )
        .await?;
    assert_eq!(client.stat(grant, StatRequest::of(linked)).await?.target.as_deref(), Some(name));
    let upload = WriteRequest { length: Some(0), ..write(&at(&[b"dir", b"uploaded", name])) };
    let metadata = devbox_guest::wire::tus::metadata_for(&upload.path);
    client
        .create_upload(
            grant,
            UploadRequest { write: upload, digest_follows: false, metadata, role: UploadRole::File },
        )
        .await?;
    for format in ArchiveFormat::ALL {
        let request = ArchiveRequest::of(vec![at(&[b"dir"]).into()], format);
        let archive = client.pack(grant, request).await?.collect(1 << 20).await?;
        let into = UnpackRequest { make_parents: true, ..UnpackRequest::into(at(&[b"out"]), format) };
        client.unpack(grant, into, Body::from_bytes(archive)).await?;
        let unpacked = at(&[b"out", b"dir", b"made", name, name]);
        let content = client.read(grant, ReadRequest::whole(unpacked)).await?.body.collect(100).await?;
        assert_eq!(content, "content", "{format}");
        let delete = Operation::Delete { path: at(&[b"out"]), recursive: true, missing_ok: false };
        client.apply(grant, vec![delete]).await?;
    }
    let delete = Operation::Delete { path: at(&[b"dir"]), recursive: true, missing_ok: false };
    client.apply(grant, vec![delete]).await.map(drop)
}

/// Header lines of an answer are those that the server means to send, whatever the name of the file says.
#[tokio::test]
async fn attack_header_injection() {
    let served = Served::start();
    let grant = Grant::whole_box();
    let known = [
        "accept-ranges",
        "cache-control",
        "connection",
        "content-digest",
        "content-disposition",
        "content-encoding",
        "content-length",
        "content-range",
        "content-security-policy",
        "content-type",
        "date",
        "devbox-content-digest",
        "devbox-entry",
        "devbox-error",
        "etag",
        "last-modified",
        "location",
        "repr-digest",
        "transfer-encoding",
        "tus-resumable",
        "tus-version",
        "upload-expires",
        "upload-length",
        "upload-metadata",
        "upload-offset",
        "vary",
        "x-content-type-options",
        "x-request-id",
    ];
    for name in names() {
        let file = at(&[&name]);
        let write = WriteRequest::to(file.clone());
        served.client.write(&grant, write, Body::from_bytes("content")).await.expect("written");
        let target = file.to_target();
        let missing = at(&[&name, b"below"]).to_target();
        let metadata = devbox_guest::wire::tus::metadata_for(&file);
        for request in [
            format!("GET /v1/files{target} HTTP/1.1\r\n"),
            format!("HEAD /v1/files{target} HTTP/1.1\r\nRange: bytes=1-2\r\n"),
            format!("GET /v1/entries{target} HTTP/1.1\r\n"),
            format!("GET /v1/files{missing} HTTP/1.1\r\n"),
            format!("DELETE /v1/files{missing} HTTP/1.1\r\n"),
            format!(
                "POST /v1/uploads HTTP/1.1\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 0\r\nUpload-Metadata: {metadata}\r\n"
            ),
        ] {
            let answer = ask(&served.socket, &request).await;
            let head = answer.split(|byte| *byte == b'\n').take_while(|line| !line.trim_ascii().is_empty());
            for line in head.skip(1) {
                let line = String::from_utf8(line.to_vec()).expect("header lines are ASCII");
                let (header, value) = line.trim_end().split_once(':').expect("a header line");
                assert!(known.contains(&header.to_ascii_lowercase().as_str()), "{request}: {line}");
                assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{request}: {line:?}");
            }
        }
        let delete = Operation::Delete { path: file, recursive: false, missing_ok: false };
        served.client.apply(&grant, vec![delete]).await.expect("deleted");
    }
}

async fn ask(socket: &std::path::Path, request: &str) -> Bytes {
    let mut stream = UnixStream::connect(socket).await.expect("a connection");
    let request = format!("{request}Host: box\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&answer));
    answer.into()
}

/// `/work` is no prefix of `/workspace` (CVE-2023-2253 and many others compare names as text).
#[tokio::test]
async fn attack_prefix_confusion() {
    let root = tempfile::tempdir().expect("a folder");
    for directory in ["work", "workspace", "work-evil"] {
        std::fs::create_dir(root.path().join(directory)).expect("a directory");
        std::fs::write(root.path().join(directory).join("file"), directory).expect("a file");
    }
    for (link, target) in
        [("sibling", "../workspace/file"), ("absolute", "/workspace/file"), ("evil", "../work-evil")]
    {
        std::os::unix::fs::symlink(target, root.path().join("work").join(link)).expect("a link");
    }
    for confinement in [devbox_fs::Confinement::OpenAt2, devbox_fs::Confinement::Descriptors] {
        let options =
            LocalGuestOptions { confinement: Some(confinement), ..LocalGuestOptions::below(root.path()) };
        let guest = LocalGuest::open(options).expect("a guest");
        let grant = Grant { root: at(&[b"work"]), ..Grant::whole_box() };
        for way in [&[&b"sibling"[..]][..], &[b"absolute"], &[b"evil", b"file"]] {
            let read = guest.read(&grant, ReadRequest::whole(at(way))).await.map(drop);
            assert_eq!(read.expect_err("outside").code, devbox_types::ErrorCode::PathEscapes, "{way:?}");
            let write = guest.write(&grant, WriteRequest::to(at(way)), Body::from_bytes("x")).await.map(drop);
            assert_eq!(write.expect_err("outside").code, devbox_types::ErrorCode::PathEscapes, "{way:?}");
        }
        // Their own `space/file` is not the other's.
        let read = guest.read(&grant, ReadRequest::whole(at(&[b"space", b"file"]))).await.map(drop);
        assert_eq!(read.expect_err("not there").code, devbox_types::ErrorCode::NotFound);
        let read = guest.read(&grant, ReadRequest::whole(at(&[b"file"]))).await.expect("inside");
        assert_eq!(read.body.collect(100).await.expect("content"), "work");
    }
    for directory in ["workspace", "work-evil"] {
        assert_eq!(
            std::fs::read_to_string(root.path().join(directory).join("file")).expect("a file"),
            directory
        );
    }
}

/// A hard link to a file outside is replaced by a write, not written through; so is a copy over it and an unpacked file.
#[tokio::test]
async fn attack_hard_link_to_the_outside() {
    let whole = tempfile::tempdir().expect("a folder");
    let (root, outside) = (whole.path().join("root"), whole.path().join("outside"));
    std::fs::create_dir(&root).expect("a directory");
    std::fs::write(&outside, "outside").expect("a file");
    let guest = LocalGuest::open(LocalGuestOptions::below(&root)).expect("a guest");
    let grant = Grant::whole_box();
    let file = at(&[b"file"]);
    let link = || std::fs::hard_link(&outside, root.join("file")).expect("a link");
    let unlink = || std::fs::remove_file(root.join("file")).expect("removed");
    let untouched =
        |by: &str| assert_eq!(std::fs::read_to_string(&outside).expect("read"), "outside", "{by}");

    link();
    guest.write(&grant, WriteRequest::to(file.clone()), Body::from_bytes("inside")).await.expect("written");
    untouched("a write");
    unlink();
    link();
    let part = UploadPart { request: WriteRequest::to(file.clone()), body: Body::from_bytes("inside") };
    guest.write_many(&grant, stream::iter([Ok(part)]).boxed()).await.expect("written");
    untouched("a batch");
    std::fs::rename(root.join("file"), root.join("source")).expect("renamed");
    link();
    let archive = ArchiveRequest::of(vec![at(&[b"source"]).into()], ArchiveFormat::Tar);
    let copy =
        Operation::Copy { from: at(&[b"source"]), to: file.clone(), recursive: false, overwrite: true };
    guest.apply(&grant, vec![copy]).await.expect("copied");
    untouched("a copy");
    unlink();
    let archive = guest.pack(&grant, archive).await.expect("packed").collect(1 << 20).await.expect("packed");
    std::fs::remove_file(root.join("source")).expect("removed");
    std::fs::hard_link(&outside, root.join("source")).expect("a link");
    let into = UnpackRequest::into(BoxPath::root(), ArchiveFormat::Tar);
    guest.unpack(&grant, into, Body::from_bytes(archive)).await.expect("unpacked");
    untouched("an archive");
    assert_eq!(std::fs::read_to_string(root.join("source")).expect("read"), "inside");
}
