//! From here into a box.

use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use devbox_guest::Body;
use devbox_transfer::{SavedState, Source};
use devbox_types::entry::StatRequest;
use devbox_types::file::WriteRequest;
use devbox_types::upload::{ChunkRequest, UploadRequest, UploadRole, UploadStatus};
use devbox_types::{Digests, Entry, ErrorCode, Grant, Problem, UploadId};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::state::{StateFile, local, source_of};
use super::{LargeOptions, OnProgress, Patience, TELL_EVERY, TransferProgress};
use crate::error::ClientError;
use crate::sandbox::Sandbox;

/// How much of a file is hashed at once when an upload is gone on with.
const HASH_BUFFER: usize = 1 << 20;
/// How many bytes are handed over to be sent at once, and counted: a slow line takes some such slices a second.
const SLICE: usize = 64 << 10;

impl Sandbox {
    /// Uploads a file in pieces: a dropped line costs no more than one of them, and a later call with the same file and
    /// target goes on where this one ended, whatever was restarted in between.
    ///
    /// The file shows at its path when all of it has come and has the SHA-256 of what was read here; modes, conditions and the
    /// like are those of `request`.
    ///
    /// # Errors
    /// `SourceChanged` if the file is not the one that was begun with; `Local`; `Cancelled`; what the box says.
    ///
    /// # Cancel safety
    /// Dropping the future keeps what is stored, for a later call. `on_progress` can end it for good.
    pub async fn upload_large_file(
        &self,
        local_path: &Path,
        request: WriteRequest,
        options: &LargeOptions,
        on_progress: OnProgress<'_>,
    ) -> Result<Entry, ClientError> {
        let file = File::open(local_path).map_err(|source| local("open", local_path, source))?;
        self.upload_opened_file(file, local_path, request, options, on_progress).await
    }

    /// The same of a file that is open already; `local_path` is what it is remembered by.
    ///
    /// # Errors
    /// As [`Sandbox::upload_large_file`].
    pub async fn upload_opened_file(
        &self,
        file: File,
        local_path: &Path,
        request: WriteRequest,
        options: &LargeOptions,
        on_progress: OnProgress<'_>,
    ) -> Result<Entry, ClientError> {
        let source = source_of(&file, local_path)?;
        let key = self.key_of(local_path, &request);
        let state = if options.resumable { StateFile::of_upload(&key) } else { StateFile::nowhere() };
        let mut upload = Upload {
            sandbox: self,
            file: LocalFile { file: Arc::new(file), path: local_path.to_owned(), source },
            patience: Patience::new(options.retry),
            piece: options.piece_bytes.clamp(1, 1 << 30),
            state,
            request,
        };
        upload.run(on_progress).await
    }

    /// Names the transfer of one file to one place.
    fn key_of(&self, local_path: &Path, request: &WriteRequest) -> String {
        use std::os::unix::ffi::OsStrExt as _;
        let absolute = std::path::absolute(local_path).unwrap_or_else(|_| local_path.to_owned());
        let mut hasher = Sha256::new();
        let user = self.grant().user.to_string();
        let parts: [&[u8]; 4] = [
            self.devbox().id.as_str().as_bytes(),
            user.as_bytes(),
            request.path.as_bytes(),
            absolute.as_os_str().as_bytes(),
        ];
        for part in parts {
            hasher.update(part);
            hasher.update([0]);
        }
        devbox_types::id::base32(&hasher.finalize()[..20])
    }
}

struct Upload<'c> {
    sandbox: &'c Sandbox,
    file: LocalFile,
    patience: Patience,
    piece: u64,
    state: StateFile,
    request: WriteRequest,
}

#[derive(Clone)]
struct LocalFile {
    file: Arc<File>,
    path: PathBuf,
    source: Source,
}

/// A piece that was read, and the digest of all up to its end.
struct Piece {
    bytes: Bytes,
    hasher: Sha256,
}

