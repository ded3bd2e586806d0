//! What is moved: bytes that cannot be guessed, made once and compared at the other end.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};

use crate::floor::BUFFER;

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
        self.part(0, self.length)
    }

    /// The chunks of a part of it.
    pub(crate) fn part(self, offset: u64, length: u64) -> impl Iterator<Item = Bytes> + Send + 'static {
        let end = self.length.min(offset + length);
        let mut at = offset;
        std::iter::from_fn(move || {
            let begin = usize::try_from(at % BLOCK as u64).unwrap_or_default();
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let size = left.min(BLOCK - begin);
            at += size as u64;
            (size > 0).then(|| block().slice(begin..begin + size))
        })
    }

    /// Writes it to a local file.
    pub(crate) fn write_to(self, file: &Path) -> Result<()> {
        let mut file = File::create(file).with_context(|| format!("make {}", file.display()))?;
        for chunk in self.chunks() {
            file.write_all(&chunk)?;
        }
        Ok(())
    }

    /// Compares a local file with it.
    pub(crate) fn check_file(self, file: &Path) -> Result<()> {
        let mut check = Check::new(self, None);
        check.read_from(&mut File::open(file).with_context(|| format!("open {}", file.display()))?)?;
        check.finish()
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

    /// Takes all that a stream has.
    pub(crate) fn read_from(&mut self, stream: &mut impl Read) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = stream.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            self.take(&buffer[..read])?;
        }
    }

    /// Takes all that a body has, and expects its end.
    pub(crate) async fn whole<E>(
        mut self,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<()>
    where
        anyhow::Error: From<E>,
    {
        while let Some(chunk) = body.next().await {
            self.take(&chunk?)?;
        }
        self.finish()
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
        let part: Vec<u8> = content.part(1_048_000, 1_200_000).flatten().collect();
        assert_eq!(part, &whole[1_048_000..2_248_000]);
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
