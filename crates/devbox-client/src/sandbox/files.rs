//! The files of a box.

use bytes::Bytes;
use devbox_guest::contract::{EntryStream, UploadParts};
use devbox_guest::{Body, FileContent, UploadPart};
use devbox_types::archive::{ArchiveFormat, ArchiveRequest, UnpackRequest};
use devbox_types::entry::StatRequest;
use devbox_types::file::{ReadRequest, WriteRequest, Written};
use devbox_types::operation::{Operation, Report};
use devbox_types::{Entry, ErrorCode, ListRequest, Problem, WirePath};
use futures_util::stream::{self, StreamExt as _};

use super::Sandbox;
use crate::error::ClientError;

impl Sandbox {
    /// Reads a whole file into memory. For what may be large there is [`Self::open`].
    pub async fn read(&self, path: impl AsRef<[u8]>) -> Result<Bytes, ClientError> {
        let content = self.open(path).await?;
        Ok(content.body.collect(usize::MAX).await?)
    }

    /// Opens a file: what it is, and its bytes as a stream.
    pub async fn open(&self, path: impl AsRef<[u8]>) -> Result<FileContent, ClientError> {
        self.open_with(ReadRequest::whole(self.resolve(path)?)).await
    }

    /// Opens a file, with a range or conditions.
    pub async fn open_with(&self, request: ReadRequest) -> Result<FileContent, ClientError> {
        Ok(self.guest.read(&self.grant, request).await?)
    }

    /// Creates or replaces a file, in one step; directories on the way are made.
    pub async fn write(
        &self,
        path: impl AsRef<[u8]>,
        content: impl Into<Bytes> + Send,
    ) -> Result<Written, ClientError> {
        let content = content.into();
        let request = WriteRequest { make_parents: true, ..WriteRequest::to(self.resolve(path)?) };
        self.write_with(request, Body::from_bytes(content)).await
    }

    /// Creates or replaces a file, with conditions, a digest, or content that comes as a stream.
    pub async fn write_with(&self, request: WriteRequest, body: Body) -> Result<Written, ClientError> {
        let length = request.length.or(body.length());
        Ok(self.guest.write(&self.grant, WriteRequest { length, ..request }, body).await?)
    }

    /// Looks at one entry; a final symlink is looked at itself.
    pub async fn stat(&self, path: impl AsRef<[u8]>) -> Result<Entry, ClientError> {
        Ok(self.guest.stat(&self.grant, StatRequest::of(self.resolve(path)?)).await?)
    }

    /// Looks at what a path leads to; a final symlink is followed.
    pub async fn stat_target(&self, path: impl AsRef<[u8]>) -> Result<Entry, ClientError> {
        Ok(self.guest.stat(&self.grant, StatRequest::target_of(self.resolve(path)?)).await?)
    }

