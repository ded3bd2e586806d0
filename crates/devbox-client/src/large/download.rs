//! From a box to here.

use std::ffi::OsString;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use devbox_guest::FileContent;
use devbox_transfer::SavedState;
use devbox_types::file::{ByteRange, ReadRequest};
use devbox_types::{
    Algorithms, BoxPath, DigestAlgorithm, DigestHasher, Digests, Entry, ErrorCode, Etag, Grant, Problem,
    Timestamp,
};
use futures_util::StreamExt as _;
use futures_util::future::try_join;

use super::state::{StateFile, local, open_plain};
use super::{LargeOptions, OnProgress, Pace, Patience, TransferProgress, wait};
use crate::error::ClientError;
use crate::sandbox::Sandbox;

/// After a change, a version's tag is weak for so long that this is enough; a weak tag cannot be gone on with.
const SETTLE: Duration = Duration::from_millis(50);

impl Sandbox {
    /// Downloads a file so that a dropped line costs nothing that has come, and a later call with the same file and target
    /// goes on where this one ended.
    ///
    /// All bytes are of one version of the file: if it changes in the box meanwhile, the download ends with `SourceChanged`,
    /// and the next call begins anew. The local file is replaced in one step, and gets mode and time of the file in the box.
    ///
    /// Before that, the SHA-256 of all that is here, an earlier run's part read back, is compared with that of the file in the
    /// box, which reads it once more for that while the bytes come. (An agent that is older than this tells no digest.)
    ///
    /// # Errors
    /// `SourceChanged`; `Local`; `Cancelled`; `digest_mismatch`, and nothing of what came is kept; what the box says.
    ///
    /// # Cancel safety
    /// Dropping the future keeps what has come, for a later call. `on_progress` can end it for good.
    pub async fn download_large_file(
        &self,
        path: impl AsRef<[u8]>,
        local_path: &Path,
        options: &LargeOptions,
        on_progress: OnProgress<'_>,
    ) -> Result<Entry, ClientError> {
        let path = self.resolve(path)?;
        let part = beside(local_path, ".devbox-part")?;
        let state = StateFile::at(beside(local_path, ".devbox-part.json")?);
        let patience = Patience::new(options.retry);
        let pace = Pace::new(options.piece_bytes);
        let mut download = Download { sandbox: self, path, target: local_path, part, state, patience, pace };
        let outcome = download.run(on_progress).await;
        let over = match &outcome {
            Ok(_) | Err(ClientError::Cancelled | ClientError::SourceChanged { .. }) => true,
            Err(ClientError::Problem(problem)) => problem.code == ErrorCode::DigestMismatch,
            Err(_) => false,
        };
        if over || !options.resumable {
            download.forget();
        }
        outcome
    }
}

struct Download<'c> {
    sandbox: &'c Sandbox,
    path: BoxPath,
    target: &'c Path,
    part: PathBuf,
    state: StateFile,
    patience: Patience,
    pace: Pace,
}

/// What is here of the file.
struct Part {
    file: File,
    stored: u64,
    /// Of all of it.
    hasher: DigestHasher,
}

