//! The toolbox of Daytona's boxes.

use anyhow::{Context as _, Result};
use hyper::{Method, Request};

use super::dialect::{Dialect, Outgoing, bare, common_rows, encoded, listing_of};
use super::multipart::{self, Form};
use crate::http::Body;
use crate::row::Row;
use crate::subject::Listing;
use crate::tree::Tree;

/// Acts in a folder.
#[derive(Debug)]
pub(super) struct Daytona {
    pub(super) base: String,
    pub(super) folder: String,
}

impl Daytona {
    fn target(&self, call: &str, path: &str) -> String {
        format!("{}/files{call}?path={}/{}", self.base, encoded(&self.folder), encoded(path))
    }
}

impl Dialect for Daytona {
    fn can(&self, row: Row) -> bool {
        common_rows(row)
    }

    fn put(&self, file: &str, content: Outgoing) -> Result<Request<Body>> {
        let form = multipart::one("file", file, content);
        form.request(Method::POST, &self.target("/upload", file), &multipart::media_type())
    }

    fn get(&self, file: &str) -> Result<Request<Body>> {
        bare(Method::GET, &self.target("/download", file))
    }

    fn put_many(&self, folder: &str, tree: &Tree) -> Result<Vec<Request<Body>>> {
        let mut form = Form::default();
        for (index, (name, content)) in tree.iter().enumerate() {
            form.text(&format!("files[{index}].path"), &format!("{}/{folder}/{name}", self.folder));
            form.file(&format!("files[{index}].file"), &name, &content);
        }
        let target = format!("{}/files/bulk-upload", self.base);
        Ok(vec![form.finish().request(Method::POST, &target, &multipart::media_type())?])
    }

    fn list(&self, folder: &str) -> Result<Request<Body>> {
        bare(Method::GET, &self.target("", folder))
    }

    fn listing(&self, answer: &[u8]) -> Result<Listing> {
        listing_of(&serde_json::from_slice(answer).context("the listing is no JSON")?)
    }

    fn remove(&self, folder: &str) -> Result<Request<Body>> {
        bare(Method::DELETE, &(self.target("", folder) + "&recursive=true"))
    }
}