    /// Whether a path leads to something. A link that leads nowhere does not exist, as in a shell's `test -e`.
    pub async fn exists(&self, path: impl AsRef<[u8]>) -> Result<bool, ClientError> {
        match self.stat_target(path).await {
            Ok(_) => Ok(true),
            Err(ClientError::Problem(problem)) if is_absence(&problem) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All entries of a directory, in byte order of their names. For what may be huge there is [`Self::walk`].
    pub async fn list(&self, path: impl AsRef<[u8]>) -> Result<Vec<Entry>, ClientError> {
        let path = self.resolve(path)?;
        let mut stream = self.guest.walk(&self.grant, ListRequest::of(path)).await?;
        let mut entries = Vec::new();
        while let Some(entry) = stream.next().await {
            entries.push(entry?);
        }
        entries.sort_by(|left, right| left.path.0.as_bytes().cmp(right.path.0.as_bytes()));
        Ok(entries)
    }

    /// The entries below a directory, `depth` levels deep, in the order in which they are read.
    pub async fn walk(&self, path: impl AsRef<[u8]>, depth: u32) -> Result<EntryStream, ClientError> {
        let request = ListRequest { depth, ..ListRequest::of(self.resolve(path)?) };
        Ok(self.guest.walk(&self.grant, request).await?)
    }

    /// Makes a directory, and those on the way; one that exists is left alone.
    pub async fn make_dir(&self, path: impl AsRef<[u8]>) -> Result<(), ClientError> {
        let path = self.resolve(path)?;
        self.apply(vec![Operation::Mkdir { path, mode: None, parents: true }]).await.map(drop)
    }

    /// Deletes a file, a link, or an empty directory.
    pub async fn delete(&self, path: impl AsRef<[u8]>) -> Result<(), ClientError> {
        let path = self.resolve(path)?;
        self.apply(vec![Operation::Delete { path, recursive: false, missing_ok: false }]).await.map(drop)
    }

    /// Deletes an entry with all it holds.
    pub async fn delete_tree(&self, path: impl AsRef<[u8]>) -> Result<(), ClientError> {
        let path = self.resolve(path)?;
        self.apply(vec![Operation::Delete { path, recursive: true, missing_ok: false }]).await.map(drop)
    }

    /// Moves an entry, replacing what rename(2) replaces.
    pub async fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<(), ClientError> {
        let (from, to) = (self.resolve(from)?, self.resolve(to)?);
        self.apply(vec![Operation::Move { from, to, overwrite: true }]).await.map(drop)
    }

    /// Copies an entry, a directory with all it holds; a file that is there is replaced.
    pub async fn copy(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<(), ClientError> {
        let (from, to) = (self.resolve(from)?, self.resolve(to)?);
        self.apply(vec![Operation::Copy { from, to, recursive: true, overwrite: true }]).await.map(drop)
    }

    /// Makes changes to names, in order; the first that fails undoes those before it. Sent again if the line breaks, under a
    /// key, so that they are made once.
    pub async fn apply(&self, operations: Vec<Operation>) -> Result<Report, ClientError> {
        let (guest, operations) = (&self.guest, &operations);
        self.once(|grant| Box::pin(async move { guest.apply(&grant, operations.clone()).await })).await
    }

    /// Writes many files in one request: all of them or none. Directories on the way are made.
    pub async fn upload_files<P: AsRef<[u8]>, C: Into<Bytes>>(
        &self,
        files: impl IntoIterator<Item = (P, C)>,
    ) -> Result<Report, ClientError> {
        let files = files
            .into_iter()
            .map(|(path, content)| {
                let request = WriteRequest { make_parents: true, ..WriteRequest::to(self.resolve(path)?) };
                Ok((request, content.into()))
            })
            .collect::<Result<Vec<(WriteRequest, Bytes)>, ClientError>>()?;
        let parts = || {
            let parts = files.clone().into_iter().map(|(request, content)| {
                let body = Body::from_bytes(content);
                Ok(UploadPart { request: WriteRequest { length: body.length(), ..request }, body })
            });
            stream::iter(parts).boxed()
        };
        self.upload_parts_of(parts).await
    }

    /// Writes many files that come as a stream: all of them or none. Sent once; see [`Self::upload_parts_of`].
    pub async fn upload_parts(&self, parts: UploadParts) -> Result<Report, ClientError> {
        Ok(self.guest.write_many(&self.grant, parts).await?)
    }

    /// Writes many files that can come as a stream any number of times, the same each time: all of them or none. Sent again if
    /// the line breaks, under a key, so that they are written once.
    pub async fn upload_parts_of(
        &self,
        parts: impl Fn() -> UploadParts + Send + Sync,
    ) -> Result<Report, ClientError> {
        let (guest, parts) = (&self.guest, &parts);
        self.once(|grant| Box::pin(async move { guest.write_many(&grant, parts()).await })).await
    }

    /// Streams files, and directories with all they hold, as a zip.
    pub async fn download_files<P: AsRef<[u8]>>(
        &self,
        paths: impl IntoIterator<Item = P>,
    ) -> Result<Body, ClientError> {
        let paths = paths
            .into_iter()
            .map(|path| self.resolve(path).map(WirePath))
            .collect::<Result<Vec<_>, ClientError>>()?;
        self.pack(ArchiveRequest::of(paths, ArchiveFormat::Zip)).await
    }

    /// Streams files and directories as an archive of any format, with patterns for what goes in. Paths are absolute.
    pub async fn pack(&self, request: ArchiveRequest) -> Result<Body, ClientError> {
        Ok(self.guest.pack(&self.grant, request).await?)
    }

    /// Unpacks an archive: all of it, or nothing. One in memory is sent again if the line breaks, under a key, so that it is
    /// unpacked once; for one that is read from elsewhere there is [`Self::unpack_of`].
    pub async fn unpack(&self, request: UnpackRequest, archive: Body) -> Result<Report, ClientError> {
        match archive.as_bytes().cloned() {
            Some(bytes) => self.unpack_of(request, || Body::from_bytes(bytes.clone())).await,
            None => Ok(self.guest.unpack(&self.grant, request, archive).await?),
        }
    }

    /// The same of an archive that can be opened any number of times, and is the same each time.
    pub async fn unpack_of(
        &self,
        request: UnpackRequest,
        open: impl Fn() -> Body + Send + Sync,
    ) -> Result<Report, ClientError> {
        let (guest, request, open) = (&self.guest, &request, &open);
        self.once(|grant| Box::pin(async move { guest.unpack(&grant, request.clone(), open()).await })).await
    }
}

fn is_absence(problem: &Problem) -> bool {
    matches!(problem.code, ErrorCode::NotFound | ErrorCode::NotADirectory)
}
