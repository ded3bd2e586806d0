//! What HTTP sees of single calls.

use std::sync::Arc;

use axum::body::Body;
use axum::{Extension, Router};
use devbox_guest::Guest;
use devbox_router::{GrantSource, GuestHandle, RequestIdLayer, guest_routes};
use devbox_types::{ActingUser, Grant, Right, Rights};
use http::{Method, Request};

use crate::fake::FakeGuest;
use crate::serving::{ask, ask_router, get};

fn request(method: Method, target: &str, body: &'static str) -> Request<Body> {
    Request::builder().method(method).uri(target).body(Body::from(body)).expect("a request")
}

#[tokio::test]
async fn a_file_comes_with_what_clients_need_to_know() {
    let guest = FakeGuest::with(&[("/a/file", b"0123456789")]);
    let answer = ask(guest, get("/v1/files/a/file")).await;
    assert_eq!((answer.status(), &answer.body[..]), (200, &b"0123456789"[..]));
    for (name, value) in [
        ("content-length", "10"),
        ("content-type", "application/octet-stream"),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox"),
        ("etag", "\"1-7-a\""),
        ("last-modified", "Sun, 09 Sep 2001 01:46:40 GMT"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    assert!(
        answer.header("devbox-entry").contains(r#""owner":"\u00fcser""#),
        "{}",
        answer.header("devbox-entry")
    );
    assert!(!answer.header("x-request-id").is_empty());
}

#[tokio::test]
async fn head_says_the_same_without_the_content() {
    let guest = FakeGuest::with(&[("/file", b"0123456789")]);
    let answer = ask(guest, request(Method::HEAD, "/v1/files/file", "")).await;
    assert_eq!((answer.status(), answer.header("content-length"), answer.body.len()), (200, "10", 0));
}

#[tokio::test]
async fn ranges_are_partial_or_unsatisfiable() {
    let guest = FakeGuest::with(&[("/file", b"0123456789")]);
    let ranged =
        |range| Request::get("/v1/files/file").header("range", range).body(Body::empty()).expect("a request");
    let answer = ask(guest.clone(), ranged("bytes=2-4")).await;
    assert_eq!((answer.status(), &answer.body[..]), (206, &b"234"[..]));
    assert_eq!(answer.header("content-range"), "bytes 2-4/10");
    let answer = ask(guest.clone(), ranged("bytes=10-")).await;
    assert_eq!((answer.status(), answer.code().as_str()), (416, "range_not_satisfiable"));
    assert_eq!(answer.header("content-range"), "bytes */10");
    assert_eq!(
        ask(guest, ranged("lines=1-2")).await.status(),
        200,
        "what is no range is ignored, as the RFC says"
    );
}

#[tokio::test]
async fn a_known_version_is_not_modified() {
    let guest = FakeGuest::with(&[("/file", b"0123456789")]);
    let known = Request::get("/v1/files/file").header("if-none-match", "\"x\", W/\"1-7-a\"");
    let answer = ask(guest, known.body(Body::empty()).expect("a request")).await;
    assert_eq!((answer.status(), answer.body.len()), (304, 0));
    assert_eq!(answer.header("etag"), "\"1-7-a\"");
}

#[tokio::test]
async fn paths_come_from_the_raw_target() {
    let guest = FakeGuest::with(&[]);
    for name in [&b"a/b"[..], b"[id].tsx", b"%2e%2e", b"line\nbreak", b"\xff", b"a?b", b"a+b"] {
        guest.put(name, name);
    }
    for (target, expected) in [
        ("/v1/files//a/./b", &b"a/b"[..]),
        ("/v1/files/[id].tsx", b"[id].tsx"),
        ("/v1/files/%5Bid%5D.tsx", b"[id].tsx"),
        ("/v1/files/%252e%252e", b"%2e%2e"),
        ("/v1/files/line%0Abreak", b"line\nbreak"),
        ("/v1/files/%FF", b"\xff"),
        ("/v1/files/a%3Fb", b"a?b"),
        ("/v1/files/a+b", b"a+b"),
    ] {
        let answer = ask(guest.clone(), get(target)).await;
        assert_eq!((answer.status(), &answer.body[..]), (200, expected), "{target}");
    }
    for (target, code) in [
        ("/v1/files/%2e%2e/x", "invalid_path"),
        ("/v1/files/../x", "invalid_path"),
        ("/v1/files/a%2Fb", "invalid_path"),
        ("/v1/files/%00", "invalid_path"),
        ("/v1/files/%zz", "invalid_path"),
        ("/v1/entries/%2e%2e", "invalid_path"),
        ("/v1/files/", "not_found"),
        ("/v1/entries", "not_found"),
    ] {
        assert_eq!(ask(guest.clone(), get(target)).await.code(), code, "{target}");
    }
    let long = format!("/v1/files/{}", "n".repeat(256));
    assert_eq!(ask(guest, get(&long)).await.code(), "name_too_long");
}

#[tokio::test]
async fn paths_are_the_same_under_a_longer_prefix() {
    let guest = FakeGuest::with(&[("/v1/devboxes/a b", b"content")]);
    let router = Router::new()
        .nest("/v1/devboxes/{id}", guest_routes(GrantSource::Extension))
        .layer(Extension(Grant::whole_box()))
        .layer(Extension(GuestHandle(guest.clone())))
        .layer(RequestIdLayer);
    for target in
        ["/v1/devboxes/x%20y/files/v1/devboxes/a%20b", "/v1/devboxes/x/files//v1//devboxes/a%20b?user="]
    {
        let answer = ask_router(router.clone(), get(target)).await;
        assert_eq!((answer.status(), &answer.body[..]), (200, &b"content"[..]), "{target}");
    }
}

#[tokio::test]
async fn a_write_says_what_it_made() {
    let guest = FakeGuest::with(&[]);
    let target = "/v1/files/a%20b?mode=0755&mtime=2001-09-09T01:46:40Z&parents=true&nofollow=1&sync";
    let answer = ask(guest.clone(), request(Method::PUT, target, "content")).await;
    assert_eq!((answer.status(), answer.header("etag")), (201, "\"1-7-7\""));
    assert_eq!(answer.json()["created"], true);
    assert_eq!(guest.get(b"a b").as_deref(), Some(&b"content"[..]));
    let seen = guest.seen().writes[0].clone();
    assert_eq!((seen.mode, seen.length), (Some(0o755), Some(7)));
    assert!(seen.make_parents && seen.nofollow && seen.modified.is_some());
    let again = ask(guest, request(Method::PUT, "/v1/files/a%20b", "new")).await;
    assert_eq!((again.status(), again.json()["created"].clone()), (200, false.into()));
}

#[tokio::test]
async fn malformed_requests_are_refused_before_the_guest_hears_of_them() {
    let guest = FakeGuest::with(&[("/file", b"old")]);
    let with = |name: &str, value: &str| {
        Request::put("/v1/files/file").header(name, value).body(Body::from("new")).expect("a request")
    };
    let target = |target: &str| request(Method::PUT, target, "new");
    for (request, code) in [
        (target("/v1/files/file?mode=999"), "invalid_request"),
        (target("/v1/files/file?mtime=yesterday"), "invalid_request"),
        (target("/v1/files/file?parent=true"), "invalid_request"),
        (target("/v1/files/file?user=a:b"), "invalid_request"),
        (with("if-match", "unquoted"), "invalid_request"),
        (with("if-none-match", "\"tag\""), "invalid_request"),
        (with("repr-digest", "sha-256=oops"), "invalid_request"),
        (with("content-digest", "sha-256=:AAAA:"), "invalid_request"),
        (with("content-digest", "crc32c=:AAAA:"), "unsupported"),
        (with("devbox-grant", "{}"), "invalid_request"),
        (with("devbox-grant", "\u{fc}"), "invalid_request"),
        (get("/v1/entries/file?depth=0"), "invalid_request"),
        (get("/v1/entries/file?depth=65"), "invalid_request"),
        (get("/v1/entries/file?depth=1&limit=1001"), "invalid_request"),
        (get("/v1/entries/file?depth=1&cursor=%21"), "invalid_request"),
        (get("/v1/entries/file?limit=5"), "invalid_request"),
        (request(Method::POST, "/v1/entries", "{"), "invalid_request"),
        (request(Method::POST, "/v1/entries", r#"{"operations":[{"op":"frobnicate"}]}"#), "invalid_request"),
        (request(Method::POST, "/v1/archive", r#"{"paths":[{"path":"/../x"}]}"#), "invalid_request"),
        (request(Method::POST, "/v1/processes/x/signal", r#"{"signal":9}"#), "invalid_request"),
        (request(Method::POST, "/v1/processes/1/signal", r#"{"signal":65}"#), "invalid_request"),
        (request(Method::POST, "/v1/files", "x"), "invalid_request"),
    ] {
        let shown = format!("{request:?}");
        assert_eq!(ask(guest.clone(), request).await.code(), code, "{shown}");
    }
    assert_eq!(guest.get(b"file").as_deref(), Some(&b"old"[..]));
    assert!(guest.seen().writes.is_empty());
}

#[tokio::test]
async fn what_does_not_exist_is_told_as_a_problem() {
    let guest = FakeGuest::with(&[]);
    for target in ["/", "/v1", "/v2/files/x", "/v1/nothing", "/v1/files/x/../../..", "/favicon.ico"] {
        let answer = ask(guest.clone(), get(target)).await;
        assert!(matches!(answer.status(), 404 | 400), "{target}");
        answer.code();
    }
    for (method, target, allowed) in [
        (Method::POST, "/v1/files/x", "GET"),
        (Method::PUT, "/v1/entries", "POST"),
        (Method::GET, "/v1/files", "POST"),
        (Method::DELETE, "/v1/agent", "GET"),
    ] {
        let answer = ask(guest.clone(), request(method, target, "")).await;
        assert_eq!((answer.status(), answer.code().as_str()), (405, "method_not_allowed"), "{target}");
        assert!(answer.header("allow").contains(allowed), "{target}: {}", answer.header("allow"));
    }
}

#[tokio::test]
async fn a_request_has_one_id_everywhere() {
    let guest = FakeGuest::with(&[("/file", b"x")]);
    let named = |id| {
        Request::get("/v1/files/file").header("x-request-id", id).body(Body::empty()).expect("a request")
    };
    let answer = ask(guest.clone(), named("mine-1")).await;
    assert_eq!(answer.header("x-request-id"), "mine-1");
    assert_eq!(
        guest.seen().grants[0].request_id.as_ref().map(|id| id.as_str().to_owned()).as_deref(),
        Some("mine-1")
    );
    let first = ask(guest.clone(), named("not an id")).await;
    let second = ask(guest, get("/v1/files/file")).await;
    assert_ne!(first.header("x-request-id"), "not an id");
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn the_user_parameter_needs_its_right() {
    let guest = FakeGuest::with(&[("/file", b"x")]);
    let ask_as = async |rights: Rights, target: &str| {
        let grant = Grant { rights, ..Grant::whole_box() };
        let header = serde_json::to_string(&grant).expect("json");
        let request =
            Request::get(target).header("devbox-grant", header).body(Body::empty()).expect("a request");
        ask(guest.clone(), request).await
    };
    assert_eq!(ask_as(Rights::all(), "/v1/files/file?user=root").await.status(), 200);
    let user = guest.seen().grants[0].user.clone();
    assert_eq!(user, ActingUser::Named("root".to_owned()));
    let reader = Rights::of(&[Right::Read]);
    assert_eq!(ask_as(reader, "/v1/files/file?user=").await.status(), 200);
    assert_eq!(ask_as(reader, "/v1/files/file?user=0").await.code(), "forbidden");
}

#[tokio::test]
async fn a_grant_in_a_header_means_nothing_where_the_server_makes_them() {
    let guest = FakeGuest::with(&[("/file", b"x")]);
    let granted = Grant { rights: Rights::of(&[Right::Read]), ..Grant::whole_box() };
    let router = guest_routes(GrantSource::Extension)
        .layer(Extension(granted.clone()))
        .layer(Extension(GuestHandle(guest.clone() as Arc<dyn Guest>)))
        .layer(RequestIdLayer);
    let all = serde_json::to_string(&Grant::whole_box()).expect("json");
    let request =
        Request::get("/files/file").header("devbox-grant", all).body(Body::empty()).expect("a request");
    assert_eq!(ask_router(router, request).await.status(), 200);
    assert_eq!(guest.seen().grants[0].rights, granted.rights);
}

#[tokio::test]
async fn json_is_bounded_and_parsed_whatever_it_is_called() {
    let guest = FakeGuest::with(&[]);
    let large = Request::post("/v1/entries").body(Body::from(vec![b' '; (8 << 20) + 1])).expect("a request");
    assert_eq!(ask(guest.clone(), large).await.code(), "too_large");
    let form = |body: &'static str| {
        let kind = "application/x-www-form-urlencoded";
        Request::post("/v1/entries").header("content-type", kind).body(Body::from(body)).expect("a request")
    };
    assert_eq!(ask(guest.clone(), form("a=b")).await.code(), "invalid_request");
    assert_eq!(ask(guest.clone(), form(r#"{"operations":[]}"#)).await.status(), 200);
    let one = r#"{"op":"mkdir","path":"/x"}"#;
    let many = format!(r#"{{"operations":[{}]}}"#, vec![one; 10_001].join(","));
    let many = Request::post("/v1/entries").body(Body::from(many)).expect("a request");
    assert_eq!(ask(guest.clone(), many).await.code(), "too_large");
    let deleted = ask(guest.clone(), request(Method::DELETE, "/v1/files/x?recursive=true", "")).await;
    assert_eq!((deleted.status(), deleted.body.len()), (204, 0));
    assert_eq!(guest.seen().operations.len(), 1);
}

#[tokio::test]
async fn a_walk_comes_line_by_line_and_its_end_may_be_a_problem() {
    let guest = FakeGuest::with(&[("/a", b"1"), ("/b", b"2")]);
    let walk = |target: &str| {
        Request::get(target).header("accept", "application/x-ndjson").body(Body::empty()).expect("a request")
    };
    let answer = ask(guest.clone(), walk("/v1/entries?depth=3")).await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    assert_eq!(answer.body.iter().filter(|byte| **byte == b'\n').count(), 2);
    let answer = ask(guest, walk("/v1/entries/breaks?depth=3")).await;
    let last = String::from_utf8(answer.body).expect("text");
    assert!(last.lines().last().expect("a line").contains(r#""code":"busy""#), "{last}");
}

fn patch(target: &str, range: Option<&str>, body: &'static str) -> Request<Body> {
    let mut request = request(Method::PATCH, target, body);
    if let Some(range) = range {
        request.headers_mut().insert("content-range", range.parse().expect("a value"));
    }
    request
}

#[tokio::test]
async fn a_patch_says_where_its_bytes_go() {
    use devbox_types::patch::{PatchPlace, PatchRequest};
    let guest = FakeGuest::with(&[("/file", b"0123456789")]);
    let path = devbox_types::BoxPath::parse(b"/file").expect("a path");
    let at = |place| PatchRequest { length: Some(3), ..PatchRequest::at(path.clone(), place) };
    let cases = [
        (patch("/v1/files/file", Some("bytes 2-4/*"), "abc"), at(PatchPlace::Offset(2))),
        (
            patch("/v1/files/file?truncate=9", Some("bytes 2-4/9"), "abc"),
            PatchRequest { size_after: Some(9), truncate: Some(9), ..at(PatchPlace::Offset(2)) },
        ),
        (patch("/v1/files/file?offset=7", None, "abc"), at(PatchPlace::Offset(7))),
        (
            patch("/v1/files/file?append&create&atomic&verify&nofollow&sync", None, "abc"),
            PatchRequest {
                create: true,
                atomic: true,
                verify: true,
                nofollow: true,
                durability: devbox_types::file::Durability::Power,
                ..at(PatchPlace::End)
            },
        ),
        (patch("/v1/files/file?truncate=5", None, ""), PatchRequest::truncation(path.clone(), 5)),
    ];
    for (request, expected) in cases {
        let answer = ask(guest.clone(), request).await;
        assert_eq!(answer.status(), 200, "{:?}", answer.body);
        assert!(!answer.header("etag").is_empty());
        assert_eq!(guest.seen().patches.pop().map(|(seen, _)| seen), Some(expected));
    }
}

#[tokio::test]
async fn a_patch_that_contradicts_itself_never_reaches_the_guest() {
    let guest = FakeGuest::with(&[("/file", b"0123456789")]);
    for (target, range, body) in [
        ("/v1/files/file", None, "abc"),
        ("/v1/files/file?truncate=3", None, "abc"),
        ("/v1/files/file", Some("bytes 0-3/*"), "abc"),
        ("/v1/files/file", Some("bytes 0-1/*"), "abc"),
        ("/v1/files/file", Some("bytes 0-2/2"), "abc"),
        ("/v1/files/file", Some("bytes 0-18446744073709551615/*"), "abc"),
        ("/v1/files/file", Some("bytes 3-1/*"), "abc"),
        ("/v1/files/file", Some("lines 0-2/*"), "abc"),
        ("/v1/files/file?append", Some("bytes 0-2/*"), "abc"),
        ("/v1/files/file?append&offset=1", None, "abc"),
        ("/v1/files/file?offset=-1", None, "abc"),
        ("/v1/files/file?offset=18446744073709551616", None, "abc"),
        ("/v1/files/file?append&truncate=x", None, "abc"),
        ("/v1/files/file?append&inplace", None, "abc"),
    ] {
        let answer = ask(guest.clone(), patch(target, range, body)).await;
        assert_eq!((answer.status(), answer.code().as_str()), (400, "invalid_request"), "{target} {range:?}");
    }
    assert!(guest.seen().patches.is_empty());
}

#[tokio::test]
async fn what_stands_after_a_failure_is_told() {
    let guest = FakeGuest::with(&[("/halfway", b"0123456789")]);
    let answer = ask(guest, patch("/v1/files/halfway?append", None, "abc")).await;
    assert_eq!((answer.status(), answer.code().as_str()), (507, "no_space"));
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).expect("json");
    assert_eq!(problem["stands"], serde_json::json!({ "written_bytes": 3, "size_bytes": 7 }));
}

#[tokio::test]
async fn metadata_is_set_and_looked_at() {
    let guest = FakeGuest::with(&[("/file", b"0123456789")]);
    let body =
        r#"{"mode":384,"group":"staff","xattrs":[{"name":"user.a","value_b64":"AP8="},{"name":"user.b"}]}"#;
    let mut set = request(Method::PATCH, "/v1/entries/file", body);
    set.headers_mut().insert("if-match", "\"1-7-a\"".parse().expect("a value"));
    let answer = ask(guest.clone(), set).await;
    assert_eq!(answer.status(), 200, "{:?}", answer.body);
    let entry: serde_json::Value = serde_json::from_slice(&answer.body).expect("json");
    assert_eq!(entry["path"], "/file");
    let seen = guest.seen().operations.pop();
    let Some(devbox_types::operation::Operation::SetMetadata { set, .. }) = seen else {
        panic!("it is one operation: {seen:?}");
    };
    assert_eq!((set.mode, set.if_match.len(), set.xattrs.len()), (Some(0o600), 1, 2));
    let answer = ask(guest.clone(), get("/v1/entries/file?xattrs=true")).await;
    let entry: serde_json::Value = serde_json::from_slice(&answer.body).expect("json");
    assert_eq!(entry["xattrs"], serde_json::json!([{ "name": { "b64": "dXNlci7/" }, "value_b64": "AAE=" }]));
    for body in ["{", "{\"mtime\":1}", "{\"xattrs\":{\"user.a\":\"\"}}"] {
        let answer = ask(guest.clone(), request(Method::PATCH, "/v1/entries/file", body)).await;
        assert_eq!(answer.code(), "invalid_request", "{body}");
    }
}

#[tokio::test]
async fn a_write_may_be_in_place_or_verified() {
    let guest = FakeGuest::with(&[]);
    ask(guest.clone(), request(Method::PUT, "/v1/files/file?inplace=true", "x")).await;
    ask(guest.clone(), request(Method::PUT, "/v1/files/file?verify=true", "x")).await;
    let seen: Vec<_> = guest.seen().writes.iter().map(|write| (write.in_place, write.verify)).collect();
    assert_eq!(seen, [(true, false), (false, true)]);
}

#[tokio::test]
async fn an_archive_is_of_so_many_paths_and_no_more() {
    let most = devbox_types::archive::ArchiveRequest::MAX_PATHS;
    let paths = vec![serde_json::json!({ "path": "/a" }); most + 1];
    let body = serde_json::json!({ "paths": paths }).to_string();
    let request = Request::post("/v1/archive").header("content-type", "application/json");
    let answer = ask(FakeGuest::with(&[]), request.body(Body::from(body)).expect("a request")).await;
    assert_eq!((answer.status(), answer.code().as_str()), (413, "too_large"));
}
