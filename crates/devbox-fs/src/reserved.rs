//! Names that the engine keeps for itself: staged files, trash, and its state directory.

use std::sync::atomic::{AtomicU64, Ordering};

use devbox_types::BoxPath;

use crate::error::FsError;

/// How every reserved name begins. Such names are refused in requests and left out of listings.
pub(crate) const PREFIX: &[u8] = b".~devbox-";

/// The directory at the box's root that holds journals; mode 0700, owned by root.
pub(crate) const STATE_DIRECTORY: &[u8] = b".~devbox-state";

pub(crate) fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(PREFIX)
}

/// Refuses a path with a reserved name anywhere on the way.
pub(crate) fn check(path: &BoxPath) -> Result<(), FsError> {
    if path.segments().any(is_reserved) {
        return Err(FsError::ReservedName { path: path.clone() });
    }
    Ok(())
}

/// Makes reserved names that nobody else makes: a random number per engine, then a counter.
#[derive(Debug)]
pub(crate) struct NameSource {
    token: u64,
    next: AtomicU64,
}

impl NameSource {
    pub(crate) fn new() -> Result<Self, std::io::Error> {
        let token = getrandom::u64().map_err(std::io::Error::other)?;
        Ok(Self { token, next: AtomicU64::new(0) })
    }

    pub(crate) fn fresh(&self) -> Vec<u8> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut name = PREFIX.to_vec();
        name.extend_from_slice(format!("{:016x}-{number:x}", self.token).as_bytes());
        name
    }
}
