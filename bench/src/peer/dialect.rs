//! A peer that keeps files under paths: what is asked differs, how it is asked does not.

use anyhow::{Result, bail};
use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::content::Check;
use crate::http::{Body, Http, chunked, full};
use crate::result::SubjectFacts;
use crate::row::Row;
use crate::subject::{Listing, Manner, Move, Subject};
use crate::tree::Tree;

/// How one kind of server is asked. Paths are relative, as subjects have them.
pub(super) trait Dialect {
    /// Whether there is a call for this row.
    fn can(&self, row: Row) -> bool;

    /// Replaces a file.
    fn put(&self, file: &str, content: Outgoing) -> Result<Request<Body>>;

    /// Reads a file.
    fn get(&self, file: &str) -> Result<Request<Body>>;

    /// Writes many files: one request, or as many as it takes.
    fn put_many(&self, folder: &str, tree: &Tree) -> Result<Vec<Request<Body>>>;

    /// Lists a folder.
    fn list(&self, folder: &str) -> Result<Request<Body>>;

    /// Reads the answer to that.
    fn listing(&self, answer: &[u8]) -> Result<Listing>;

    /// Removes a folder.
    fn remove(&self, folder: &str) -> Result<Request<Body>>;

    /// Looks into a successful answer to a change for a failure that its status does not tell.
    fn accept(&self, _answer: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// A content on its way out.
pub(super) struct Outgoing {
    chunks: Box<dyn Iterator<Item = Bytes> + Send>,
    length: u64,
}

impl Outgoing {
    pub(super) fn new(chunks: impl Iterator<Item = Bytes> + Send + 'static, length: u64) -> Self {
        Self { chunks: Box::new(chunks), length }
    }

    pub(super) fn of(content: Bytes) -> Self {
        let length = content.len() as u64;
        Self::new(std::iter::once(content), length)
    }

    /// The same with something before and behind.
    pub(super) fn between(self, before: Vec<u8>, behind: Vec<u8>) -> Self {
        let length = self.length + (before.len() + behind.len()) as u64;
        let before = std::iter::once(Bytes::from(before));
        Self::new(before.chain(self.chunks).chain(std::iter::once(Bytes::from(behind))), length)
    }

    /// A request with it as its body.
    pub(super) fn request(self, method: Method, target: &str, media_type: &str) -> Result<Request<Body>> {
        let request = Request::builder().method(method).uri(target);
        let request = request.header(header::CONTENT_LENGTH, self.length);
        Ok(request.header(header::CONTENT_TYPE, media_type).body(chunked(self.chunks))?)
    }
}

/// A request without a body.
pub(super) fn bare(method: Method, target: &str) -> Result<Request<Body>> {
    Ok(Request::builder().method(method).uri(target).body(full(""))?)
}

/// A request with JSON.
pub(super) fn json(target: &str, value: &serde_json::Value) -> Result<Request<Body>> {
    Outgoing::of(Bytes::from(value.to_string())).request(Method::POST, target, "application/json")
}

/// Reads names and sizes out of an answer's objects; a size may be a number or, as protobuf has it, a text.
pub(super) fn listing_of(entries: &serde_json::Value) -> Result<Listing> {
    let mut listing = Listing::new();
    for entry in entries.as_array().into_iter().flatten() {
        let size = &entry["size"];
        let size = size.as_u64().or_else(|| size.as_str()?.parse().ok());
        let (Some(name), Some(size)) = (entry["name"].as_str(), size) else {
            bail!("an entry has no name or no size: {entry}");
        };
        listing.insert(name.to_owned(), size);
    }
    Ok(listing)
}

/// A value in a query.
pub(super) fn encoded(text: &str) -> String {
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_');
    utf8_percent_encode(text, PLAIN).to_string()
}

/// A peer and the connection to it.
pub(super) struct Peer<D> {
    facts: SubjectFacts,
    http: Http,
    token: Option<String>,
    dialect: D,
}

impl<D: Dialect> Peer<D> {
    pub(super) fn new(facts: SubjectFacts, http: Http, token: Option<String>, dialect: D) -> Self {
        Self { facts, http, token, dialect }
    }

    fn ask(&mut self, request: Request<Body>) -> Result<Bytes> {
        let answer = self.http.call(authorised(request, self.token.as_deref())?)?.into_body();
        self.dialect.accept(&answer)?;
        Ok(answer)
    }
}

/// With the token, unless the request has its own way to say who asks.
pub(super) fn authorised(mut request: Request<Body>, token: Option<&str>) -> Result<Request<Body>> {
    if let Some(token) = token.filter(|_| !request.headers().contains_key(header::AUTHORIZATION)) {
        let value = HeaderValue::from_str(&format!("Bearer {token}"))?;
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

impl<D: Dialect> Subject for Peer<D> {
    fn facts(&self) -> &SubjectFacts {
        &self.facts
    }

    fn can(&self, row: Row) -> bool {
        self.dialect.can(row)
    }

    fn write(&mut self, file: &str, content: Bytes) -> Result<()> {
        self.ask(self.dialect.put(file, Outgoing::of(content))?)?;
        Ok(())
    }

    fn read(&mut self, file: &str) -> Result<Bytes> {
        // What a failure looks like is for the comparison to find out: a file may look like one.
        let request = authorised(self.dialect.get(file)?, self.token.as_deref())?;
        Ok(self.http.call(request)?.into_body())
    }

    fn upload(&mut self, file: &str, what: Move) -> Result<()> {
        let Move { content, manner: Manner::Whole, digest: None } = what else {
            bail!("it takes no pieces, and looks at no digest");
        };
        self.ask(self.dialect.put(file, Outgoing::new(content.chunks(), content.length))?)?;
        Ok(())
    }

    fn download(&mut self, file: &str, what: Move) -> Result<()> {
        let request = authorised(self.dialect.get(file)?, self.token.as_deref())?;
        self.http.compare(request, Check::new(what.content, what.digest))
    }

    fn write_many(&mut self, folder: &str, tree: &Tree) -> Result<()> {
        for request in self.dialect.put_many(folder, tree)? {
            self.ask(request)?;
        }
        Ok(())
    }

    fn list(&mut self, folder: &str, _row: Row) -> Result<Listing> {
        let request = authorised(self.dialect.list(folder)?, self.token.as_deref())?;
        self.dialect.listing(&self.http.call(request)?.into_body())
    }

    /// One that is not there may be an error: whether it is gone shows when it is made again and looked at.
    fn remove(&mut self, folder: &str) -> Result<()> {
        let request = authorised(self.dialect.remove(folder)?, self.token.as_deref())?;
        if let Err(error) = self.http.call(request) {
            eprintln!("{folder} was not removed: {error:#}");
        }
        Ok(())
    }
}

/// The rows of a server with batches and listings.
pub(super) fn common_rows(row: Row) -> bool {
    matches!(
        row,
        Row::Write | Row::Read | Row::Up | Row::Down | Row::DownVerified | Row::Batch | Row::ListPages
    )
}
