//! Uploads as a tus client that is not ours speaks them, and across restarts of the agent.
#![expect(clippy::disallowed_methods, reason = "tests look from outside")]

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use devbox_agent::{LocalGuest, LocalGuestOptions};
use devbox_guest::{Body as Content, Uploads as _};
use devbox_router::agent_router;
use devbox_transfer::{Phase, Record};
use devbox_types::file::WriteRequest;
use devbox_types::upload::{ChunkRequest, UploadRequest, UploadRole};
use devbox_types::{BoxPath, Digests, ErrorCode, Grant};
use tempfile::TempDir;
use tower::ServiceExt as _;

const PATH: &str = "path L2ZpbGU="; // "/file"

fn open(folder: &TempDir) -> LocalGuest {
    LocalGuest::open(LocalGuestOptions::below(folder.path())).expect("a guest")
}

fn router(folder: &TempDir) -> Router {
    agent_router(Arc::new(open(folder)))
}

async fn send(
    router: &Router,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(target).header("tus-resumable", "1.0.0");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if method == "PATCH" {
        request = request.header("content-type", "application/offset+octet-stream");
    }
    router.clone().oneshot(request.body(Body::from(body)).expect("a request")).await.expect("an answer")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).unwrap_or_else(|| panic!("no {name} in {headers:?}")).to_str().expect("text")
}

async fn begin(router: &Router, length: &str) -> String {
    let headers = [("upload-length", length), ("upload-metadata", PATH)];
    let answer = send(router, "POST", "/v1/uploads", &headers, "").await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(text(answer.headers(), "tus-resumable"), "1.0.0");
    // RFC 3986, relative to …/v1/uploads.
    format!("/v1/{}", text(answer.headers(), "location"))
}

async fn offset(router: &Router, at: &str) -> String {
    let answer = send(router, "HEAD", at, &[], "").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(text(answer.headers(), "cache-control"), "no-store");
    text(answer.headers(), "upload-offset").to_owned()
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

fn read(folder: &TempDir) -> String {
    std::fs::read_to_string(folder.path().join("file")).expect("the file")
}

#[tokio::test]
async fn options_say_what_is_spoken() {
    let folder = tempfile::tempdir().expect("a folder");
    let answer = send(&router(&folder), "OPTIONS", "/v1/uploads", &[], "").await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let headers = answer.headers();
    assert_eq!(text(headers, "tus-version"), "1.0.0");
    assert_eq!(text(headers, "tus-checksum-algorithm"), "sha1,sha256");
    assert_eq!(
        text(headers, "tus-extension"),
        "creation,creation-with-upload,checksum,expiration,termination,concatenation"
    );
}

#[tokio::test]
async fn an_upload_goes_its_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let router = router(&folder);
    let at = begin(&router, "6").await;
    let answer = send(&router, "PATCH", &at, &[("upload-offset", "0")], "abc").await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(text(answer.headers(), "upload-offset"), "3");
    assert!(text(answer.headers(), "upload-expires").ends_with("GMT"));
    assert_eq!(offset(&router, &at).await, "3");
    let answer = send(&router, "PATCH", &at, &[("upload-offset", "0")], "abc").await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    let answer = send(&router, "PATCH", &at, &[("upload-offset", "3")], "def").await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert!(answer.headers().contains_key("etag"));
    assert_eq!(read(&folder), "abcdef");
    // A client that did not get the last answer learns that all is well.
    assert_eq!(offset(&router, &at).await, "6");
}

#[tokio::test]
async fn the_first_piece_may_come_with_the_creation() {
    let folder = tempfile::tempdir().expect("a folder");
    let router = router(&folder);
    let headers = [
        ("upload-length", "5"),
        ("upload-metadata", PATH),
        ("content-type", "application/offset+octet-stream"),
    ];
    let answer = send(&router, "POST", "/v1/uploads/", &headers, "abc").await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(text(answer.headers(), "upload-offset"), "3");
    let at = format!("/v1/uploads/{}", text(answer.headers(), "location"));
    send(&router, "PATCH", &at, &[("upload-offset", "3")], "de").await;
    assert_eq!(read(&folder), "abcde");
}

#[tokio::test]
async fn a_wrong_checksum_is_460() {
    let folder = tempfile::tempdir().expect("a folder");
    let router = router(&folder);
    let at = begin(&router, "3").await;
    let headers = [("upload-offset", "0"), ("upload-checksum", "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=")];
    let answer = send(&router, "PATCH", &at, &headers, "abd").await;
    assert_eq!(answer.status().as_u16(), 460);
    assert_eq!(offset(&router, &at).await, "0");
    let answer = send(&router, "PATCH", &at, &headers, "abc").await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let unknown = [("upload-offset", "0"), ("upload-checksum", "crc32 AAAA")];
    assert_eq!(send(&router, "PATCH", &at, &unknown, "").await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn another_version_of_the_protocol_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let router = router(&folder);
    for version in [None, Some("0.2.2")] {
        let mut request = Request::post("/v1/uploads").header("upload-length", "3");
        if let Some(version) = version {
            request = request.header("tus-resumable", version);
        }
        let request = request.header("upload-metadata", PATH).body(Body::empty()).expect("a request");
        let answer = router.clone().oneshot(request).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::PRECONDITION_FAILED);
        assert_eq!(text(answer.headers(), "tus-version"), "1.0.0");
    }
}

