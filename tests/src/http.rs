//! HTTP as it should not be spoken: requests that no client of ours would send.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Head and body as they came.
    pub text: String,
}

impl Answer {
    /// The body, if it is JSON.
    pub fn json(&self) -> Result<Value> {
        let (_, body) = self.text.split_once("\r\n\r\n").context("the answer has no body")?;
        serde_json::from_str(body).with_context(|| format!("no JSON: {}", self.text))
    }

    /// The code of the problem in the body.
    pub fn code(&self) -> Result<String> {
        Ok(self.json()?["code"].as_str().with_context(|| format!("no code: {}", self.text))?.to_owned())
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }
}

/// Sends one request, its target byte for byte, and reads the answer to its end.
pub fn send(address: SocketAddr, request: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut head = format!("{request} HTTP/1.1\r\nHost: devbox\r\nConnection: close\r\n");
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) && !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head += "\r\n";
    stream.write_all(head.as_bytes())?;
    // A server may answer and close before it has read a body that it refuses.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    match (status, read) {
        (Some(status), _) => Ok(Answer { status, text }),
        (None, Err(error)) => Err(error).context("no answer"),
        (None, Ok(_)) => anyhow::bail!("this is no answer: {text:?}"),
    }
}
