//! Changes to parts of files, and to metadata.

use bytes::Bytes;
use devbox_guest::Body;
use devbox_types::Entry;
use devbox_types::entry::StatRequest;
use devbox_types::file::Written;
use devbox_types::metadata::{MetadataChange, Xattr};
use devbox_types::operation::Operation;
use devbox_types::patch::{PatchPlace, PatchRequest};

use super::Sandbox;
use crate::error::ClientError;

impl Sandbox {
    /// Appends to a file, which is made if it is missing. Others who append meanwhile overwrite nothing.
    pub async fn append(
        &self,
        path: impl AsRef<[u8]>,
        content: impl Into<Bytes> + Send,
    ) -> Result<Written, ClientError> {
        let content = content.into();
        let patch = PatchRequest { create: true, ..PatchRequest::at(self.resolve(path)?, PatchPlace::End) };
        self.patch_with(patch, Body::from_bytes(content)).await
    }

    /// Writes bytes into a file from an offset on. Readers see it happen.
    pub async fn write_at(
        &self,
        path: impl AsRef<[u8]>,
        offset: u64,
        content: impl Into<Bytes> + Send,
    ) -> Result<Written, ClientError> {
        let content = content.into();
        let patch = PatchRequest::at(self.resolve(path)?, PatchPlace::Offset(offset));
        self.patch_with(patch, Body::from_bytes(content)).await
    }

    /// Cuts or extends a file to a size; what is new reads as zeros.
    pub async fn truncate(&self, path: impl AsRef<[u8]>, size: u64) -> Result<Written, ClientError> {
        self.patch_with(PatchRequest::truncation(self.resolve(path)?, size), Body::empty()).await
    }

    /// Changes a part of a file: atomically, under a condition, with a digest, or with content that comes as a stream.
    ///
    /// # Errors
    /// Of a change that is not atomic and failed halfway, `problem().stands` says what is in the file.
    pub async fn patch_with(&self, patch: PatchRequest, body: Body) -> Result<Written, ClientError> {
        let length = patch.length.or(body.length());
        Ok(self.guest.patch(&self.grant, PatchRequest { length, ..patch }, body).await?)
    }

    /// Sets mode, owner, times and extended attributes: all that is asked for, or nothing. Returns what the entry is now.
    pub async fn set_metadata(
        &self,
        path: impl AsRef<[u8]>,
        set: MetadataChange,
    ) -> Result<Entry, ClientError> {
        let path = self.resolve(path)?;
        let request = StatRequest {
            follow: !set.nofollow,
            xattrs: !set.xattrs.is_empty(),
            ..StatRequest::of(path.clone())
        };
        let report = self.apply(vec![Operation::SetMetadata { path, set }]).await?;
        match report.entry {
            Some(entry) => Ok(*entry),
            None => Ok(self.guest.stat(&self.grant, request).await?),
        }
    }

    /// The `user.*` extended attributes of what a path leads to.
    pub async fn xattrs(&self, path: impl AsRef<[u8]>) -> Result<Vec<Xattr>, ClientError> {
        let request = StatRequest { xattrs: true, ..StatRequest::target_of(self.resolve(path)?) };
        Ok(self.guest.stat(&self.grant, request).await?.xattrs.unwrap_or_default())
    }

    /// Gives a file one more name, which must be free.
    pub async fn hard_link(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<(), ClientError> {
        let (from, to) = (self.resolve(from)?, self.resolve(to)?);
        self.apply(vec![Operation::Link { from, to }]).await.map(drop)
    }
}
