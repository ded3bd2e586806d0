//! How much is done in a run.

use crate::content::Content;
use crate::options::Options;
use crate::row::Row;
use crate::tree::Tree;

/// How much is done.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Which operations.
    pub(crate) rows: Vec<Row>,
    /// Turns of each subject; in each it does all of the following.
    pub(crate) turns: usize,
    /// Small files, after one turn's worth to warm up.
    pub(crate) rounds: u64,
    /// Small files that are synced.
    pub(crate) synced_rounds: u64,
    /// The size of a large file, moved once in each way.
    pub(crate) bulk: Content,
    /// Many small files.
    pub(crate) tree: Tree,
    /// Listings of them in each form.
    pub(crate) lists: usize,
    /// Programs run.
    pub(crate) runs: usize,
    /// Boxes made in all, for the time to the first byte.
    pub(crate) boxes: usize,
}

impl Plan {
    /// Under ten minutes.
    fn full() -> Self {
        Self {
            rows: Row::all().to_vec(),
            turns: 5,
            rounds: 400,
            synced_rounds: 20,
            bulk: Content { length: 512 << 20 },
            tree: Tree { files: 10_000 },
            lists: 4,
            runs: 20,
            boxes: 25,
        }
    }

    /// Seconds, and everything is done once.
    fn quick() -> Self {
        Self {
            turns: 1,
            rounds: 50,
            synced_rounds: 3,
            // More than one piece.
            bulk: Content { length: 12 << 20 },
            tree: Tree { files: 300 },
            lists: 2,
            runs: 3,
            boxes: 2,
            ..Self::full()
        }
    }

    /// What the command line asks for.
    pub(crate) fn of(options: &Options) -> Self {
        let plan = if options.quick { Self::quick() } else { Self::full() };
        Self {
            rows: if options.rows.is_empty() { plan.rows } else { options.rows.clone() },
            turns: options.turns.unwrap_or(plan.turns),
            bulk: options.bulk_mib.map_or(plan.bulk, |mebibytes| Content { length: mebibytes << 20 }),
            tree: options.files.map_or(plan.tree, |files| Tree { files }),
            boxes: options.boxes.unwrap_or(plan.boxes),
            ..plan
        }
    }

    /// A few of everything, for tests.
    #[cfg(test)]
    pub(crate) fn tiny() -> Self {
        Self { rounds: 3, tree: Tree { files: 12 }, bulk: Content { length: 11 << 20 }, ..Self::quick() }
    }
}
