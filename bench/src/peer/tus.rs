//! A tus 1.0 server that gives uploads back by `GET`. A file is an upload; a replace is another one.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use devbox_client::LargeOptions;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, Uri};

use super::dialect::{Outgoing, authorised};
use crate::content::{Check, Content};
use crate::http::{Body, Http, full};
use crate::result::SubjectFacts;
use crate::row::Row;
use crate::subject::{Manner, Move, Subject};

/// A server, and the uploads that stand for files.
pub(super) struct Tus {
    facts: SubjectFacts,
    http: Http,
    token: Option<String>,
    base: String,
    uploads: BTreeMap<String, String>,
    /// What was replaced.
    stale: Vec<String>,
}

impl Tus {
    pub(super) fn new(facts: SubjectFacts, http: Http, token: Option<String>, base: String) -> Self {
        Self { facts, http, token, base, uploads: BTreeMap::new(), stale: Vec::new() }
    }

    fn ask(&mut self, request: Request<Body>) -> Result<hyper::Response<Bytes>> {
        let mut request = authorised(request, self.token.as_deref())?;
        request.headers_mut().insert("tus-resumable", "1.0.0".parse()?);
        self.http.call(request)
    }

    /// Begins an upload, with its first bytes if there are any; what it is called from then on.
    fn create(&mut self, file: &str, length: u64, first: Option<Bytes>) -> Result<String> {
        let target = format!("{}/", self.base);
        let mut request = match first {
            Some(first) => Outgoing::of(first).request(Method::POST, &target, CHUNK)?,
            None => Outgoing::of(Bytes::new()).request(Method::POST, &target, CHUNK)?,
        };
        if request.headers()[header::CONTENT_LENGTH] == "0" {
            request.headers_mut().remove(header::CONTENT_TYPE);
        }
        request.headers_mut().insert("upload-length", length.into());
        let answer = self.ask(request)?;
        let location = answer.headers().get(header::LOCATION).context("the upload has no location")?;
        let location: Uri = location.to_str()?.parse()?;
        let path = location.path().to_owned();
        if let Some(old) = self.uploads.insert(file.to_owned(), path.clone()) {
            self.stale.push(old);
        }
        Ok(path)
    }

    fn append(&mut self, path: &str, offset: u64, chunk: Outgoing, end: u64) -> Result<()> {
        let mut request = chunk.request(Method::PATCH, path, CHUNK)?;
        request.headers_mut().insert("upload-offset", offset.into());
        let answer = self.ask(request)?;
        ensure!(offset_of(answer.headers()) == Some(end), "the piece from {offset} to {end} did not count");
        Ok(())
    }

    fn location(&self, file: &str) -> Result<String> {
        Ok(self.uploads.get(file).context("it was never uploaded")?.clone())
    }

    fn get(&mut self, file: &str) -> Result<Request<Body>> {
        let request = Request::builder().uri(self.location(file)?).body(full(""))?;
        authorised(request, self.token.as_deref())
    }

    fn send(&mut self, file: &str, content: Content, piece: u64) -> Result<()> {
        let path = self.create(file, content.length, None)?;
        let mut offset = 0;
        while offset < content.length {
            let length = piece.min(content.length - offset);
            let chunk = Outgoing::new(content.part(offset, length), length);
            self.append(&path, offset, chunk, offset + length)?;
            offset += length;
        }
        Ok(())
    }
}

const CHUNK: &str = "application/offset+octet-stream";

fn offset_of(headers: &HeaderMap) -> Option<u64> {
    headers.get("upload-offset")?.to_str().ok()?.parse().ok()
}

impl Subject for Tus {
    fn facts(&self) -> &SubjectFacts {
        &self.facts
    }

    fn can(&self, row: Row) -> bool {
        matches!(row, Row::Write | Row::Read | Row::Up | Row::Down | Row::DownVerified | Row::Pieces)
    }

    /// By creation-with-upload: one request.
    fn write(&mut self, file: &str, content: Bytes) -> Result<()> {
        self.create(file, content.len() as u64, Some(content))?;
        Ok(())
    }

    fn read(&mut self, file: &str) -> Result<Bytes> {
        let request = self.get(file)?;
        Ok(self.http.call(request)?.into_body())
    }

    fn upload(&mut self, file: &str, what: Move) -> Result<()> {
        match what {
            Move { digest: Some(_), .. } => bail!("it knows no digest of the whole"),
            Move { content, manner: Manner::Whole, .. } => self.send(file, content, content.length),
            Move { content, .. } => self.send(file, content, LargeOptions::PIECE_BYTES),
        }
    }

    fn download(&mut self, file: &str, what: Move) -> Result<()> {
        let request = self.get(file)?;
        self.http.compare(request, Check::new(what.content, what.digest))
    }

    fn tidy(&mut self) -> Result<()> {
        while let Some(stale) = self.stale.pop() {
            self.ask(Request::builder().method(Method::DELETE).uri(stale).body(full(""))?)?;
        }
        Ok(())
    }
}
