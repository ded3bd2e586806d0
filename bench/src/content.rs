//! What is moved: bytes that cannot be guessed, made once and compared at the other end.

use std::sync::OnceLock;

use anyhow::{Result, ensure};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Content is this block over and over; a prime length, so that no buffer's edge falls on a repetition.
const BLOCK: usize = 1_048_573;

/// A file's content of a length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content {
    /// Its length.
    pub(crate) length: u64,
}

fn block() -> &'static Bytes {
    static BLOCK_BYTES: OnceLock<Bytes> = OnceLock::new();
    BLOCK_BYTES.get_or_init(|| {
        // xorshift64: noise that no file system compresses.
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut noise = Vec::with_capacity(BLOCK + 8);
        while noise.len() < BLOCK {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            noise.extend_from_slice(&state.to_le_bytes());
        }
        noise.truncate(BLOCK);
        Bytes::from(noise)
    })
}

impl Content {
    /// Its chunks, in order, none of them copied.
    pub(crate) fn chunks(self) -> impl Iterator<Item = Bytes> + Send + 'static {
        let mut left = self.length;
        std::iter::from_fn(move || {
            let size = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK);
            left -= size as u64;
            (size > 0).then(|| block().slice(..size))
        })
    }

    /// Its SHA-256.
    pub(crate) fn sha256(self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        self.chunks().for_each(|chunk| hasher.update(&chunk));
        hasher.finalize().into()
    }
}

/// Compares what arrives with what should.
#[derive(Debug)]
pub(crate) struct Check {
    expected: Content,
    seen: u64,
    digest: Option<(Sha256, [u8; 32])>,
}

impl Check {
    /// Expects this content. With a digest it computes the SHA-256 too, as a client does that verifies.
    pub(crate) fn new(expected: Content, digest: Option<[u8; 32]>) -> Self {
        Self { expected, seen: 0, digest: digest.map(|digest| (Sha256::new(), digest)) }
    }

    /// Takes the next bytes.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> Result<()> {
        if let Some((hasher, _)) = &mut self.digest {
            hasher.update(bytes);
        }
        while !bytes.is_empty() {
            let at = usize::try_from(self.seen % BLOCK as u64)?;
            let (part, rest) = bytes.split_at(bytes.len().min(BLOCK - at));
            ensure!(block()[at..at + part.len()] == *part, "other bytes came back, after {}", self.seen);
            self.seen += part.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Expects the end.
    pub(crate) fn finish(self) -> Result<()> {
        ensure!(self.seen == self.expected.length, "{} bytes of {} came", self.seen, self.expected.length);
        if let Some((hasher, expected)) = self.digest {
            ensure!(hasher.finalize()[..] == expected, "the digest is another");
        }
        Ok(())
    }
}

/// The content of a small file in this round: each differs from the one before.
pub(crate) fn small(round: u64) -> Bytes {
    let mut bytes = block()[..SMALL].to_vec();
    bytes[..8].copy_from_slice(&round.to_le_bytes());
    Bytes::from(bytes)
}

/// The size of a small file.
pub(crate) const SMALL: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_checked_to_the_byte() {
        let content = Content { length: 3_000_000 };
        let whole: Vec<u8> = content.chunks().flatten().collect();
        assert_eq!(whole.len(), 3_000_000);
        let check = |bytes: &[u8]| -> Result<()> {
            let mut check = Check::new(content, Some(content.sha256()));
            bytes.chunks(777).try_for_each(|chunk| check.take(chunk))?;
            check.finish()
        };
        check(&whole).expect("the same");
        check(&whole[..2_999_999]).expect_err("one byte short");
        let mut other = whole;
        other[2_000_000] ^= 1;
        check(&other).expect_err("one bit differs");
    }
}
