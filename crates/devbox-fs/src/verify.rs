//! Reading back what was stored.

use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};

use devbox_types::{Algorithms, BoxPath, DigestHasher, Digests};
use rustix::fs::Advice;

use crate::error::{At as _, FsError};
use crate::read::read_at;

const BUFFER: usize = 128 << 10;

/// Hashes `length` bytes of a file from `offset` on, as its disk has them: the file is synced, and what memory holds of it is
/// given up first. A file system without a disk answers from memory.
///
/// # Errors
/// [`FsError::NotAsWritten`] if the file ends before that.
pub(crate) fn read_back(
    file: &OwnedFd,
    offset: u64,
    length: u64,
    algorithms: Algorithms,
    path: &BoxPath,
) -> Result<Digests, FsError> {
    rustix::fs::fsync(file).at("sync", path)?;
    let Some(whole) = NonZeroU64::new(length) else { return Ok(DigestHasher::new(algorithms).finish()) };
    // Advice may be ignored, and is where there is nothing to give up.
    let _ = rustix::fs::fadvise(file.as_fd(), offset, Some(whole), Advice::DontNeed);
    let mut hasher = DigestHasher::new(algorithms);
    let mut buffer = vec![0; BUFFER];
    let mut done = 0;
    while done < length {
        let wanted = usize::try_from(length - done).unwrap_or(BUFFER).min(BUFFER);
        match read_at(file, &mut buffer[..wanted], offset + done).at("read back", path)? {
            0 => return Err(FsError::NotAsWritten { path: path.clone() }),
            count => {
                hasher.update(&buffer[..count]);
                done += u64::try_from(count).unwrap_or(0);
            }
        }
    }
    Ok(hasher.finish())
}
