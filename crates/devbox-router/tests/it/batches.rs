//! Multipart as people and other clients write it.

use axum::body::Body;
use bytes::Bytes;
use devbox_types::WriteCondition;
use futures_util::stream;
use http::Request;

use crate::fake::FakeGuest;
use crate::serving::{Answer, ask};

async fn post(
    guest: std::sync::Arc<FakeGuest>,
    target: &str,
    boundary: &str,
    body: impl Into<Body>,
) -> Answer {
    let request = Request::post(target)
        .header("content-type", format!("multipart/form-data; boundary={boundary}"))
        .body(body.into())
        .expect("a request");
    ask(guest, request).await
}

const BATCH: &str = "preamble\r\n--B\r\n\
    Content-Disposition: form-data; name=\"/a/plain name\"; filename=\"x\"\r\n\
    Content-Type: text/plain\r\n\
    \r\n\
    first\r\nline --B\r\n--\r\n--B \t\r\n\
    content-disposition: FORM-DATA; filename=x; name=/b/%2541\r\n\
    devbox-mode: 0755\r\n\
    devbox-modified: 2001-09-09T01:46:40Z\r\n\
    if-none-match: *\r\n\
    \r\n\
    \r\n--B\r\n\
    Content-Disposition: form-data; name=\"\u{fc}\\\"q\\\"\"\r\n\
    \r\n\
    \r\n--B--\r\nepilogue";

#[tokio::test]
async fn a_form_of_any_client_is_a_batch() {
    // However the bytes are cut, the batch is the same.
    for piece in [1, 2, 3, 7, 64, BATCH.len()] {
        let guest = FakeGuest::with(&[]);
        let chunks: Vec<_> =
            BATCH.as_bytes().chunks(piece).map(Bytes::copy_from_slice).map(Ok::<_, std::io::Error>).collect();
        let body = Body::from_stream(stream::iter(chunks));
        let answer = post(guest.clone(), "/v1/files?parents=true", "B", body).await;
        assert_eq!(answer.status(), 200, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.json()["entries"], 3);
        assert_eq!(guest.get(b"a/plain name").as_deref(), Some(&b"first\r\nline --B\r\n--"[..]));
        assert_eq!(guest.get(b"b/%41").as_deref(), Some(&b""[..]));
        assert_eq!(guest.get("ü\"q\"".as_bytes()).as_deref(), Some(&b""[..]));
        let seen = guest.seen();
        assert!(seen.writes.iter().all(|write| write.make_parents));
        assert_eq!((seen.writes[1].mode, &seen.writes[1].condition), (Some(0o755), &WriteCondition::Absent));
    }
}

#[tokio::test]
async fn a_part_that_nobody_reads_is_skipped() {
    let guest = FakeGuest::with(&[]);
    let content = "x".repeat(200_000);
    let part =
        |name: &str| format!("--B\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n");
    let body = format!("{}{}--B--", part("/skipped"), part("/read"));
    let chunks: Vec<_> =
        body.into_bytes().chunks(1000).map(Bytes::copy_from_slice).map(Ok::<_, std::io::Error>).collect();
    let answer = post(guest.clone(), "/v1/files", "B", Body::from_stream(stream::iter(chunks))).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(guest.get(b"read").map(|content| content.len()), Some(200_000));
}

#[tokio::test]
async fn malformed_forms_are_refused_and_change_nothing() {
    let good = "--B\r\ncontent-disposition: form-data; name=\"/good\"\r\n\r\nx\r\n";
    let endless = format!("--B\r\nx: {}", "y".repeat(40_000));
    let many_lines = format!("--B\r\n{}\r\n", "x: y\r\n".repeat(40));
    for (bad, code) in [
        ("", "interrupted"),
        ("--B", "interrupted"),
        ("--B\r\n\r\nno name\r\n--B--", "invalid_request"),
        ("--B\r\ncontent-disposition: form-data\r\n\r\n\r\n--B--", "invalid_request"),
        ("--B\r\ncontent-disposition: attachment; name=x\r\n\r\n\r\n--B--", "invalid_request"),
        ("--B\r\ncontent-disposition: form-data; name=\"/a/../b\"\r\n\r\n\r\n--B--", "invalid_path"),
        ("--B\r\ncontent-disposition: form-data; name=\"/a%2Fb\"\r\n\r\n\r\n--B--", "invalid_path"),
        ("--B\r\ncontent-disposition: form-data; name=\"open\r\n\r\n\r\n--B--", "invalid_request"),
        (
            "--B\r\ncontent-disposition: form-data; name=x\r\ndevbox-mode: 9\r\n\r\n\r\n--B--",
            "invalid_request",
        ),
        (
            "--B\r\ncontent-disposition: form-data; name=x\r\ncontent-length: 5\r\n\r\nx\r\n--B--",
            "interrupted",
        ),
        ("--B\r\ncontent-disposition: form-data; name=x\r\n\r\ncut off", "interrupted"),
        ("--Bogus\r\ncontent-disposition: form-data; name=x\r\n\r\n\r\n--B--", "invalid_request"),
        ("--B\r\nno colon\r\n\r\n\r\n--B--", "invalid_request"),
        (&endless, "invalid_request"),
        (&many_lines, "invalid_request"),
    ] {
        let guest = FakeGuest::with(&[]);
        let answer = post(guest.clone(), "/v1/files", "B", format!("{good}{bad}")).await;
        assert_eq!(answer.code(), code, "{bad:.100}");
        assert_eq!(guest.get(b"good"), None, "{bad:.100}");
    }
    let junk = "x".repeat(100_000);
    assert_eq!(post(FakeGuest::with(&[]), "/v1/files", "B", junk).await.code(), "invalid_request");
    assert_eq!(post(FakeGuest::with(&[]), "/v1/files", &"B".repeat(71), "").await.code(), "invalid_request");
}

#[tokio::test]
async fn ten_thousand_files_are_a_batch_and_one_more_is_not() {
    let batch = |count: usize| {
        let part =
            |number| format!("--B\r\ncontent-disposition: form-data; name=\"/{number}\"\r\n\r\n{number}\r\n");
        format!("{}--B--", (0..count).map(part).collect::<String>())
    };
    let guest = FakeGuest::with(&[]);
    let answer = post(guest.clone(), "/v1/files", "B", batch(10_000)).await;
    assert_eq!(answer.json()["entries"], 10_000);
    assert_eq!(guest.get(b"9999").as_deref(), Some(&b"9999"[..]));
    assert_eq!(post(guest, "/v1/files", "B", batch(10_001)).await.code(), "too_large");
}
