//! Each kind of peer against a small server of that kind: its calls, its rows, and that wrong data is found.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::{PeerAddress, connect};
use crate::http::{Body, full};
use crate::measure::{Work, take_turns};
use crate::plan::Plan;
use crate::result::RunResult;
use crate::row::Row;

/// What a server keeps, and how it misbehaves.
#[derive(Debug, Default)]
struct Store {
    files: BTreeMap<String, Vec<u8>>,
    /// Gives back other bytes than it was given.
    corrupts: bool,
    /// Forgets every second file of a batch, and says nothing.
    forgets: bool,
    /// Says that a change failed, in its own way.
    fails: bool,
    /// What every request must carry.
    token: Option<String>,
}

/// A request, taken apart.
struct Asked {
    method: Method,
    path: String,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Bytes,
}

type Answer = (StatusCode, Vec<(&'static str, String)>, Vec<u8>);

fn ok(body: impl Into<Vec<u8>>) -> Answer {
    (StatusCode::OK, Vec::new(), body.into())
}

fn status(status: StatusCode) -> Answer {
    (status, Vec::new(), Vec::new())
}

impl Store {
    fn get(&self, path: &str) -> Answer {
        match self.files.get(path) {
            None => status(StatusCode::NOT_FOUND),
            Some(content) => {
                let mut content = content.clone();
                if self.corrupts
                    && let Some(last) = content.last_mut()
                {
                    *last ^= 1;
                }
                ok(content)
            }
        }
    }

    fn put(&mut self, path: &str, content: &[u8]) {
        self.files.insert(path.to_owned(), content.to_vec());
    }

    fn put_all(&mut self, files: Vec<(String, Bytes)>) {
        let step = if self.forgets { 2 } else { 1 };
        for (path, content) in files.into_iter().step_by(step) {
            self.put(&path, &content);
        }
    }

    fn list(&self, folder: &str) -> Vec<(String, usize)> {
        let folder = format!("{}/", folder.trim_end_matches('/'));
        let names = self
            .files
            .iter()
            .filter_map(|(path, content)| Some((path.strip_prefix(&folder)?.to_owned(), content.len())));
        names.collect()
    }

    fn remove(&mut self, folder: &str) {
        let folder = format!("{}/", folder.trim_end_matches('/'));
        self.files.retain(|path, _| !path.starts_with(&folder));
    }
}

/// The parts of a form: field, file name, content.
fn parts(asked: &Asked) -> Vec<(String, Option<String>, Bytes)> {
    let kind = asked.headers["content-type"].to_str().expect("text");
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").expect("form data");
    let delimiter = format!("--{boundary}");
    let body = &asked.body;
    assert!(
        body.starts_with(delimiter.as_bytes()) && body.ends_with(format!("{delimiter}--\r\n").as_bytes())
    );
    let find = |from: usize, text: &str| {
        body[from..].windows(text.len()).position(|window| window == text.as_bytes()).map(|at| from + at)
    };
    let mut parts = Vec::new();
    let mut at = delimiter.len();
    while !body[at..].starts_with(b"--") {
        let head_end = find(at, "\r\n\r\n").expect("a head");
        let head = std::str::from_utf8(&body[at..head_end]).expect("text");
        let value = |name: &str| {
            let (_, rest) = head.split_once(&format!(" {name}=\""))?;
            Some(rest.split('"').next()?.to_owned())
        };
        let end = find(head_end, &format!("\r\n{delimiter}")).expect("an end");
        parts.push((value("name").expect("a name"), value("filename"), body.slice(head_end + 4..end)));
        at = end + 2 + delimiter.len();
    }
    parts
}

fn envd(store: &mut Store, asked: &Asked) -> Answer {
    let path = asked.query.get("path").cloned();
    match (asked.method.as_str(), asked.path.as_str()) {
        ("POST", "/files") => {
            assert_eq!(asked.query["username"], "root");
            if store.fails {
                return status(StatusCode::INSUFFICIENT_STORAGE);
            }
            let files = parts(asked).into_iter().map(|(field, file_name, content)| {
                assert_eq!(field, "file");
                (path.clone().or(file_name).expect("a path"), content)
            });
            store.put_all(files.collect());
            ok("[]")
        }
        ("GET", "/files") => store.get(&path.expect("a path")),
        ("POST", "/filesystem.Filesystem/ListDir") => {
            assert_eq!(asked.headers["authorization"], "Basic cm9vdDo=");
            let message: Value = serde_json::from_slice(&asked.body).expect("JSON");
            let entries = store.list(message["path"].as_str().expect("a path"));
            let entries =
                entries.iter().map(|(name, size)| json!({ "name": name, "size": size.to_string() }));
            ok(json!({ "entries": entries.collect::<Vec<_>>() }).to_string())
        }
        ("POST", "/filesystem.Filesystem/Remove") => {
            let message: Value = serde_json::from_slice(&asked.body).expect("JSON");
            store.remove(message["path"].as_str().expect("a path"));
            ok("{}")
        }
        _ => status(StatusCode::NOT_FOUND),
    }
}

fn daytona(store: &mut Store, asked: &Asked) -> Answer {
    let path = asked.query.get("path").cloned().unwrap_or_default();
    match (asked.method.as_str(), asked.path.as_str()) {
        ("POST", _) if store.fails => status(StatusCode::BAD_REQUEST),
        ("POST", "/files/upload") => {
            let [(field, _, content)] = &parts(asked)[..] else { panic!("one part") };
            assert_eq!(field, "file");
            store.put(&path, content);
            ok("")
        }
        ("POST", "/files/bulk-upload") => {
            let parts = parts(asked);
            let files = parts.chunks(2).enumerate().map(|(index, pair)| {
                let [(path_field, None, path), (file_field, Some(_), content)] = pair else {
                    panic!("pairs")
                };
                assert_eq!(*path_field, format!("files[{index}].path"));
                assert_eq!(*file_field, format!("files[{index}].file"));
                (String::from_utf8_lossy(path).into_owned(), content.clone())
            });
            store.put_all(files.collect());
            ok("{}")
        }
        ("GET", "/files/download") => store.get(&path),
        ("GET", "/files") => {
            let entries = store.list(&path);
            let entries =
                entries.iter().map(|(name, size)| json!({ "name": name, "size": size, "isDir": false }));
            ok(Value::from_iter(entries).to_string())
        }
        ("DELETE", "/files") => {
            assert_eq!(asked.query["recursive"], "true");
            store.remove(&path);
            status(StatusCode::NO_CONTENT)
        }
        _ => status(StatusCode::NOT_FOUND),
    }
}

fn devbox_sdk(store: &mut Store, asked: &Asked) -> Answer {
    let path = asked.query.get("path").cloned().unwrap_or_default();
    let call = asked.path.strip_prefix("/api/v1/files/").expect("a call");
    match (asked.method.as_str(), call) {
        // A failure is a success of HTTP.
        ("POST", "write") if store.fails => ok(json!({ "status": 1500, "message": "no space" }).to_string()),
        ("POST", "write") => {
            store.put(&path, &asked.body);
            ok(json!({ "status": 0, "size": asked.body.len() }).to_string())
        }
        ("POST", "batch-upload") => {
            let files = parts(asked).into_iter().map(|(_, path, content)| (path.expect("a path"), content));
            store.put_all(files.collect());
            ok(json!({ "status": 0, "results": [{ "success": !store.fails }] }).to_string())
        }
        ("GET", "read") => store.get(&path),
        ("GET", "list") => {
            let entries = store.list(&path);
            let limit = asked.query["limit"].parse().expect("a number");
            let entries =
                entries.iter().take(limit).map(|(name, size)| json!({ "name": name, "size": size }));
            ok(json!({ "status": 0, "files": Value::from_iter(entries) }).to_string())
        }
        ("POST", "delete") => {
            let message: Value = serde_json::from_slice(&asked.body).expect("JSON");
            store.remove(message["path"].as_str().expect("a path"));
            ok(json!({ "status": 0 }).to_string())
        }
        _ => status(StatusCode::NOT_FOUND),
    }
}

fn put_get(store: &mut Store, asked: &Asked) -> Answer {
    match asked.method.as_str() {
        "PUT" if store.fails => status(StatusCode::FORBIDDEN),
        "PUT" => {
            // Every second file of a folder, as the others forget them.
            let is_forgotten = store.forgets && asked.path.contains("/many/") && asked.body[0] % 2 == 1;
            if !is_forgotten {
                store.put(&asked.path, &asked.body);
            }
            status(StatusCode::CREATED)
        }
        "GET" => store.get(&asked.path),
        "DELETE" => {
            assert!(asked.path.ends_with('/'), "a collection");
            store.remove(&asked.path);
            status(StatusCode::NO_CONTENT)
        }
        _ => status(StatusCode::METHOD_NOT_ALLOWED),
    }
}

fn tus(store: &mut Store, asked: &Asked) -> Answer {
    let number =
        |name: &str| asked.headers.get(name).map(|value| value.to_str().expect("text").parse::<usize>());
    if asked.method != Method::GET {
        assert_eq!(asked.headers["tus-resumable"], "1.0.0");
    }
    match asked.method.as_str() {
        "POST" if store.fails => status(StatusCode::PAYLOAD_TOO_LARGE),
        "POST" => {
            number("upload-length").expect("a length").expect("a number");
            let path = format!("/files/{}", store.files.len());
            store.put(&path, &asked.body);
            let location = ("location", format!("http://somewhere{path}"));
            (StatusCode::CREATED, vec![location, ("upload-offset", asked.body.len().to_string())], Vec::new())
        }
        "PATCH" => {
            let Some(file) = store.files.get_mut(&asked.path) else { return status(StatusCode::NOT_FOUND) };
            if number("upload-offset") != Some(Ok(file.len())) {
                return status(StatusCode::CONFLICT);
            }
            file.extend_from_slice(&asked.body);
            (StatusCode::NO_CONTENT, vec![("upload-offset", file.len().to_string())], Vec::new())
        }
        "GET" => store.get(&asked.path),
        // Names are numbers, so the place stays.
        "DELETE" => {
            store.put(&asked.path, b"gone");
            status(StatusCode::NO_CONTENT)
        }
        _ => status(StatusCode::METHOD_NOT_ALLOWED),
    }
}

type Kind = fn(&mut Store, &Asked) -> Answer;

const KINDS: [(&str, &str, Kind); 5] = [
    ("envd", "", envd),
    ("daytona", "", daytona),
    ("devbox-sdk", "", devbox_sdk),
    ("put-get", "/dav", put_get),
    ("tus", "/files/", tus),
];

/// Serves until the test ends.
fn serve(kind: Kind, store: Store) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("not blocking");
    let store = Arc::new(Mutex::new(store));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let store = Arc::clone(&store);
                let service =
                    hyper::service::service_fn(move |request| answer(kind, Arc::clone(&store), request));
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
    });
    address
}

