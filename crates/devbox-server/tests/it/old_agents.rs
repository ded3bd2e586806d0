//! Boxes whose agent is older than the server.

use std::sync::Arc;

use devbox_backend::memory::MemoryGuest;
use devbox_server::ServerConfig;
use devbox_types::agent::Feature;
use serde_json::Value;

use crate::house::{House, memory_backend_of};
use crate::wire::Answer;

/// A server with a box, whose agent knows no more than the first one did; the agent would do, if it were asked, all that
/// is refused here.
async fn house() -> (House, String) {
    let oldest = || MemoryGuest::without(Feature::ALL.to_vec());
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let house = House::open(ServerConfig::default(), memory_backend_of(oldest), directory).await;
    let id = house.make().await;
    let written = house.send(&house.key, "PUT", &format!("/v1/devboxes/{id}/files/a"), &[], vec![7; 5]).await;
    assert_eq!(written.status, 201, "{written:?}");
    (house, id)
}

fn assert_too_old(answer: &Answer, feature: Feature) {
    let code = answer.code();
    assert_eq!((answer.status, code.as_str()), (501, "unsupported"), "{answer:?}");
    let (problem, name) = (answer.json(), format!("`{}`", feature.as_str()));
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(&name)), "{problem}");
    assert_eq!(problem["hint"], "restart the box: it gets this server's agent");
}

/// Of "hello": an agent that knows SHA-256 only would check the first, and pass over the second.
const SHA512: (&str, &str) = (
    "repr-digest",
    "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:, sha-512=:m3HSJL1i83hdltRq0+o9czGb+8KJDKra4t/3JRlnPKcjI8PZm6XBHXx6zG4UuMXaDEZjR1wuXDre9G9zvN7AQw==:",
);

/// What is missing, and the method, target, headers and content of a call that needs it.
type Case<'a> = (Feature, &'a str, String, &'a [(&'a str, &'a str)], &'a str);

#[tokio::test]
async fn what_an_old_agent_lacks_is_refused_uniformly() {
    let (house, id) = house().await;
    let base = format!("/v1/devboxes/{id}");
    let (json, form) =
        (("content-type", "application/json"), ("content-type", "multipart/form-data; boundary=b"));
    let (tus, length) = (("tus-resumable", "1.0.0"), ("upload-length", "5"));
    let target = ("upload-metadata", "path L2I=");
    let piece = ("content-type", "application/offset+octet-stream");
    let (key, md5) = (("idempotency-key", "\"k-1\""), ("content-md5", "XUFAKrxLKna5cZ2REBfFkg=="));
    let upload = format!("{base}/uploads/aaaaaaaaaaaaaaaa");
    let delete = r#"{"operations":[{"op":"delete","path":"/a"}]}"#;
    let set = r#"{"operations":[{"op":"set_metadata","path":"/a","set":{"mode":384}}]}"#;
    let write = r#"{"operations":[{"op":"write","path":"/b","content":"x"}]}"#;
    let part = "--b\r\nContent-Disposition: form-data; name=\"/b\"; filename=\"b\"\r\n\r\nx\r\n--b--\r\n";
    let with_md5 = part.replace("\r\n\r\nx", "\r\nContent-MD5: XUFAKrxLKna5cZ2REBfFkg==\r\n\r\nx");
    let cases: &[Case<'_>] = &[
        (Feature::Digests, "PUT", format!("{base}/files/b"), &[SHA512], "other"),
        (Feature::Digests, "PUT", format!("{base}/files/b"), &[md5], "other"),
        (Feature::Digests, "POST", format!("{base}/files"), &[form], &with_md5),
        (Feature::IdempotencyKeys, "POST", format!("{base}/entries"), &[json, key], delete),
        (Feature::IdempotencyKeys, "POST", format!("{base}/files"), &[form, key], part),
        (
            Feature::IdempotencyKeys,
            "PUT",
            format!("{base}/archive/"),
            &[("content-type", "application/x-tar"), key],
            "",
        ),
        (Feature::Metadata, "POST", format!("{base}/entries"), &[json], set),
        (Feature::Metadata, "GET", format!("{base}/entries/a?xattrs=true"), &[], ""),
        (Feature::Patch, "PATCH", format!("{base}/files/a?append=true"), &[], "x"),
        (Feature::Patch, "PUT", format!("{base}/files/b?verify=true"), &[], "x"),
        (Feature::Patch, "PUT", format!("{base}/files/b?inplace=true"), &[], "x"),
        (Feature::Patch, "POST", format!("{base}/entries"), &[json], write),
        (Feature::Uploads, "POST", format!("{base}/uploads"), &[tus, length, target], ""),
        (Feature::Uploads, "PATCH", upload.clone(), &[tus, piece, ("upload-offset", "0")], "x"),
        (Feature::Uploads, "DELETE", upload, &[tus], ""),
    ];
    for (feature, method, target, headers, body) in cases {
        let answer = house.send(&house.key, method, target, headers, body.as_bytes().to_vec()).await;
        assert_too_old(&answer, *feature);
    }
    // Nothing was done, and each is in the audit.
    assert_eq!(house.call("GET", &format!("{base}/files/a"), Value::Null).await.body, vec![7; 5]);
    assert_eq!(house.call("GET", &format!("{base}/files/b"), Value::Null).await.code(), "not_found");
    let records = house.audit().await;
    let refused = records.iter().filter(|record| record["error"] == "unsupported").count();
    assert_eq!(refused, cases.len(), "{records:?}");
}

#[tokio::test]
async fn a_digest_that_an_old_agent_checks_is_taken() {
    let (house, id) = house().await;
    let target = format!("/v1/devboxes/{id}/files/b");
    let digest = [("repr-digest", "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:")];
    assert_eq!(house.send(&house.key, "PUT", &target, &digest, b"hello".to_vec()).await.status, 201);
    let other = house.send(&house.key, "PUT", &target, &digest, b"other".to_vec()).await;
    assert_eq!(other.code(), "digest_mismatch");
}

#[tokio::test]
async fn an_old_agent_takes_uploads_but_joins_no_parts() {
    let middle_aged = || MemoryGuest::without(vec![Feature::Concatenation]);
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let house = House::open(ServerConfig::default(), memory_backend_of(middle_aged), directory).await;
    let id = house.make().await;
    let headers = [("tus-resumable", "1.0.0"), ("upload-length", "5"), ("upload-concat", "partial")];
    let target = format!("/v1/devboxes/{id}/uploads");
    let part = house.send(&house.key, "POST", &target, &headers, Vec::new()).await;
    assert_too_old(&part, Feature::Concatenation);
}
