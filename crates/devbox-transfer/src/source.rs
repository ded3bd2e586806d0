//! The sending side: what a client remembers of a transfer, and whether the file is still the one it began with.

use std::path::PathBuf;

use devbox_types::{BoxPath, Coded, ErrorCode, Etag, Timestamp, UploadId, WirePath};
use serde::{Deserialize, Serialize};

/// What tells a version of a local file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// How long it is.
    pub size_bytes: u64,
    /// When it was last changed.
    pub modified: Timestamp,
    /// Its inode number.
    pub inode: u64,
}

/// What a client writes beside its work, so that a later run goes on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "direction", rename_all = "snake_case", deny_unknown_fields)]
pub enum SavedState {
    /// An upload.
    Upload {
        /// The version of this form.
        version: u32,
        /// The box.
        devbox: String,
        /// Where it goes.
        target: WirePath,
        /// The local file.
        local: PathBuf,
        /// The version of it that was begun with.
        source: Source,
        /// The upload.
        id: UploadId,
    },
    /// A download.
    Download {
        /// The version of this form.
        version: u32,
        /// The box.
        devbox: String,
        /// Where it comes from.
        origin: WirePath,
        /// The version of it that was begun with.
        etag: Etag,
        /// How long that is.
        size_bytes: u64,
    },
}

/// What was saved cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the saved state of a transfer is damaged, or of another version")]
pub struct SavedStateError;

impl Coded for SavedStateError {
    fn code(&self) -> ErrorCode {
        ErrorCode::InvalidRequest
    }
}

impl SavedState {
    /// The version that is written.
    pub const VERSION: u32 = 1;
    /// The longest state, in bytes.
    pub const MAX_BYTES: usize = 64 << 10;

    /// Writes it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Plain data with text keys always has a JSON form, as long as paths are UTF-8; other local paths cannot resume.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads it back.
    ///
    /// # Errors
    /// [`SavedStateError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SavedStateError> {
        let state: Self = serde_json::from_slice(bytes).map_err(|_| SavedStateError)?;
        let (Self::Upload { version, .. } | Self::Download { version, .. }) = &state;
        if *version == Self::VERSION { Ok(state) } else { Err(SavedStateError) }
    }

    /// The upload to go on with, if this is one of the same file to the same place.
    #[must_use]
    pub fn upload_of(&self, box_id: &str, path: &BoxPath, file: &Source) -> Option<&UploadId> {
        match self {
            Self::Upload { devbox, target, source, id, .. }
                if devbox == box_id && target.0 == *path && source == file =>
            {
                Some(id)
            }
            Self::Upload { .. } | Self::Download { .. } => None,
        }
    }

    /// The version to go on with, if this is a download of the same file.
    #[must_use]
    pub fn download_of(&self, box_id: &str, path: &BoxPath) -> Option<(&Etag, u64)> {
        match self {
            Self::Download { devbox, origin, etag, size_bytes, .. }
                if devbox == box_id && origin.0 == *path =>
            {
                Some((etag, *size_bytes))
            }
            Self::Upload { .. } | Self::Download { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_of_the_file_is_not_gone_on_with() {
        let path = BoxPath::parse(b"/a").expect("a path");
        let source = Source { size_bytes: 5, modified: Timestamp::EPOCH, inode: 1 };
        let state = SavedState::Upload {
            version: SavedState::VERSION,
            devbox: "box".to_owned(),
            target: path.clone().into(),
            local: "/tmp/a".into(),
            source,
            id: UploadId::from_random([1; 10]),
        };
        let read = SavedState::decode(&state.encode()).expect("the state");
        assert_eq!(read, state);
        assert!(read.upload_of("box", &path, &source).is_some());
        assert!(read.upload_of("other", &path, &source).is_none());
        assert!(read.upload_of("box", &path, &Source { size_bytes: 6, ..source }).is_none());
        assert!(read.download_of("box", &path).is_none());
        assert!(SavedState::decode(b"{}").is_err());
    }
}