async fn answer(
    kind: Kind,
    store: Arc<Mutex<Store>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let query = head.uri.query().unwrap_or_default().split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name.to_owned(), percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned()))
    });
    let path = head.uri.path().to_owned();
    let asked = Asked { method: head.method, path, query: query.collect(), headers: head.headers, body };
    let mut store = store.lock().expect("nobody panicked");
    let is_known = match &store.token {
        None => true,
        Some(token) => {
            asked.headers.get("authorization").is_some_and(|value| *value == format!("Bearer {token}"))
        }
    };
    let (status, headers, body) = match is_known {
        true => kind(&mut store, &asked),
        false => (StatusCode::UNAUTHORIZED, Vec::new(), Vec::new()),
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    Ok(response.body(full(body)).expect("a response"))
}

/// Measures one peer, tiny.
fn measure(name: &str, base: &str, kind: Kind, store: Store, rows: &[Row]) -> anyhow::Result<RunResult> {
    let token = store.token.clone();
    let address = serve(kind, store);
    let address: PeerAddress = format!("{name}=http://{address}{base},/a folder").parse()?;
    let peer = connect(&address, address.folder.as_deref(), "nowhere", token)?;
    let mut plan = Plan::tiny();
    if !rows.is_empty() {
        plan.rows = rows.to_vec();
    }
    let mut result = RunResult::empty(&plan, true);
    let mut taking_part = [peer];
    take_turns(&mut taking_part, &Work::prepare(&plan, std::path::Path::new("/nowhere"))?)?;
    let [peer] = taking_part;
    peer.report(&plan, &mut result);
    Ok(result)
}

