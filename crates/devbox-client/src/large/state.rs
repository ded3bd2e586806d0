//! What is remembered of a transfer for a later run.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use devbox_transfer::{SavedState, Source};
use devbox_types::Timestamp;

use crate::error::ClientError;

/// A file with a [`SavedState`]; without one, nothing is remembered.
#[derive(Debug, Clone)]
pub(super) struct StateFile(Option<PathBuf>);

impl StateFile {
    pub(super) fn nowhere() -> Self {
        Self(None)
    }

    pub(super) fn at(path: PathBuf) -> Self {
        Self(Some(path))
    }

    /// Where uploads of this key are remembered; nowhere without a home.
    pub(super) fn of_upload(key: &str) -> Self {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        Self(folder.map(|folder| folder.join("devbox/uploads").join(format!("{key}.json"))))
    }

    /// What was remembered; what cannot be read or understood is as good as nothing.
    pub(super) fn load(&self) -> Option<SavedState> {
        let file = open_plain(self.0.as_ref()?, OpenOptions::new().read(true)).ok()?;
        let mut bytes = Vec::new();
        let limit = u64::try_from(SavedState::MAX_BYTES).unwrap_or(0) + 1;
        file.take(limit).read_to_end(&mut bytes).ok()?;
        (bytes.len() <= SavedState::MAX_BYTES).then(|| SavedState::decode(&bytes).ok()).flatten()
    }

    /// Remembers, whole or not at all.
    pub(super) fn save(&self, state: &SavedState) -> Result<(), ClientError> {
        let Some(path) = &self.0 else { return Ok(()) };
        let write = || {
            if let Some(folder) = path.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            let staged = path.with_extension(format!("json-{}", std::process::id()));
            drop(fs::remove_file(&staged));
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?;
            file.write_all(&state.encode())?;
            fs::rename(&staged, path)
        };
        write().map_err(|source| local("remember the transfer in", path, source))
    }

    pub(super) fn forget(&self) {
        if let Some(path) = &self.0 {
            drop(fs::remove_file(path));
        }
    }
}

/// What tells this version of a file from another.
pub(super) fn source_of(file: &File, path: &Path) -> Result<Source, ClientError> {
    let metadata = file.metadata().map_err(|source| local("look at", path, source))?;
    if !metadata.is_file() {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
        return Err(local("transfer", path, source));
    }
    let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
    Ok(Source {
        size_bytes: metadata.len(),
        modified: Timestamp::from_parts(metadata.mtime(), nanoseconds),
        inode: metadata.ino(),
    })
}

/// Opens a file that was left here: not a link, and under no second name, which somebody else could have put there.
pub(super) fn open_plain(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let named = fs::symlink_metadata(path)?;
    let refuse = || io::Error::new(io::ErrorKind::InvalidInput, "not a plain file");
    if !named.is_file() || named.nlink() != 1 {
        return Err(refuse());
    }
    let file = options.open(path)?;
    let opened = file.metadata()?;
    if (opened.dev(), opened.ino()) == (named.dev(), named.ino()) { Ok(file) } else { Err(refuse()) }
}

pub(super) fn local(doing: &'static str, path: &Path, source: io::Error) -> ClientError {
    ClientError::Local { doing, path: path.to_owned(), source }
}
