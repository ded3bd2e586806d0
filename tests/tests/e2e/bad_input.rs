//! What is wrong gets its own status and code, and changes nothing.

use anyhow::Result;
use devbox_tests::bed::{Bed, code_of, shell};
use devbox_tests::http::{self, Answer};
use devbox_types::{BoxId, ErrorCode};

/// Sends a request with the right key.
fn send(bed: &Bed, request: &str, body: &str) -> Result<Answer> {
    let authorization = format!("Bearer {}", bed.server.key());
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    http::send(bed.server.address(), request, &headers, body.as_bytes())
}

/// Sends each request and compares status and code; a problem is a whole one.
fn expect(bed: &Bed, table: &[(&str, &str, u16, &str)]) -> Result<()> {
    let mut wrong = Vec::new();
    for (request, body, status, code) in table {
        let answer = send(bed, request, body)?;
        let problem = answer.json().unwrap_or_default();
        let found = problem["code"].as_str().unwrap_or_default();
        let whole = answer.header("content-type") == Some("application/problem+json")
            && problem["status"] == answer.status
            && problem["request_id"].as_str() == answer.header("x-request-id")
            && !problem["detail"].as_str().unwrap_or_default().is_empty();
        if (answer.status, found, whole) != (*status, *code, true) {
            let short: String = request.chars().take(120).collect();
            wrong.push(format!("{short}: wanted {status} {code}, got {}", answer.text));
        }
    }
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), table.len(), wrong.join("\n\n"));
    Ok(())
}

#[tokio::test]
async fn a_bad_path_is_400_before_any_file_is_touched() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let at = |rest: &str| format!("/v1/devboxes/{}/{rest}", sandbox.id());
    let long_name = "n".repeat(256);
    let long_path = "d/".repeat(2100);
    let paths = [
        ("workspace/../etc/passwd", "invalid_path"),
        ("workspace/%2e%2e/etc/passwd", "invalid_path"),
        ("workspace/.%2E/etc/passwd", "invalid_path"),
        ("workspace/a%00b", "invalid_path"),
        ("workspace/a%zz", "invalid_path"),
        ("workspace/a%2", "invalid_path"),
        ("workspace/a%2Fb", "invalid_path"),
        (long_name.as_str(), "name_too_long"),
        (long_path.as_str(), "name_too_long"),
    ];
    for (path, code) in paths {
        for (verb, place) in [("GET", "files"), ("PUT", "files"), ("DELETE", "files"), ("GET", "entries")] {
            let request = format!("{verb} {}", at(&format!("{place}/{path}")));
            expect(&bed, &[(&request, "", 400, code)])?;
        }
    }
    let entries = format!("POST {}", at("entries"));
    let operation = |path: &str| format!(r#"{{"operations":[{{"op":"mkdir","path":"{path}"}}]}}"#);
    for path in ["/workspace/../x", r"/workspace/a\u0000b", &long_name] {
        let answer = send(&bed, &entries, &operation(path))?;
        assert_eq!(answer.status, 400, "{}", answer.text);
    }
    assert_eq!(shell(&sandbox, "ls -A /workspace").await?.stdout, "");
    Ok(())
}

#[tokio::test]
async fn a_box_that_is_not_the_callers_is_404() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    sandbox.write("secret", "x").await?;
    let unknown = BoxId::from_random([7; 10]);
    for id in [unknown.as_str(), "not-an-id", "%2e%2e"] {
        let table = [
            (format!("GET /v1/devboxes/{id}"), ""),
            (format!("DELETE /v1/devboxes/{id}"), ""),
            (format!("POST /v1/devboxes/{id}/start"), ""),
            (format!("POST /v1/devboxes/{id}/stop"), ""),
            (format!("GET /v1/devboxes/{id}/files/etc/passwd"), ""),
            (format!("POST /v1/devboxes/{id}/processes"), r#"{"argv":["true"]}"#),
        ];
        for (request, body) in &table {
            expect(&bed, &[(request, body, 404, "devbox_not_found")])?;
        }
    }
    let stranger = bed.stranger().await?;
    let id = sandbox.id();
    assert_eq!(code_of(stranger.get(id.as_str()).await), ErrorCode::DevboxNotFound);
    assert_eq!(code_of(stranger.stop(id).await), ErrorCode::DevboxNotFound);
    assert_eq!(code_of(stranger.delete(id).await), ErrorCode::DevboxNotFound);
    let foreign = devbox_client::Sandbox::new(stranger.clone(), sandbox.devbox().clone())?;
    assert_eq!(code_of(foreign.read("secret").await), ErrorCode::DevboxNotFound);
    assert_eq!(code_of(foreign.write("secret", "y").await), ErrorCode::DevboxNotFound);
    assert_eq!(code_of(shell(&foreign, "true").await), ErrorCode::DevboxNotFound);
    assert!(stranger.list_all(devbox_client::ListQuery::default()).await?.is_empty());
    assert_eq!(sandbox.read("secret").await?, "x");
    Ok(())
}

