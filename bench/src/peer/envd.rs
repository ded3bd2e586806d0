//! The daemon of E2B's boxes: files over HTTP, the rest over Connect with JSON.

use anyhow::{Context as _, Result};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request};
use serde_json::json;

use super::dialect::{Dialect, Outgoing, bare, common_rows, encoded, json, listing_of};
use super::multipart::{self, Form};
use crate::http::Body;
use crate::row::Row;
use crate::subject::Listing;
use crate::tree::Tree;

/// Acts as root, in a folder.
#[derive(Debug)]
pub(super) struct Envd {
    pub(super) base: String,
    pub(super) folder: String,
}

impl Envd {
    fn files(&self, file: &str) -> String {
        format!("{}/files?username=root&path={}/{}", self.base, encoded(&self.folder), encoded(file))
    }

    /// A call of the Connect service; the user is a name without a password.
    fn call(&self, method: &str, message: &serde_json::Value) -> Result<Request<Body>> {
        let mut request = json(&format!("{}/filesystem.Filesystem/{method}", self.base), message)?;
        // `root:` in base64.
        request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_static("Basic cm9vdDo="));
        Ok(request)
    }
}

impl Dialect for Envd {
    fn can(&self, row: Row) -> bool {
        common_rows(row)
    }

    fn put(&self, file: &str, content: Outgoing) -> Result<Request<Body>> {
        let form = multipart::one("file", file, content);
        form.request(Method::POST, &self.files(file), &multipart::media_type())
    }

    fn get(&self, file: &str) -> Result<Request<Body>> {
        bare(Method::GET, &self.files(file))
    }

    fn put_many(&self, folder: &str, tree: &Tree) -> Result<Vec<Request<Body>>> {
        let mut form = Form::default();
        for (name, content) in tree.iter() {
            form.file("file", &format!("{}/{folder}/{name}", self.folder), &content);
        }
        let target = format!("{}/files?username=root", self.base);
        Ok(vec![form.finish().request(Method::POST, &target, &multipart::media_type())?])
    }

    fn list(&self, folder: &str) -> Result<Request<Body>> {
        self.call("ListDir", &json!({ "path": format!("{}/{folder}", self.folder), "depth": 1 }))
    }

    fn listing(&self, answer: &[u8]) -> Result<Listing> {
        let answer: serde_json::Value = serde_json::from_slice(answer).context("the listing is no JSON")?;
        listing_of(&answer["entries"])
    }

    fn remove(&self, folder: &str) -> Result<Request<Body>> {
        self.call("Remove", &json!({ "path": format!("{}/{folder}", self.folder) }))
    }
}
