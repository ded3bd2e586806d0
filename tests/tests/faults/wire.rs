//! Calls to an agent that may die before it answers.

use std::io::{Read as _, Write as _};

use anyhow::Result;
use devbox_testkit::BareAgent;

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A whole answer.
    Given(Response),
    /// The line broke.
    None,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Response {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// The code of a problem.
    pub(crate) fn code(&self) -> &str {
        let after = self.text.split_once("\"code\":\"").map_or("", |(_, rest)| rest);
        after.split('"').next().unwrap_or_default()
    }
}

impl Answer {
    /// Whether it says that the call has taken effect.
    pub(crate) fn is_success(&self) -> bool {
        matches!(self, Self::Given(response) if response.status < 300)
    }

    /// The answer.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub(crate) fn given(self) -> Response {
        match self {
            Self::Given(response) => response,
            Self::None => panic!("there was no answer"),
        }
    }
}

/// A request as it is sent: `PUT /v1/files/a`, header lines, a body.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    is_head: bool,
}

impl Message {
    pub(crate) fn new(request: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut head = format!("{request} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n");
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        Self { bytes: [head.as_bytes(), body].concat(), is_head: request.starts_with("HEAD ") }
    }

    /// Makes the call on a connection of its own.
    pub(crate) fn send(&self, agent: &BareAgent) -> Answer {
        self.send_with(agent, 0, || Ok(())).unwrap_or(Answer::None)
    }

    /// The same, with something that happens after the first `part` bytes.
    pub(crate) fn send_with(
        &self,
        agent: &BareAgent,
        part: usize,
        happens: impl FnOnce() -> Result<()>,
    ) -> Result<Answer> {
        let mut stream = agent.connect()?;
        // It may answer, and close, before it has read a body that it refuses.
        let _ = stream.write_all(&self.bytes[..part]);
        happens()?;
        let _ = stream.write_all(&self.bytes[part..]);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Ok(parse(&answer, self.is_head).map_or(Answer::None, Answer::Given))
    }
}

/// Makes one call on a connection of its own.
pub(crate) fn call(agent: &BareAgent, request: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    Message::new(request, headers, body).send(agent)
}

/// A whole answer; one that broke off is none.
pub(crate) fn parse(answer: &[u8], is_head: bool) -> Option<Response> {
    let text = String::from_utf8_lossy(answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    if !is_head && length.is_some_and(|length: usize| body.len() < length) {
        return None;
    }
    Some(Response { status, text })
}