#[test]
fn every_kind_is_measured_in_the_rows_that_it_can_do() {
    let common = [Row::Write, Row::Read, Row::Up, Row::Down, Row::DownVerified];
    for (name, base, kind) in KINDS {
        let store = Store { token: Some("secret".to_owned()), ..Store::default() };
        // Connect names the user where the others have the token.
        let store = if name == "envd" { Store::default() } else { store };
        let result =
            measure(name, base, kind, store, &[]).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let mut expected = common.to_vec();
        match name {
            "tus" => expected.push(Row::Pieces),
            "put-get" => expected.push(Row::Batch),
            _ => expected.extend([Row::Batch, Row::ListPages]),
        }
        let rows: Vec<Row> = result.rows.iter().map(|row| row.row).collect();
        assert_eq!(rows, expected, "{name}");
        assert_eq!(result.subjects[0].name, name);
    }
}

#[test]
fn other_bytes_than_were_given_are_found() {
    for (name, base, kind) in KINDS {
        for (rows, what) in [(Row::Write, "small"), (Row::Down, "large")] {
            let store = Store { corrupts: true, ..Store::default() };
            let error = measure(name, base, kind, store, &[rows]).expect_err("corrupt");
            assert!(format!("{error:#}").contains("other bytes came back"), "{name}, {what}: {error:#}");
        }
    }
}

