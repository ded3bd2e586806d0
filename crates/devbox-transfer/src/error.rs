//! Why a piece, or a whole upload, is refused.

use devbox_types::upload::UploadRequest;
use devbox_types::{Coded, ErrorCode, Timestamp, UploadId};

/// Why a piece, or a whole upload, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// The piece does not begin where the upload ends.
    #[error("the upload ends at byte {expected}, and the piece begins at {given}")]
    WrongOffset {
        /// Where the upload ends.
        expected: u64,
        /// Where the piece begins.
        given: u64,
    },
    /// The piece goes beyond the announced length.
    #[error("the piece goes beyond the {length} announced bytes")]
    BeyondEnd {
        /// The announced length of the whole.
        length: u64,
    },
    /// The piece does not hash to what was announced with it.
    #[error("the piece does not have the announced checksum")]
    ChecksumMismatch,
    /// The whole does not hash to what was announced.
    #[error("the whole file does not have the announced SHA-256")]
    DigestMismatch,
    /// Two different digests of the whole were announced.
    #[error("the SHA-256 of the whole is not the one that was announced before")]
    Contradiction,
    /// Its time is over.
    #[error("the upload expired at {at}")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// Not all bytes have come.
    #[error("{received} of {expected} bytes have come")]
    Incomplete {
        /// How many have come.
        received: u64,
        /// How many were announced.
        expected: u64,
    },
    /// An upload that was joined from parts is given a piece.
    #[error("an upload that is joined from parts takes no pieces")]
    IsJoined,
    /// What is to be joined is no part.
    #[error("the upload {id} was not begun as a part")]
    NotAPart {
        /// Which.
        id: UploadId,
    },
    /// A part lacks bytes.
    #[error("the part {id} has {received} of its {expected} bytes")]
    PartIncomplete {
        /// Which.
        id: UploadId,
        /// How many have come.
        received: u64,
        /// How many were announced.
        expected: u64,
    },
    /// The bytes of a part went into another file.
    #[error("the part {id} was joined into another file already")]
    Spent {
        /// Which.
        id: UploadId,
    },
    /// A file of no parts, or of too many.
    #[error("a file is joined from 1 to {} parts, and here are {given}", UploadRequest::MAX_PARTS)]
    PartCount {
        /// How many.
        given: usize,
    },
    /// The parts together are longer than any file.
    #[error("the parts are too long for one file")]
    PartsTooLong,
    /// What was remembered of the upload is damaged.
    #[error("what is remembered of the upload is damaged")]
    Damaged,
}

impl Coded for TransferError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::WrongOffset { .. } | Self::PartIncomplete { .. } => ErrorCode::Conflict,
            Self::BeyondEnd { .. } | Self::Contradiction | Self::NotAPart { .. } | Self::PartCount { .. } => {
                ErrorCode::InvalidRequest
            }
            Self::IsJoined => ErrorCode::PermissionDenied,
            Self::PartsTooLong => ErrorCode::TooLarge,
            Self::ChecksumMismatch => ErrorCode::ChecksumMismatch,
            Self::DigestMismatch => ErrorCode::DigestMismatch,
            Self::Incomplete { .. } => ErrorCode::Interrupted,
            Self::Expired { .. } | Self::Damaged | Self::Spent { .. } => ErrorCode::UploadNotFound,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::WrongOffset { .. } => "ask for the offset with HEAD, and go on from there",
            Self::ChecksumMismatch => "send the piece again",
            Self::DigestMismatch => "begin a new upload, of a file that nobody changes meanwhile",
            Self::Expired { .. } | Self::Damaged => "begin a new upload",
            Self::Incomplete { .. } => "send the rest",
            Self::PartIncomplete { .. } => "send the rest of the part, then join them",
            Self::NotAPart { .. } => "begin parts with `Upload-Concat: partial`",
            Self::Spent { .. } => "begin a new part",
            Self::BeyondEnd { .. }
            | Self::Contradiction
            | Self::IsJoined
            | Self::PartCount { .. }
            | Self::PartsTooLong => return None,
        };
        Some(hint.to_owned())
    }
}
