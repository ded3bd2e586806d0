//! What HTTP says of digests.

use axum::body::Body;
use http::{Method, Request};

use crate::fake::FakeGuest;
use crate::serving::ask;

const SHA_256: &str = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
const MD5: &str = "kAFQmDzST7DWlj99KOF/cg==";
const SHA_512: &str =
    "sha-512=:3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==:";

fn with(method: Method, target: &str, headers: &[(&str, &str)], body: &'static str) -> Request<Body> {
    let request = Request::builder().method(method).uri(target);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Body::from(body)).expect("a request")
}

#[tokio::test]
async fn every_header_that_announces_a_digest_is_checked() {
    let md5 = format!("md5=:{MD5}:");
    let announced = [
        ("repr-digest", SHA_256),
        ("content-digest", SHA_512),
        ("repr-digest", &md5),
        ("content-md5", MD5),
        ("devbox-content-digest", SHA_256),
        ("repr-digest", &format!("crc32c=:AAAAAA==:, {SHA_512}")),
    ];
    for (name, value) in announced {
        let guest = FakeGuest::with(&[("/file", b"old")]);
        let put = |body| with(Method::PUT, "/v1/files/file", &[(name, value)], body);
        let wrong = ask(guest.clone(), put("abd")).await;
        assert_eq!((wrong.status(), wrong.code().as_str()), (422, "digest_mismatch"), "{name}: {value}");
        assert_eq!(ask(guest.clone(), put("abc")).await.status(), 200, "{name}: {value}");
    }
}

#[tokio::test]
async fn contradictions_and_what_cannot_be_checked_are_refused() {
    let other = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
    type Refused<'t> = (&'t [(&'t str, &'t str)], u16, &'t str);
    let refused: [Refused<'_>; 6] = [
        (&[("repr-digest", SHA_256), ("content-digest", other)], 400, "invalid_request"),
        (&[("repr-digest", SHA_256), ("devbox-content-digest", other)], 400, "invalid_request"),
        (&[("content-md5", MD5), ("repr-digest", "md5=:AAAAAAAAAAAAAAAAAAAAAA==:")], 400, "invalid_request"),
        (&[("content-md5", "900150983cd24fb0d6963f7d28e17f72")], 400, "invalid_request"),
        (&[("repr-digest", "crc32c=:AAAAAA==:")], 501, "unsupported"),
        (&[("devbox-content-digest", "id-sha-256=:AAAA:")], 501, "unsupported"),
    ];
    for (headers, status, code) in refused {
        let guest = FakeGuest::with(&[]);
        let answer = ask(guest.clone(), with(Method::PUT, "/v1/files/file", headers, "abc")).await;
        assert_eq!((answer.status(), answer.code().as_str()), (status, code), "{headers:?}");
        assert!(guest.seen().writes.is_empty());
    }
    // Beside a digest that is known, one that is not may stand.
    let both = [("repr-digest", "crc32c=:AAAAAA==:"), ("content-md5", MD5)];
    let answer = ask(FakeGuest::with(&[]), with(Method::PUT, "/v1/files/file", &both, "abc")).await;
    assert_eq!(answer.status(), 201);
}

#[tokio::test]
async fn the_digest_of_the_whole_is_told_to_who_wants_it() {
    let guest = FakeGuest::with(&[("/file", b"abc")]);
    let get = |method, headers: &[(&str, &str)]| with(method, "/v1/files/file", headers, "");
    let wants =
        [("sha-256=1", SHA_256), ("md5=1, sha-512=3", SHA_512), ("sha-512=0, blake3=10, sha-256=1", SHA_256)];
    for (wish, digest) in wants {
        for method in [Method::GET, Method::HEAD] {
            let answer = ask(guest.clone(), get(method, &[("want-repr-digest", wish)])).await;
            assert_eq!((answer.status(), answer.header("repr-digest")), (200, digest), "{wish}");
            assert_eq!(answer.header("devbox-content-digest"), digest);
            assert_eq!(answer.header("content-digest"), "", "only who wants it gets it");
        }
        let range = [("want-repr-digest", wish), ("range", "bytes=1-1")];
        let answer = ask(guest.clone(), get(Method::GET, &range)).await;
        assert_eq!((answer.status(), answer.header("repr-digest")), (206, digest), "{wish}");
    }
    let content = ask(guest.clone(), get(Method::GET, &[("want-content-digest", "sha-256=1")])).await;
    assert_eq!(content.header("content-digest"), SHA_256);
    let range = [("want-content-digest", "sha-256=1"), ("range", "bytes=1-1")];
    let range = ask(guest.clone(), get(Method::GET, &range)).await;
    assert_eq!((range.header("content-digest"), range.header("repr-digest")), ("", SHA_256));
    for nothing in ["sha-256=0", "unixsum=10"] {
        let answer = ask(guest.clone(), get(Method::GET, &[("want-repr-digest", nothing)])).await;
        assert_eq!((answer.status(), answer.header("repr-digest")), (200, ""), "{nothing}");
    }
    let malformed = ask(guest, get(Method::GET, &[("want-repr-digest", "sha-256=11")])).await;
    assert_eq!((malformed.status(), malformed.code().as_str()), (400, "invalid_request"));
}

#[tokio::test]
async fn the_piece_of_an_upload_has_its_own_checksum_header() {
    for name in ["content-digest", "content-md5"] {
        let headers = [
            ("tus-resumable", "1.0.0"),
            ("upload-length", "3"),
            ("upload-metadata", "path L2E="),
            (name, if name == "content-md5" { MD5 } else { SHA_256 }),
        ];
        let answer = ask(FakeGuest::with(&[]), with(Method::POST, "/v1/uploads", &headers, "")).await;
        assert_eq!((answer.status(), answer.code().as_str()), (501, "unsupported"), "{name}");
    }
}
