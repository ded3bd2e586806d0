//! One API writer at a time per name.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::attributes::FileId;

/// Names share so many locks; two that fall together only wait for each other's few system calls.
const SHARDS: usize = 64;

/// Locks for names in directories.
#[derive(Debug)]
pub(crate) struct WriterLocks {
    hasher: RandomState,
    shards: [Mutex<()>; SHARDS],
}

impl WriterLocks {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::new(), shards: [const { Mutex::new(()) }; SHARDS] }
    }

    /// Waits until no other API writer publishes under this name.
    pub(crate) fn lock(&self, directory: FileId, name: &[u8]) -> MutexGuard<'_, ()> {
        self.lock_shard(self.shard(directory, name))
    }

    /// The same for many names, in an order in which callers cannot wait for each other in a circle.
    pub(crate) fn lock_all<'n>(
        &self,
        names: impl Iterator<Item = (FileId, &'n [u8])>,
    ) -> Vec<MutexGuard<'_, ()>> {
        let shards: BTreeSet<usize> = names.map(|(directory, name)| self.shard(directory, name)).collect();
        shards.into_iter().map(|shard| self.lock_shard(shard)).collect()
    }

    fn shard(&self, directory: FileId, name: &[u8]) -> usize {
        let shards = u64::try_from(SHARDS).unwrap_or(1);
        usize::try_from(self.hasher.hash_one((directory, name)) % shards).unwrap_or(0)
    }

    fn lock_shard(&self, shard: usize) -> MutexGuard<'_, ()> {
        // The lock guards no data, so a panic under it left nothing half done here.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
