//! A server that follows a script: for each connection, what it answers to the one request that comes.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// The requests that came, whole, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests(Arc<Mutex<Vec<String>>>);

impl Requests {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }

    /// The value of a header in each request.
    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        let value = |request: &String| {
            let lines = request.lines().filter_map(|line| line.split_once(": "));
            lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
        };
        self.all().iter().filter_map(value).collect()
    }
}

/// Serves the script on a port of its own; an empty answer closes the connection without a word.
pub(crate) async fn serve(script: Vec<String>) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let requests = Requests::default();
    let seen = requests.clone();
    tokio::spawn(async move {
        for answer in script {
            let (stream, _) = listener.accept().await.expect("a connection");
            answer_one(stream, &answer, &seen).await;
        }
    });
    (url, requests)
}

/// Reads one request, notes it, and answers it.
pub(crate) async fn answer_one(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &str,
    seen: &Requests,
) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if stream.read_buf(&mut request).await.expect("bytes") == 0 {
            break;
        }
    }
    seen.0.lock().expect("no panic").push(String::from_utf8(request).expect("text"));
    stream.write_all(answer.as_bytes()).await.expect("sent");
    stream.shutdown().await.expect("closed");
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().filter_map(|line| line.split_once(": "));
    let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    body.len() >= length.map(|(_, value)| value.parse().expect("a number")).next().unwrap_or(0)
}

/// An answer with a JSON body.
pub(crate) fn json(status: &str, headers: &str, body: &str) -> String {
    let kind = if status.starts_with('2') { "application/json" } else { "application/problem+json" };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}

/// A box, as a server shows it.
pub(crate) const DEVBOX: &str = r#"{"id":"a4dqobyha4dqobyh","state":"running","template":"host","workdir":"/workspace","resources":{},"created":"2026-01-01T00:00:00Z"}"#;

/// A problem with this code.
pub(crate) fn problem(code: &str) -> String {
    format!(r#"{{"code":"{code}","detail":"a test says so","hint":"read the test"}}"#)
}
