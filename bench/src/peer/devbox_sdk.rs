//! The server in the pods of Sealos's devbox-sdk. Its failures come as 200 with a `status` that is not 0.

use anyhow::{Context as _, Result, bail, ensure};
use hyper::{Method, Request};
use serde_json::{Value, json};

use super::dialect::{Dialect, Outgoing, bare, common_rows, encoded, json, listing_of};
use super::multipart::{self, Form};
use crate::http::Body;
use crate::row::Row;
use crate::subject::Listing;
use crate::tree::Tree;

/// Acts in a folder.
#[derive(Debug)]
pub(super) struct DevboxSdk {
    pub(super) base: String,
    pub(super) folder: String,
}

impl DevboxSdk {
    fn target(&self, call: &str, path: &str) -> String {
        format!("{}/api/v1/files/{call}?path={}/{}", self.base, encoded(&self.folder), encoded(path))
    }
}

impl Dialect for DevboxSdk {
    fn can(&self, row: Row) -> bool {
        common_rows(row)
    }

    fn put(&self, file: &str, content: Outgoing) -> Result<Request<Body>> {
        content.request(Method::POST, &self.target("write", file), "application/octet-stream")
    }

    fn get(&self, file: &str) -> Result<Request<Body>> {
        bare(Method::GET, &self.target("read", file))
    }

    fn put_many(&self, folder: &str, tree: &Tree) -> Result<Vec<Request<Body>>> {
        let mut form = Form::default();
        for (name, content) in tree.iter() {
            form.file("file", &format!("{}/{folder}/{name}", self.folder), &content);
        }
        let target = format!("{}/api/v1/files/batch-upload", self.base);
        Ok(vec![form.finish().request(Method::POST, &target, &multipart::media_type())?])
    }

    fn list(&self, folder: &str) -> Result<Request<Body>> {
        bare(Method::GET, &(self.target("list", folder) + "&showHidden=true&limit=1000000"))
    }

    fn listing(&self, answer: &[u8]) -> Result<Listing> {
        let answer: Value = serde_json::from_slice(answer).context("the listing is no JSON")?;
        ensure!(answer["status"] == 0, "it says {answer}");
        listing_of(&answer["files"])
    }

    fn remove(&self, folder: &str) -> Result<Request<Body>> {
        let target = format!("{}/api/v1/files/delete", self.base);
        json(&target, &json!({ "path": format!("{}/{folder}", self.folder), "recursive": true }))
    }

    fn accept(&self, answer: &[u8]) -> Result<()> {
        let answer: Value = serde_json::from_slice(answer).context("the answer is no JSON")?;
        ensure!(answer["status"] == 0, "it says {answer}");
        let failed = answer["results"].as_array().into_iter().flatten();
        if let Some(failed) = failed.into_iter().find(|result| result["success"] == false) {
            bail!("a file of the batch failed: {failed}");
        }
        Ok(())
    }
}