#[tokio::test]
async fn a_terminated_upload_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let router = router(&folder);
    let at = begin(&router, "3").await;
    // Some clients can only POST.
    let headers = [("x-http-method-override", "DELETE")];
    assert_eq!(send(&router, "POST", &at, &headers, "").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(send(&router, "HEAD", &at, &[], "").await.status(), StatusCode::NOT_FOUND);
    let left = std::fs::read_dir(folder.path()).expect("the folder").count();
    assert_eq!(left, 1, "only the state directory is left");
}

#[tokio::test]
async fn malformed_headers_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let router = router(&folder);
    for (headers, status) in [
        (vec![("upload-metadata", PATH)], 400),
        (vec![("upload-length", "-1"), ("upload-metadata", PATH)], 400),
        (vec![("upload-length", "99999999999999999999"), ("upload-metadata", PATH)], 400),
        (vec![("upload-length", "3")], 400),
        (vec![("upload-length", "3"), ("upload-metadata", "path Li4v")], 400),
        (vec![("upload-defer-length", "1"), ("upload-metadata", PATH)], 501),
    ] {
        let answer = send(&router, "POST", "/v1/uploads", &headers, "").await;
        assert_eq!(answer.status().as_u16(), status, "{headers:?}");
    }
    let at = begin(&router, "3").await;
    assert_eq!(send(&router, "PATCH", &at, &[], "abc").await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_upload_survives_the_agent_at_every_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = begin(&router(&folder), "6").await;
    assert_eq!(offset(&router(&folder), &at).await, "0");
    send(&router(&folder), "PATCH", &at, &[("upload-offset", "0")], "abc").await;
    assert_eq!(offset(&router(&folder), &at).await, "3");
    // The SHA-256 of "abcdef"; the first half was hashed by an agent that is gone.
    let digest = ("repr-digest", "sha-256=:vvV+x/U6bUC+tkCngKY5yDvCmsipgW8fxsXG3Nk8RyE=:");
    let answer = send(&router(&folder), "PATCH", &at, &[("upload-offset", "3"), digest], "def").await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(read(&folder), "abcdef");
    assert_eq!(offset(&router(&folder), &at).await, "6");
}

/// The record of an upload is made one of parts that were being joined when the agent died.
#[tokio::test]
async fn a_kill_while_parts_are_joined_leaves_nothing_of_the_whole() {
    for phase in [Phase::Open, Phase::Publishing] {
        let folder = tempfile::tempdir().expect("a folder");
        let router = router(&folder);
        let at = begin(&router, "6").await;
        send(&router, "PATCH", &at, &[("upload-offset", "0")], "abc").await;
        let id = at.rsplit('/').next().expect("an id");
        let note = folder.path().join(".~devbox-state").join(format!("note-{id}"));
        let record = Record::decode(&std::fs::read(&note).expect("the record")).expect("a record");
        let role = UploadRole::Joined(vec![record.id.clone()]);
        std::fs::write(&note, Record { role, phase, ..record }.encode()).expect("written");
        drop(router);
        assert_eq!(names(&folder).len(), 2, "the state directory and the bytes");
        let _guest = open(&folder);
        assert!(!note.exists());
        assert_eq!(names(&folder), [".~devbox-state"]);
    }
}

#[tokio::test]
async fn what_an_upload_cannot_keep_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let guest = open(&folder);
    let plain =
        || WriteRequest { length: Some(3), ..WriteRequest::to(BoxPath::parse(b"/file").expect("a path")) };
    for write in [WriteRequest { verify: true, ..plain() }, WriteRequest { in_place: true, ..plain() }] {
        let request =
            UploadRequest { write, digest_follows: false, metadata: String::new(), role: UploadRole::File };
        let refused = guest.create_upload(&Grant::whole_box(), request).await.expect_err("refused");
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
        assert_eq!(names(&folder), [".~devbox-state"]);
    }
}

#[tokio::test]
async fn attack_forged_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let router = router(&folder);
    let at = begin(&router, "3").await;
    let id = at.rsplit('/').next().expect("an id");
    let note = folder.path().join(".~devbox-state").join(format!("note-{id}"));
    let mut record = std::fs::read(&note).expect("the record");
    record.reverse();
    std::fs::write(&note, record).expect("a forged record");
    assert_eq!(send(&router, "HEAD", &at, &[], "").await.status(), StatusCode::NOT_FOUND);
    let answer = send(&router, "PATCH", &at, &[("upload-offset", "0")], "abc").await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    // The next start sweeps what cannot be read.
    drop(router);
    let _guest = open(&folder);
    assert!(!note.exists());
}

#[tokio::test]
async fn two_at_once_do_not_mix() {
    let folder = tempfile::tempdir().expect("a folder");
    let guest = Arc::new(open(&folder));
    let at = begin(&agent_router(Arc::clone(&guest) as _), "6").await;
    let id: devbox_types::UploadId = at.rsplit('/').next().expect("an id").parse().expect("an id");
    let chunk = |offset| ChunkRequest {
        id: id.clone(),
        offset,
        length: None,
        checksum: None,
        digests: Digests::default(),
    };
    let slow = Content::from_stream(futures_util::stream::pending(), None);
    let grant = Grant::whole_box();
    let (first, second) = (chunk(0), chunk(0));
    let held = guest.append_upload(&grant, first, slow);
    let refused = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        guest.append_upload(&grant, second, Content::from_bytes("abc")).await
    };
    tokio::select! {
        _ = held => panic!("a body that never comes ends nothing"),
        refused = refused => assert_eq!(refused.expect_err("busy").code, ErrorCode::Busy),
    }
}
