//! Which of many cases a quick run takes.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

/// Draws numbers from a seed: that of `DEVBOX_FAULT_SEED`, or of the moment. The seed is printed, for whoever has to repeat.
#[derive(Debug)]
pub(crate) struct Chance {
    state: Cell<u64>,
}

impl Chance {
    pub(crate) fn new(what: &str) -> Self {
        let seed = std::env::var("DEVBOX_FAULT_SEED").ok().and_then(|seed| seed.parse().ok());
        let moment = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
        let seed: u64 = seed.unwrap_or_else(moment);
        eprintln!("{what}: DEVBOX_FAULT_SEED={seed}");
        Self { state: Cell::new(seed) }
    }

    /// A number below `limit`: splitmix64.
    pub(crate) fn below(&self, limit: usize) -> usize {
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(limit.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    /// Every number below `limit`, or in a quick run `quick` of them, in order.
    pub(crate) fn some(&self, limit: usize, quick: usize) -> Vec<usize> {
        if takes_all() || quick >= limit {
            return (0..limit).collect();
        }
        let mut chosen = std::collections::BTreeSet::new();
        while chosen.len() < quick {
            chosen.insert(self.below(limit));
        }
        chosen.into_iter().collect()
    }
}

/// Whether every case is to be taken.
pub(crate) fn takes_all() -> bool {
    std::env::var("DEVBOX_FAULT_ROUNDS").is_ok_and(|rounds| rounds == "all")
}
