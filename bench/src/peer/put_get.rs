//! Plain `PUT` and `GET`. There is no batch and no listing: many files are many requests.

use anyhow::{Result, bail};
use hyper::{Method, Request};

use super::dialect::{Dialect, Outgoing, bare, encoded};
use crate::http::Body;
use crate::row::Row;
use crate::subject::Listing;
use crate::tree::Tree;

/// Acts below its address.
#[derive(Debug)]
pub(super) struct PutGet {
    pub(super) base: String,
}

impl PutGet {
    fn target(&self, file: &str) -> String {
        format!("{}/{}", self.base, encoded(file))
    }
}

impl Dialect for PutGet {
    fn can(&self, row: Row) -> bool {
        matches!(row, Row::Write | Row::Read | Row::Up | Row::Down | Row::DownVerified | Row::Batch)
    }

    fn put(&self, file: &str, content: Outgoing) -> Result<Request<Body>> {
        content.request(Method::PUT, &self.target(file), "application/octet-stream")
    }

    fn get(&self, file: &str) -> Result<Request<Body>> {
        bare(Method::GET, &self.target(file))
    }

    fn put_many(&self, folder: &str, tree: &Tree) -> Result<Vec<Request<Body>>> {
        tree.iter()
            .map(|(name, content)| self.put(&format!("{folder}/{name}"), Outgoing::of(content)))
            .collect()
    }

    fn list(&self, _folder: &str) -> Result<Request<Body>> {
        bail!("it lists nothing")
    }

    fn listing(&self, _answer: &[u8]) -> Result<Listing> {
        bail!("it lists nothing")
    }

    /// As WebDAV has it: a folder's name ends in a slash.
    fn remove(&self, folder: &str) -> Result<Request<Body>> {
        bare(Method::DELETE, &(self.target(folder) + "/"))
    }
}
