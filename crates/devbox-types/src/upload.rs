//! Large files in pieces: begun once, continued as often as the line breaks, published when whole.

use serde::{Deserialize, Serialize};

use crate::digest::Digests;
use crate::entry::Entry;
use crate::file::WriteRequest;
use crate::id::UploadId;
use crate::path::WirePath;
use crate::time::Timestamp;

/// What an upload is begun with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRequest {
    /// Where the file goes and how, as of any write; `length` has to be known. `condition` is checked now, and again when
    /// the file is published.
    pub write: WriteRequest,
    /// A digest of the whole comes with the last piece: hash the pieces as they come, so that it need not be read again.
    pub digest_follows: bool,
    /// The `Upload-Metadata` of the tus protocol as it was given; it is kept and given back.
    pub metadata: String,
    /// What it is to become.
    pub role: UploadRole,
}

impl UploadRequest {
    /// The longest metadata, in bytes.
    pub const MAX_METADATA: usize = 8192;
    /// The most parts of one file: each is held open while they are joined.
    pub const MAX_PARTS: usize = 256;
}

/// What an upload is to become.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadRole {
    /// A file.
    #[default]
    File,
    /// A part of a file. It has no target: its `write.path` is `/`, and of the rest only length and digests count.
    Part,
    /// A file, of the bytes of these complete parts in this order. `write.length` is not given; no pieces are taken.
    Joined(Vec<UploadId>),
}

/// The next piece of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRequest {
    /// Which upload.
    pub id: UploadId,
    /// Where the piece begins: it must be where the upload ends, else `conflict`.
    pub offset: u64,
    /// How many bytes will come, if known.
    pub length: Option<u64>,
    /// What the piece must hash to, else none of it counts and it is `checksum_mismatch`. Without it, a piece that breaks off
    /// counts as far as it came.
    pub checksum: Option<ChunkChecksum>,
    /// What the whole file must hash to, if that was not known when the upload was begun.
    pub digests: Digests,
}

/// The digest of one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkChecksum {
    /// SHA-1, which every tus server has to know. It finds accidents, not attackers.
    Sha1([u8; 20]),
    /// SHA-256.
    Sha256([u8; 32]),
}

/// How far an upload is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UploadStatus {
    /// Its id.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub id: UploadId,
    /// Where the file goes.
    #[serde(flatten)]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::PathFields))]
    pub path: WirePath,
    /// How many bytes have been stored and count.
    pub offset_bytes: u64,
    /// How many the file will have.
    pub length_bytes: u64,
    /// When what has not been completed is swept away.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub expires: Timestamp,
    /// The metadata that it was begun with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// Whether it is a part of a file, as which it has no path of its own.
    #[serde(default, skip_serializing_if = "is_false")]
    pub part: bool,
    /// The parts that it was joined from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub parts: Vec<UploadId>,
    /// The file, in the answer to the piece that completed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl UploadStatus {
    /// Whether all bytes have come, and the file is published.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.offset_bytes == self.length_bytes
    }
}
