//! Contents that travel compressed.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use devbox_guest::ContentCoding;
use devbox_types::{Algorithms, DigestHasher, Digests};
use http::{Method, Request};

use crate::fake::FakeGuest;
use crate::serving::ask;

const BOTH: [ContentCoding; 2] = ContentCoding::ALL;

fn with(method: Method, target: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(method).uri(target);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(body.into()).expect("a request")
}

async fn coded(coding: ContentCoding, content: &[u8]) -> Vec<u8> {
    let body = devbox_guest::Body::from_bytes(content.to_vec());
    coding.encode(body).collect(1 << 24).await.expect("it is encoded").to_vec()
}

async fn decoded(coding: ContentCoding, bytes: Vec<u8>) -> Vec<u8> {
    let body = devbox_guest::Body::from_bytes(bytes);
    coding.decode(body, Digests::default()).collect(1 << 24).await.expect("it is coded").to_vec()
}

fn sha_256(bytes: &[u8]) -> String {
    let digest = DigestHasher::digest(Algorithms::SHA_256, bytes).sha256.expect("a digest");
    format!("sha-256=:{}:", BASE64.encode(digest))
}

#[tokio::test]
async fn what_is_sent_compressed_is_stored_as_it_is() {
    let content = b"all work and no play ".repeat(20_000);
    for coding in BOTH {
        let guest = FakeGuest::with(&[("/file", b"old")]);
        let sent = coded(coding, &content).await;
        assert!(sent.len() < content.len() / 10);
        let headers = [
            ("content-encoding", coding.as_str()),
            ("repr-digest", &sha_256(&sent)),
            ("devbox-content-digest", &sha_256(&content)),
        ];
        let answer = ask(guest.clone(), with(Method::PUT, "/v1/files/file", &headers, sent)).await;
        assert_eq!((answer.status(), &answer.json()["entry"]["size_bytes"]), (200, &content.len().into()));
        let stored = ask(guest, with(Method::GET, "/v1/files/file", &[], "")).await;
        assert_eq!(stored.body, content, "{coding:?}");
    }
}

#[tokio::test]
async fn what_is_broken_or_has_another_digest_is_never_stored() {
    let content = b"all work and no play ".repeat(20_000);
    for coding in BOTH {
        let sent = coded(coding, &content).await;
        let of_sent = sha_256(&sent);
        let of_stored = sha_256(&content);
        let cut = sent[..sent.len() - 1].to_vec();
        let long = [&sent[..], b"and more"].concat();
        let refused: [(Vec<u8>, &str, &str, &str); 6] = [
            (cut, "x-request-id", "1", "invalid_request"),
            (long, "x-request-id", "1", "invalid_request"),
            (content.clone(), "x-request-id", "1", "invalid_request"),
            (sent.clone(), "repr-digest", &of_stored, "digest_mismatch"),
            (sent.clone(), "content-digest", &of_stored, "digest_mismatch"),
            (sent.clone(), "devbox-content-digest", &of_sent, "digest_mismatch"),
        ];
        for (body, name, value, code) in refused {
            let guest = FakeGuest::with(&[("/file", b"old")]);
            let headers = [("content-encoding", coding.as_str()), (name, value)];
            let answer = ask(guest.clone(), with(Method::PUT, "/v1/files/file", &headers, body)).await;
            assert_eq!(answer.code(), code, "{coding:?} {name}");
            let stored = ask(guest, with(Method::GET, "/v1/files/file", &[], "")).await;
            assert_eq!(stored.body, b"old", "{coding:?} {name}");
        }
    }
}

#[tokio::test]
async fn codings_that_are_not_known_or_have_no_place_are_refused() {
    for value in ["br", "gzip, zstd", "gzip, gzip", "deflate"] {
        let guest = FakeGuest::with(&[]);
        let put = with(Method::PUT, "/v1/files/file", &[("content-encoding", value)], "x");
        let answer = ask(guest.clone(), put).await;
        assert_eq!((answer.status(), answer.code().as_str()), (415, "unsupported_coding"), "{value}");
        assert_eq!(answer.header("accept-encoding"), "gzip, zstd", "{value}");
        assert!(guest.seen().writes.is_empty());
    }
    for (method, target) in [
        (Method::POST, "/v1/entries"),
        (Method::POST, "/v1/files"),
        (Method::PUT, "/v1/archive/a?format=tar"),
        (Method::POST, "/v1/archive"),
        (Method::POST, "/v1/processes"),
    ] {
        let headers = [("content-encoding", "gzip"), ("content-type", "multipart/form-data; boundary=B")];
        let answer = ask(FakeGuest::with(&[]), with(method, target, &headers, "x")).await;
        assert_eq!((answer.status(), answer.code().as_str()), (415, "unsupported_coding"), "{target}");
        assert_eq!(answer.header("accept-encoding"), "identity", "{target}");
    }
    let plain = with(Method::PUT, "/v1/files/file", &[("content-encoding", "identity")], "x");
    assert_eq!(ask(FakeGuest::with(&[]), plain).await.status(), 201);
}