impl Download<'_> {
    async fn run(&mut self, on_progress: OnProgress<'_>) -> Result<Entry, ClientError> {
        let (entry, tag) = self.look().await?;
        // The box reads the file for its digest while its bytes come.
        let (sandbox, path) = (self.sandbox, self.path.clone());
        let digest = digest_of(sandbox, &path, &tag, Patience::new(self.patience.policy));
        let (part, announced) = try_join(self.fetch(&entry, &tag, on_progress), digest).await?;
        if !announced.are_met_by(&part.hasher.finish()) {
            let problem = Problem::new(ErrorCode::DigestMismatch, "what came is not what is in the box");
            return Err(problem.with_path(&self.path).into());
        }
        self.publish(&part.file, &entry)?;
        Ok(entry)
    }

    /// Fetches what is missing.
    async fn fetch(
        &mut self,
        entry: &Entry,
        tag: &Etag,
        on_progress: OnProgress<'_>,
    ) -> Result<Part, ClientError> {
        let Part { mut file, mut stored, mut hasher } = self.open(tag, entry.size_bytes).await?;
        self.tell(stored, entry.size_bytes, on_progress)?;
        while stored < entry.size_bytes {
            let mut content = self.rest(tag, stored).await?;
            let is_rest = content.head.offset == stored && content.head.entry.size_bytes == entry.size_bytes;
            let found = content.head.entry.etag.as_ref();
            if !is_rest || !found.is_some_and(|found| found.matches_weakly(tag)) {
                return Err(ClientError::SourceChanged { path: self.path.to_string() });
            }
            let broken = loop {
                match content.body.next().await {
                    None => break None,
                    Some(Err(error)) => break Some(error),
                    Some(Ok(chunk)) => {
                        file.write_all(&chunk).map_err(|source| local("write", &self.part, source))?;
                        hasher.update(&chunk);
                        stored += u64::try_from(chunk.len()).unwrap_or(0);
                        self.patience.renew();
                        self.tell(stored, entry.size_bytes, on_progress)?;
                    }
                }
            };
            if let Some(error) = broken {
                self.patience.after(error.into()).await?;
            }
        }
        Ok(Part { file, stored, hasher })
    }

    /// What the file is now, with a tag that tells its version from all others.
    async fn look(&mut self) -> Result<(Entry, Etag), ClientError> {
        loop {
            let request = ReadRequest { head: true, ..ReadRequest::whole(self.path.clone()) };
            let entry = match self.sandbox.guest().read(&self.grant(), request).await {
                Ok(content) => content.head.entry,
                Err(problem) => {
                    self.patience.after(problem).await?;
                    continue;
                }
            };
            match entry.etag.clone() {
                Some(tag) if !tag.is_weak() => return Ok((entry, tag)),
                // It was changed in this very moment.
                Some(_) | None if self.patience.attempt < self.patience.policy.attempts => {
                    self.patience.attempt += 1;
                    wait(SETTLE).await;
                }
                Some(_) | None => return Err(ClientError::SourceChanged { path: self.path.to_string() }),
            }
        }
    }

    /// Opens what an earlier run left of this version, or begins anew.
    async fn open(&self, tag: &Etag, size_bytes: u64) -> Result<Part, ClientError> {
        let devbox = self.sandbox.devbox().id.to_string();
        let saved = self.state.load();
        let saved = saved.as_ref().and_then(|saved| saved.download_of(&devbox, &self.path));
        if saved.is_some_and(|(earlier, _)| earlier.matches_strongly(tag))
            && let Ok(file) = open_plain(&self.part, OpenOptions::new().read(true).write(true))
            && file.metadata().is_ok_and(|metadata| metadata.len() <= size_bytes)
        {
            let read = tokio::task::spawn_blocking(|| read_back(file)).await.map_err(io::Error::from);
            return read.and_then(|part| part).map_err(|source| local("read", &self.part, source));
        }
        self.forget();
        let begun = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.part);
        let file = begun.map_err(|source| local("write", &self.part, source))?;
        self.state.save(&SavedState::Download {
            version: SavedState::VERSION,
            devbox,
            origin: self.path.clone().into(),
            etag: tag.clone(),
            size_bytes,
        })?;
        Ok(Part { file, stored: 0, hasher: DigestHasher::new(Algorithms::SHA_256) })
    }

    /// Asks for what is missing.
    async fn rest(&mut self, tag: &Etag, stored: u64) -> Result<FileContent, ClientError> {
        loop {
            let range =
                if stored == 0 { ByteRange::Whole } else { ByteRange::FromTo { first: stored, last: None } };
            let if_range = (stored > 0).then(|| tag.clone());
            let request = ReadRequest { range, if_range, ..ReadRequest::whole(self.path.clone()) };
            match self.sandbox.guest().read(&self.grant(), request).await {
                Ok(content) => return Ok(content),
                Err(problem) => self.patience.after(problem).await?,
            }
        }
    }

    fn grant(&self) -> Grant {
        self.patience.grant(self.sandbox.grant())
    }

    fn publish(&self, file: &File, entry: &Entry) -> Result<(), ClientError> {
        let finish = || {
            file.set_permissions(Permissions::from_mode(entry.mode & 0o777))?;
            file.set_times(FileTimes::new().set_modified(system_time(entry.modified)))?;
            fs::rename(&self.part, self.target)
        };
        finish().map_err(|source| local("publish", self.target, source))
    }

    fn tell(
        &mut self,
        done_bytes: u64,
        total_bytes: u64,
        on_progress: &mut (dyn FnMut(TransferProgress) -> ControlFlow<()> + Send),
    ) -> Result<(), ClientError> {
        if !self.pace.is_due(done_bytes, total_bytes) {
            return Ok(());
        }
        let retries = self.patience.retries;
        let progress = TransferProgress { done_bytes, sent_bytes: done_bytes, total_bytes, retries };
        if on_progress(progress).is_continue() || done_bytes == total_bytes {
            return Ok(());
        }
        Err(ClientError::Cancelled)
    }

    fn forget(&self) {
        self.state.forget();
        // Published, it is not there any more.
        drop(fs::remove_file(&self.part));
    }
}

/// The digest of this version of the file. None of an agent that is older than the wish.
async fn digest_of(
    sandbox: &Sandbox,
    path: &BoxPath,
    tag: &Etag,
    mut patience: Patience,
) -> Result<Digests, ClientError> {
    let mut is_second_look = false;
    loop {
        let want_digest = Some(DigestAlgorithm::Sha256);
        let request = ReadRequest { head: true, want_digest, ..ReadRequest::whole(path.clone()) };
        let head = match sandbox.guest().read(&patience.grant(sandbox.grant()), request).await {
            Ok(content) => content.head,
            Err(problem) => {
                patience.after(problem).await?;
                continue;
            }
        };
        if !head.entry.etag.is_some_and(|found| found.matches_weakly(tag)) {
            return Err(ClientError::SourceChanged { path: path.to_string() });
        }
        // There is none either of a file that changed while it was read: a second look then finds another version.
        if !head.digests.is_empty() || is_second_look {
            return Ok(head.digests);
        }
        is_second_look = true;
    }
}

/// Reads what an earlier run left, up to where it goes on.
fn read_back(mut file: File) -> io::Result<Part> {
    const BUFFER: usize = 256 << 10;
    let (mut stored, mut hasher) = (0, DigestHasher::new(Algorithms::SHA_256));
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Part { file, stored, hasher }),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                stored += u64::try_from(count).unwrap_or(0);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The hidden name beside a file.
fn beside(target: &Path, suffix: &str) -> Result<PathBuf, ClientError> {
    let Some(name) = target.file_name().filter(|_| !target.is_dir()) else {
        return Err(local("write", target, std::io::ErrorKind::IsADirectory.into()));
    };
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(suffix);
    Ok(target.with_file_name(hidden))
}

fn system_time(time: Timestamp) -> SystemTime {
    let distance = Duration::from_nanos(time.nanoseconds().unsigned_abs());
    if time.nanoseconds() < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}
