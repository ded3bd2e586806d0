//! The digest of one piece.

use devbox_types::upload::ChunkChecksum;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// Compares the bytes of a piece with what was announced for it.
#[derive(Debug, Clone)]
pub enum ChunkVerifier {
    /// By SHA-1.
    Sha1 {
        /// What has come.
        hasher: Sha1,
        /// What was announced.
        expected: [u8; 20],
    },
    /// By SHA-256.
    Sha256 {
        /// What has come.
        hasher: Sha256,
        /// What was announced.
        expected: [u8; 32],
    },
}

impl ChunkVerifier {
    /// Begins a piece.
    #[must_use]
    pub fn new(checksum: ChunkChecksum) -> Self {
        match checksum {
            ChunkChecksum::Sha1(expected) => Self::Sha1 { hasher: Sha1::new(), expected },
            ChunkChecksum::Sha256(expected) => Self::Sha256 { hasher: Sha256::new(), expected },
        }
    }

    /// Takes bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1 { hasher, .. } => hasher.update(bytes),
            Self::Sha256 { hasher, .. } => hasher.update(bytes),
        }
    }

    /// Whether what came is what was announced.
    #[must_use]
    pub fn matches(self) -> bool {
        match self {
            Self::Sha1 { hasher, expected } => hasher.finalize()[..] == expected,
            Self::Sha256 { hasher, expected } => hasher.finalize()[..] == expected,
        }
    }
}
