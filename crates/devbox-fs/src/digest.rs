//! The digest of an open file, made in steps so that whoever waits can give up in between.

use std::os::fd::{AsFd, OwnedFd};

use devbox_types::{Algorithms, BoxPath, DigestAlgorithm, DigestHasher, Digests};

use crate::attributes::Attributes;
use crate::error::{At as _, FsError};
use crate::read::read_at;

const READ_BUFFER: usize = 256 << 10;

/// How far a digest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashed {
    /// More is to be read.
    More,
    /// It is made. There is none if none was asked for, or if the file changed while it was read: the digest would be of no
    /// version of it.
    Done(Digests),
}

/// A digest on its way.
#[derive(Debug)]
pub(crate) struct Hashing {
    hasher: DigestHasher,
    at: u64,
    opened: Attributes,
}

impl Hashing {
    /// Begins the digest of a file that was looked at when it was opened.
    pub(crate) fn new(algorithm: DigestAlgorithm, opened: Attributes) -> Self {
        Self { hasher: DigestHasher::new(Algorithms::default().with(algorithm)), at: 0, opened }
    }

    /// Reads about `most` bytes more.
    pub(crate) fn step(&mut self, file: &OwnedFd, most: u64, path: &BoxPath) -> Result<Hashed, FsError> {
        let end = self.opened.size().min(self.at.saturating_add(most));
        let mut buffer = vec![0; READ_BUFFER.min(usize::try_from(end - self.at).unwrap_or(READ_BUFFER))];
        while self.at < end {
            let wanted = usize::try_from(end - self.at).unwrap_or(READ_BUFFER).min(READ_BUFFER);
            match read_at(file, &mut buffer[..wanted], self.at).at("read", path)? {
                // It became shorter.
                0 => return Ok(Hashed::Done(Digests::default())),
                count => {
                    self.hasher.update(&buffer[..count]);
                    self.at += u64::try_from(count).unwrap_or(u64::MAX);
                }
            }
        }
        if self.at < self.opened.size() {
            return Ok(Hashed::More);
        }
        let now = Attributes::of(file.as_fd()).at("look at", path)?;
        let unchanged = now.is_same_content(&self.opened);
        Ok(Hashed::Done(if unchanged { self.hasher.clone().finish() } else { Digests::default() }))
    }
}