#[tokio::test]
async fn a_reader_gets_the_coding_that_he_takes() {
    let content = b"all work and no play ".repeat(20_000);
    let guest = FakeGuest::with(&[("/file", &content), ("/short", b"short")]);
    for coding in BOTH {
        let headers = [("accept-encoding", coding.as_str()), ("want-repr-digest", "sha-256=1")];
        let answer = ask(guest.clone(), with(Method::GET, "/v1/files/file", &headers, "")).await;
        let head = ask(guest.clone(), with(Method::HEAD, "/v1/files/file", &headers, "")).await;
        for answer in [&answer, &head] {
            assert_eq!(answer.status(), 200);
            for (name, value) in [
                ("content-encoding", coding.as_str()),
                ("content-length", ""),
                ("vary", "accept-encoding"),
                ("etag", &format!("\"1-7-{:x}+{}\"", content.len(), coding.as_str())),
                ("devbox-content-digest", &sha_256(&content)),
                ("repr-digest", ""),
            ] {
                assert_eq!(answer.header(name), value, "{name}");
            }
        }
        assert!(answer.body.len() < content.len() / 10 && head.body.is_empty());
        assert_eq!(decoded(coding, answer.body).await, content);
    }
    for (target, headers) in [
        ("/v1/files/file", &[][..]),
        ("/v1/files/file", &[("accept-encoding", "gzip;q=0, br")][..]),
        ("/v1/files/short", &[("accept-encoding", "gzip")][..]),
    ] {
        let answer = ask(guest.clone(), with(Method::GET, target, headers, "")).await;
        assert_eq!((answer.header("content-encoding"), answer.header("vary")), ("", "accept-encoding"));
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    }
    let range = [("accept-encoding", "gzip"), ("range", "bytes=4-7")];
    let answer = ask(guest, with(Method::GET, "/v1/files/file", &range, "")).await;
    assert_eq!(
        (answer.status(), &answer.body[..], answer.header("content-encoding")),
        (206, &b"work"[..], "")
    );
}

#[tokio::test]
async fn the_tag_of_a_coding_stands_for_its_version_and_for_nothing_else() {
    let content = b"all work and no play ".repeat(200);
    let guest = FakeGuest::with(&[("/file", &content)]);
    let get = |headers: &[(&str, &str)]| with(Method::GET, "/v1/files/file", headers, "");
    let tag = ask(guest.clone(), get(&[("accept-encoding", "gzip")])).await.header("etag").to_owned();
    let plain = ask(guest.clone(), get(&[])).await.header("etag").to_owned();
    assert_ne!(tag, plain);
    // It is known under this coding, and under no other.
    let known = ask(guest.clone(), get(&[("accept-encoding", "gzip"), ("if-none-match", &tag)])).await;
    assert_eq!((known.status(), known.header("etag")), (304, &tag[..]));
    let known = ask(guest.clone(), get(&[("accept-encoding", "gzip"), ("if-none-match", &plain)])).await;
    assert_eq!((known.status(), known.header("etag")), (304, &plain[..]));
    for accepted in ["zstd", "identity"] {
        let other = ask(guest.clone(), get(&[("accept-encoding", accepted), ("if-none-match", &tag)])).await;
        assert_eq!(other.status(), 200, "{accepted}");
    }
    // A range is of the file itself, so a part of a compressed content cannot be gone on with.
    let range = [("accept-encoding", "gzip"), ("range", "bytes=4-7"), ("if-range", &tag[..])];
    assert_ne!(ask(guest.clone(), get(&range)).await.body, b"work");
    // A writer names the version that he read, however it came to him.
    let write = with(Method::PUT, "/v1/files/file", &[("if-match", &tag)], "new");
    assert_eq!(ask(guest.clone(), write).await.status(), 200);
    let stale = with(Method::PUT, "/v1/files/file", &[("if-match", &tag)], "newer");
    assert_eq!(ask(guest, stale).await.status(), 412);
}
