//! The rows: each operation that is measured, what it is called and which floor it is compared with.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Row {
    /// Replacing 4 KiB.
    Write,
    /// Reading 4 KiB.
    Read,
    /// Replacing 4 KiB, synced to the disk before the answer.
    WriteSynced,
    /// A large file up, in one request.
    Up,
    /// A large file down, in one request.
    Down,
    /// Up, with its SHA-256 verified by the receiver.
    UpVerified,
    /// Down, with its SHA-256 verified by the receiver.
    DownVerified,
    /// Up in pieces of 10 MiB.
    Pieces,
    /// Up in pieces of 10 MiB, with the SHA-256 of the whole verified.
    PiecesVerified,
    /// The client's `upload_large_file`, from a local file; the whole is verified.
    UploadLargeFile,
    /// The client's `download_large_file`, to a local file.
    DownloadLargeFile,
    /// Many small files in one call.
    Batch,
    /// The same as a tar that is unpacked.
    Unpack,
    /// The same as a tar that is packed.
    Pack,
    /// Listing them as JSON, page by page where there are pages.
    ListPages,
    /// Listing them as one stream of lines.
    ListStream,
    /// Starting a program and waiting for its end.
    Run,
    /// From asking for a box until its first file is written.
    FirstByte,
}

impl Row {
    /// All of them, in the order of the tables.
    pub(crate) fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// Its name in files and on the command line.
    pub(crate) fn key(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// How it is called in tables, for `files` small files and a large one of `mebibytes`.
    pub(crate) fn title(self, files: usize, mebibytes: u64) -> String {
        match self {
            Self::Write => "write 4 KiB".to_owned(),
            Self::Read => "read 4 KiB".to_owned(),
            Self::WriteSynced => "write 4 KiB, synced".to_owned(),
            Self::Up => format!("{mebibytes} MiB up"),
            Self::Down => format!("{mebibytes} MiB down"),
            Self::UpVerified => format!("{mebibytes} MiB up, SHA-256"),
            Self::DownVerified => format!("{mebibytes} MiB down, SHA-256"),
            Self::Pieces => format!("{mebibytes} MiB up in pieces of 10 MiB"),
            Self::PiecesVerified => format!("{mebibytes} MiB up in pieces, SHA-256"),
            Self::UploadLargeFile => format!("upload_large_file, {mebibytes} MiB"),
            Self::DownloadLargeFile => format!("download_large_file, {mebibytes} MiB"),
            Self::Batch => format!("batch up, {files} × 1 KiB"),
            Self::Unpack => format!("archive up, {files} × 1 KiB, tar"),
            Self::Pack => format!("archive down, {files} × 1 KiB, tar"),
            Self::ListPages => format!("list {files}, JSON"),
            Self::ListStream => format!("list {files}, NDJSON"),
            Self::Run => "run `true`".to_owned(),
            Self::FirstByte => "create → first byte written".to_owned(),
        }
    }

    /// Whether it is told in MiB a second.
    pub(crate) fn is_large(self) -> bool {
        self.floor().is_some_and(|floor| {
            matches!(floor, Self::Up | Self::Down | Self::UpVerified | Self::DownVerified)
        })
    }

    /// Whether it is of the many small files.
    pub(crate) fn is_of_many(self) -> bool {
        matches!(self, Self::Batch | Self::Unpack | Self::Pack | Self::ListPages | Self::ListStream)
    }

    /// The row of the floor that it is compared with: the same work without HTTP, done in the plainest way there is. A box
    /// has no floor.
    pub(crate) fn floor(self) -> Option<Self> {
        Some(match self {
            Self::Pieces => Self::Up,
            Self::PiecesVerified | Self::UploadLargeFile => Self::UpVerified,
            Self::DownloadLargeFile => Self::Down,
            Self::Unpack => Self::Batch,
            Self::ListPages => Self::ListStream,
            Self::FirstByte => return None,
            row => row,
        })
    }

    /// What is safe when the answer comes.
    pub(crate) fn durability(self) -> &'static str {
        match self {
            Self::WriteSynced => "power",
            _ => "process",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_a_row_of_its_own_floor() {
        for row in Row::all() {
            if let Some(floor) = row.floor() {
                assert_eq!(floor.floor(), Some(floor), "{row:?}");
                assert_eq!(floor.durability(), row.durability(), "{row:?}");
            }
            assert!(!row.key().is_empty());
        }
    }
}