#[test]
fn a_batch_that_is_not_whole_is_found() {
    for (name, base, kind) in KINDS.into_iter().filter(|(name, ..)| *name != "tus") {
        let store = Store { forgets: true, ..Store::default() };
        measure(name, base, kind, store, &[Row::Batch]).expect_err(name);
    }
}

#[test]
fn a_failure_is_one_however_it_is_told() {
    for (name, base, kind) in KINDS {
        for row in [Row::Write, Row::Up] {
            let store = Store { fails: true, ..Store::default() };
            measure(name, base, kind, store, &[row]).expect_err(name);
        }
        let store = Store { token: Some("another".to_owned()), ..Store::default() };
        let address = serve(kind, store);
        let address: PeerAddress = format!("{name}=http://{address}{base},/a").parse().expect("a peer");
        let mut peer =
            connect(&address, address.folder.as_deref(), "nowhere", Some("mine".to_owned())).expect("a peer");
        let plan = Plan { rows: vec![Row::Write], ..Plan::tiny() };
        let work = Work::prepare(&plan, std::path::Path::new("/nowhere")).expect("work");
        take_turns(std::slice::from_mut(&mut peer), &work).expect_err(name);
    }
}

#[test]
fn an_address_is_a_kind_and_a_plain_url() {
    let address: PeerAddress = "tus=http://127.0.0.1:1080/files/,/data".parse().expect("a peer");
    assert_eq!(address.name, "tus");
    assert_eq!((&*address.host, &*address.base), ("127.0.0.1:1080", "/files"));
    assert_eq!(address.folder.as_deref(), Some(std::path::Path::new("/data")));
    let named: PeerAddress = "put-get:nginx=http://127.0.0.1".parse().expect("a peer");
    assert_eq!((&*named.name, &*named.host), ("nginx", "127.0.0.1:80"));
    let bad = [
        "tus",
        "tus:=http://127.0.0.1/",
        "ftp=http://127.0.0.1/",
        "tus=https://127.0.0.1/",
        "tus=http://token@127.0.0.1/",
        "tus=/files",
        "tus=http://127.0.0.1/?a=b",
        "tus=http://127.0.0.1/,data",
    ];
    for text in bad {
        text.parse::<PeerAddress>().expect_err(text);
    }
}