impl Upload<'_> {
    async fn run(&mut self, on_progress: OnProgress<'_>) -> Result<Entry, ClientError> {
        let mut status = match self.resume().await? {
            Some(status) => status,
            None => self.begin().await?,
        };
        let mut hasher = Sha256::new();
        if !status.is_complete() {
            hasher = self.file.hash(hasher, status.offset_bytes).await?;
        }
        let mut reading = self.file.read(status.offset_bytes, self.piece, hasher);
        self.tell(&status, 0, on_progress).await?;
        while !status.is_complete() {
            let offset = status.offset_bytes;
            let Piece { bytes, hasher } = finished(reading).await?;
            let end = offset + length(&bytes);
            let last = end == status.length_bytes;
            let digest = last.then(|| Digests::of_sha256(hasher.clone().finalize().into()));
            reading = self.file.read(end, self.piece, hasher);
            if last {
                self.check_source().await?;
            }
            status = self.send(&status, &bytes, digest, on_progress).await?;
            self.tell(&status, 0, on_progress).await?;
        }
        self.state.forget();
        match status.entry {
            Some(entry) => Ok(entry),
            None => {
                let path = self.request.path.clone();
                Ok(self.sandbox.guest().stat(self.sandbox.grant(), StatRequest::target_of(path)).await?)
            }
        }
    }

    /// The upload that an earlier run left, if it is of this very file.
    async fn resume(&mut self) -> Result<Option<UploadStatus>, ClientError> {
        let id = self.sandbox.devbox().id.clone();
        let saved = self.state.load();
        let found = saved
            .as_ref()
            .and_then(|saved| saved.upload_of(id.as_str(), &self.request.path, &self.file.source));
        let Some(upload) = found else { return Ok(None) };
        match self.look(upload).await {
            Ok(status) if status.length_bytes == self.file.source.size_bytes => Ok(Some(status)),
            Ok(_) => Ok(None),
            Err(ClientError::Problem(problem)) if problem.code == ErrorCode::UploadNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn begin(&mut self) -> Result<UploadStatus, ClientError> {
        let write = WriteRequest { length: Some(self.file.source.size_bytes), ..self.request.clone() };
        let request =
            UploadRequest { write, digest_follows: true, metadata: String::new(), role: UploadRole::File };
        let status = loop {
            match self.sandbox.guest().create_upload(&self.grant(), request.clone()).await {
                Ok(status) => break status,
                Err(problem) => self.patience.after(problem).await?,
            }
        };
        self.patience.renew();
        if !status.is_complete() {
            self.state.save(&SavedState::Upload {
                version: SavedState::VERSION,
                devbox: self.sandbox.devbox().id.to_string(),
                target: self.request.path.clone().into(),
                local: self.file.path.clone(),
                source: self.file.source,
                id: status.id.clone(),
            })?;
        }
        Ok(status)
    }

    fn grant(&self) -> Grant {
        self.patience.grant(self.sandbox.grant())
    }

    async fn look(&mut self, id: &UploadId) -> Result<UploadStatus, ClientError> {
        loop {
            match self.sandbox.guest().look_at_upload(&self.grant(), id.clone()).await {
                Ok(status) => return Ok(status),
                Err(problem) => self.patience.after(problem).await?,
            }
        }
    }

    /// Sends a piece until all of it is stored.
    async fn send(
        &mut self,
        begun: &UploadStatus,
        bytes: &Bytes,
        digest: Option<Digests>,
        on_progress: &mut (dyn FnMut(TransferProgress) -> ControlFlow<()> + Send),
    ) -> Result<UploadStatus, ClientError> {
        let offset = begun.offset_bytes;
        let mut reached = begun.clone();
        loop {
            let sent = usize::try_from(reached.offset_bytes - offset).unwrap_or(usize::MAX);
            let rest = bytes.slice(sent.min(bytes.len())..);
            let chunk = ChunkRequest {
                id: begun.id.clone(),
                offset: reached.offset_bytes,
                length: Some(length(&rest)),
                checksum: None,
                digests: digest.unwrap_or_default(),
            };
            let problem = match self.send_once(&reached, chunk, rest, on_progress).await? {
                Ok(status) => {
                    self.patience.renew();
                    return Ok(status);
                }
                Err(problem) => problem,
            };
            self.patience.after(problem).await?;
            let status = self.look(&begun.id).await?;
            if status.offset_bytes > reached.offset_bytes {
                self.patience.renew();
            }
            if status.offset_bytes >= offset + length(bytes) {
                return Ok(status);
            }
            if status.offset_bytes < offset {
                let detail = "the upload lost bytes that it had";
                return Err(Problem::new(ErrorCode::Conflict, detail).with_path(&self.request.path).into());
            }
            reached = status;
            self.tell(&reached, 0, on_progress).await?;
        }
    }

    /// Sends bytes once, and tells meanwhile how many have gone out.
    async fn send_once(
        &mut self,
        reached: &UploadStatus,
        chunk: ChunkRequest,
        bytes: Bytes,
        on_progress: &mut (dyn FnMut(TransferProgress) -> ControlFlow<()> + Send),
    ) -> Result<Result<UploadStatus, Problem>, ClientError> {
        let gone = Arc::new(AtomicU64::new(0));
        let body = counted(bytes, Arc::clone(&gone));
        let sandbox = self.sandbox;
        let grant = self.grant();
        let mut sending = sandbox.guest().append_upload(&grant, chunk, body);
        let mut ticks = tokio::time::interval_at(Instant::now() + TELL_EVERY, TELL_EVERY);
        loop {
            tokio::select! {
                biased;
                answer = &mut sending => return Ok(answer),
                _ = ticks.tick() => {
                    if self.hears(reached, gone.load(Ordering::Relaxed), on_progress).is_break() {
                        // What is under way has to end before the upload can be given up.
                        drop(sending);
                        return Err(self.cancel(&reached.id).await);
                    }
                }
            }
        }
    }

    /// Before the last piece makes the file show: is it still the one that was read?
    async fn check_source(&mut self) -> Result<(), ClientError> {
        if source_of(&self.file.file, &self.file.path)? == self.file.source {
            return Ok(());
        }
        Err(ClientError::SourceChanged { path: self.file.path.display().to_string() })
    }

    async fn tell(
        &mut self,
        status: &UploadStatus,
        gone: u64,
        on_progress: &mut (dyn FnMut(TransferProgress) -> ControlFlow<()> + Send),
    ) -> Result<(), ClientError> {
        match self.hears(status, gone, on_progress) {
            ControlFlow::Break(()) if !status.is_complete() => Err(self.cancel(&status.id).await),
            ControlFlow::Break(()) | ControlFlow::Continue(()) => Ok(()),
        }
    }

    fn hears(
        &self,
        status: &UploadStatus,
        gone: u64,
        on_progress: &mut (dyn FnMut(TransferProgress) -> ControlFlow<()> + Send),
    ) -> ControlFlow<()> {
        on_progress(TransferProgress {
            done_bytes: status.offset_bytes,
            sent_bytes: status.offset_bytes + gone,
            total_bytes: status.length_bytes,
            retries: self.patience.retries,
        })
    }

    /// Gives the upload up, with what is stored of it.
    async fn cancel(&mut self, id: &UploadId) -> ClientError {
        self.state.forget();
        self.patience.renew();
        loop {
            match self.sandbox.guest().delete_upload(self.sandbox.grant(), id.clone()).await {
                Err(problem) if problem.code != ErrorCode::UploadNotFound => {
                    if let Err(error) = self.patience.after(problem).await {
                        return error;
                    }
                }
                Ok(()) | Err(_) => return ClientError::Cancelled,
            }
        }
    }
}

/// Bytes that are counted as they are taken to be sent.
fn counted(bytes: Bytes, gone: Arc<AtomicU64>) -> Body {
    let whole = length(&bytes);
    let slices = futures_util::stream::unfold((bytes, gone), |(mut bytes, gone)| async move {
        if bytes.is_empty() {
            return None;
        }
        let slice = bytes.split_to(bytes.len().min(SLICE));
        gone.fetch_add(length(&slice), Ordering::Relaxed);
        Some((Ok(slice), (bytes, gone)))
    });
    Body::from_stream(slices, Some(whole))
}

impl LocalFile {
    /// Begins to read a piece, and to hash it.
    fn read(&self, offset: u64, most: u64, mut hasher: Sha256) -> JoinHandle<Result<Piece, ClientError>> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let wanted = this.source.size_bytes.saturating_sub(offset).min(most);
            let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(usize::MAX)];
            this.fill(&mut bytes, offset)?;
            hasher.update(&bytes);
            Ok(Piece { bytes: bytes.into(), hasher })
        })
    }

    /// Hashes all before `end`.
    async fn hash(&self, mut hasher: Sha256, end: u64) -> Result<Sha256, ClientError> {
        let this = self.clone();
        let hashing = tokio::task::spawn_blocking(move || {
            let (mut at, mut buffer) = (0, vec![0; HASH_BUFFER]);
            while at < end {
                let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(HASH_BUFFER);
                this.fill(&mut buffer[..wanted], at)?;
                hasher.update(&buffer[..wanted]);
                at += u64::try_from(wanted).unwrap_or(0);
            }
            Ok(hasher)
        });
        finished(hashing).await
    }

    fn fill(&self, bytes: &mut [u8], offset: u64) -> Result<(), ClientError> {
        self.file.read_exact_at(bytes, offset).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                ClientError::SourceChanged { path: self.path.display().to_string() }
            }
            _ => local("read", &self.path, source),
        })
    }
}

async fn finished<T>(work: JoinHandle<Result<T, ClientError>>) -> Result<T, ClientError> {
    match work.await {
        Ok(result) => result,
        Err(_) => Err(Problem::new(ErrorCode::Internal, "the work was lost with its thread").into()),
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
