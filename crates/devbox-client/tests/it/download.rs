//! Large downloads, verified as a whole.

use std::path::Path;

use devbox_client::{Client, ClientConfig, ClientError, LargeOptions};
use devbox_transfer::SavedState;
use devbox_types::{BoxPath, Coded as _, Entry, EntryKind, ErrorCode, Etag, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::script::{DEVBOX, json};

const CONTENT: &str = "0123456789";

/// What `devbox-entry` says of the file.
fn entry() -> String {
    let now = Timestamp::from_nanoseconds(1_000_000_000);
    let entry = Entry {
        path: BoxPath::parse(b"/workspace/file").expect("a path").into(),
        kind: EntryKind::File,
        size_bytes: 10,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        owner: None,
        modified: now,
        changed: now,
        links: 1,
        target: None,
        etag: Some(Etag::of_version(1, 2, 10, false)),
        xattrs: None,
    };
    serde_json::to_string(&entry).expect("json")
}

/// A server that has one file, and tells this digest of it to whoever wants one.
async fn serve(digest: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.expect("bytes") == 0 {
                    break;
                }
            }
            let request = String::from_utf8(request).expect("text").to_lowercase();
            let answer = match request.contains("/files/") {
                false => json("200 OK", "", DEVBOX),
                true => file(&request, digest),
            };
            stream.write_all(answer.as_bytes()).await.expect("sent");
            stream.shutdown().await.expect("closed");
        }
    });
    url
}

fn file(request: &str, digest: &str) -> String {
    let from = request.split("range: bytes=").nth(1).and_then(|rest| rest.split('-').next());
    let from = from.map(|from| from.parse::<usize>().expect("a number"));
    let content = &CONTENT[from.unwrap_or(0)..];
    let status = if from.is_some() { "206 Partial Content" } else { "200 OK" };
    let range = from.map(|from| format!("content-range: bytes {from}-9/10\r\n")).unwrap_or_default();
    let wants = request.contains("want-repr-digest: sha-256=10");
    let digest = if wants { format!("devbox-content-digest: {digest}\r\n") } else { String::new() };
    let body = if request.starts_with("head") { "" } else { content };
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\n{range}{digest}devbox-entry: {}\r\ncontent-length: {}\r\n\r\n{body}",
        entry(),
        content.len()
    )
}

async fn download(url: &str, to: &Path) -> Result<Entry, ClientError> {
    let config = ClientConfig::new(url, Some("dvb_test".to_owned()));
    let sandbox = Client::connect(config)?.sandbox("box").await?;
    sandbox
        .download_large_file("file", to, &LargeOptions::default(), &mut |_| {
            std::ops::ControlFlow::Continue(())
        })
        .await
}

/// Of "0123456789".
const RIGHT: &str = "sha-256=:hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:";
const WRONG: &str = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";

#[tokio::test]
async fn what_came_is_compared_with_what_is_in_the_box() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("file");
    std::fs::write(&target, "old").expect("an old file");
    let refused = download(&serve(WRONG).await, &target).await.expect_err("it is another file");
    assert_eq!(refused.code(), ErrorCode::DigestMismatch);
    assert_eq!(std::fs::read_to_string(&target).expect("the old file"), "old");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(left.len(), 1, "nothing of what came is kept: {left:?}");

    download(&serve(RIGHT).await, &target).await.expect("a download");
    assert_eq!(std::fs::read_to_string(&target).expect("the new file"), CONTENT);
}

#[tokio::test]
async fn a_part_of_an_earlier_run_is_compared_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("file");
    let part = folder.path().join(".file.devbox-part");
    // An earlier run, of which the first bytes are here: as they came, or changed since.
    for (left, digest, code) in [("01234", RIGHT, None), ("01x34", RIGHT, Some(ErrorCode::DigestMismatch))] {
        let state = SavedState::Download {
            version: SavedState::VERSION,
            devbox: "a4dqobyha4dqobyh".to_owned(),
            origin: BoxPath::parse(b"/workspace/file").expect("a path").into(),
            etag: Etag::of_version(1, 2, 10, false),
            size_bytes: 10,
        };
        std::fs::write(folder.path().join(".file.devbox-part.json"), state.encode()).expect("a state");
        std::fs::write(&part, left).expect("a part");
        let outcome = download(&serve(digest).await, &target).await.map_err(|error| error.code());
        assert_eq!(outcome.err(), code, "{left}");
        assert!(!part.exists());
    }
    assert_eq!(std::fs::read_to_string(&target).expect("the file"), CONTENT);
}