#[tokio::test]
async fn no_key_or_a_wrong_one_is_401() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let key = bed.server.key().to_owned();
    let mut almost = key.clone();
    almost.pop();
    let wrong = [
        None,
        Some("Bearer wrong".to_owned()),
        Some(format!("Bearer {almost}")),
        Some(format!("Bearer {key}x")),
        Some(format!("Basic {key}")),
        Some("Bearer".to_owned()),
    ];
    for authorization in wrong {
        for target in ["GET /v1/devboxes", &format!("GET /v1/devboxes/{}/files/etc/passwd", sandbox.id())] {
            let headers: Vec<_> =
                authorization.iter().map(|value| ("Authorization", value.as_str())).collect();
            let answer = http::send(bed.server.address(), target, &headers, b"")?;
            assert_eq!((answer.status, answer.code()?.as_str()), (401, "unauthorized"), "{authorization:?}");
            assert!(answer.header("www-authenticate").is_some(), "RFC 9110 section 15.5.2: {}", answer.text);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_file_where_a_directory_is_meant_is_409_and_the_reverse() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    sandbox.upload_files([("file", "x"), ("dir/inner", "x")]).await?;
    shell(&sandbox, "mkfifo fifo; ln -s loop loop; ln -s nowhere dangling").await?;
    let at = |rest: &str| format!("/v1/devboxes/{}/{rest}", sandbox.id());
    let request = |verb: &str, rest: &str| format!("{verb} {}", at(rest));
    expect(
        &bed,
        &[
            (&request("GET", "files/workspace/dir"), "", 409, "is_a_directory"),
            (&request("PUT", "files/workspace/dir"), "x", 409, "is_a_directory"),
            (&request("PUT", "files/workspace/file/"), "x", 409, "not_a_directory"),
            (&request("GET", "files/workspace/file/x"), "", 409, "not_a_directory"),
            (&request("PUT", "files/workspace/file/x"), "x", 409, "not_a_directory"),
            (&request("GET", "entries/workspace/file?depth=1"), "", 409, "not_a_directory"),
            (&request("DELETE", "files/workspace/dir"), "", 409, "directory_not_empty"),
            (&request("GET", "files/workspace/fifo"), "", 409, "not_a_regular_file"),
            (&request("PUT", "files/workspace/fifo"), "x", 409, "not_a_regular_file"),
            (&request("GET", "files/dev/null"), "", 409, "not_a_regular_file"),
            (&request("GET", "files/workspace/loop"), "", 409, "symlink_loop"),
            (&request("GET", "files/workspace/dangling"), "", 404, "not_found"),
            (&request("GET", "files/workspace/missing"), "", 404, "not_found"),
            (&request("DELETE", "files/workspace/missing"), "", 404, "not_found"),
            (&request("GET", "entries/workspace/missing"), "", 404, "not_found"),
            (&request("PUT", "files/etc/new"), "x", 403, "permission_denied"),
            (&request("GET", "files/etc/shadow?user=1000"), "", 403, "permission_denied"),
        ],
    )?;
    assert_eq!(sandbox.read("file").await?, "x");
    Ok(())
}

#[tokio::test]
async fn a_malformed_request_says_what_is_wrong() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let inside = |verb: &str, rest: &str| format!("{verb} /v1/devboxes/{}/{rest}", sandbox.id());
    expect(
        &bed,
        &[
            ("POST /v1/devboxes", "{", 400, "invalid_request"),
            ("POST /v1/devboxes", r#"{"colour":"green"}"#, 400, "invalid_request"),
            ("POST /v1/devboxes", r#"{"name":"No Name"}"#, 400, "invalid_request"),
            ("POST /v1/devboxes", r#"{"resources":{"memory_bytes":1}}"#, 400, "invalid_request"),
            ("POST /v1/devboxes", r#"{"runtime":"python:9.9"}"#, 404, "runtime_not_found"),
            ("POST /v1/devboxes", r#"{"language":"cobol"}"#, 404, "runtime_not_found"),
            ("POST /v1/devboxes", r#"{"template":"none"}"#, 404, "runtime_not_found"),
            ("GET /v1/devboxes?limit=0", "", 400, "invalid_request"),
            ("GET /v1/devboxes?cursor=!", "", 400, "invalid_request"),
            ("GET /v1/nothing", "", 404, "not_found"),
            ("PUT /v1/devboxes", "{}", 405, "method_not_allowed"),
            (&inside("POST", "processes"), r#"{"argv":[]}"#, 400, "invalid_request"),
            (&inside("POST", "processes"), r#"{"argv":["a\u0000b"]}"#, 400, "invalid_request"),
            (&inside("POST", "processes/999999/signal"), r#"{"signal":9}"#, 404, "process_not_found"),
            (&inside("POST", "processes/1/signal"), r#"{"signal":65}"#, 400, "invalid_request"),
            (&inside("POST", "entries"), r#"{"operations":[{"op":"explode"}]}"#, 400, "invalid_request"),
            (&inside("PUT", "files/workspace/f?mode=9"), "x", 400, "invalid_request"),
            (&inside("PUT", "files/workspace/f?user=a:b"), "x", 400, "invalid_request"),
            (&inside("GET", "entries/workspace?depth=0"), "", 400, "invalid_request"),
            (&inside("POST", "archive"), r#"{"paths":[{"path":"/workspace/missing"}]}"#, 404, "not_found"),
        ],
    )?;
    assert_eq!(bed.client.list_all(devbox_client::ListQuery::default()).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_wrong_digest_leaves_the_old_file() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    sandbox.write("file", "old").await?;
    let authorization = format!("Bearer {}", bed.server.key());
    let zeros = format!("sha-256=:{}=:", "A".repeat(43));
    let target = format!("PUT /v1/devboxes/{}/files/workspace/file", sandbox.id());
    let headers = [("Authorization", authorization.as_str()), ("Repr-Digest", zeros.as_str())];
    let answer = http::send(bed.server.address(), &target, &headers, b"new")?;
    assert_eq!((answer.status, answer.code()?.as_str()), (422, "digest_mismatch"));
    assert_eq!(sandbox.read("file").await?, "old");
    assert_eq!(shell(&sandbox, "ls -A").await?.stdout, "file\n");
    Ok(())
}
