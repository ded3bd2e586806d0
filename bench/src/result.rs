//! What a run found: in memory, as JSON, as a table.
//!
//! | module | subject |
//! |---|---|
//! | `summary` | what is kept of many times |
//! | `table` | the tables on standard output |

mod summary;
mod table;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::machine::{self, Machine};
use crate::memory::Memory;
use crate::plan::Plan;
use crate::row::Row;

pub(crate) use summary::{Samples, Summary, median};

/// What a subject is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// The plain program.
    Floor,
    /// The bare HTTP server, which stores nothing.
    Echo,
    /// Devbox.
    Ours,
    /// Somebody else's server.
    Peer,
}

/// What stands about a subject in tables and files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SubjectFacts {
    /// Its name, unique in a run.
    pub(crate) name: String,
    /// What it is.
    pub(crate) role: Role,
    /// How many sockets a byte passes: with whose floor it is compared.
    pub(crate) hops: usize,
    /// What it stores on.
    pub(crate) file_system: String,
    /// How a file gets its name: what a reader may see in between.
    pub(crate) publishing: String,
}

/// One operation of one subject.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RowResult {
    /// The operation.
    pub(crate) row: Row,
    /// Whose.
    pub(crate) subject: String,
    /// What is safe when the answer comes: `process` against the death of any process, `power` against power loss.
    pub(crate) durability: String,
    /// The multiple of the floor's p50, where there is a floor.
    pub(crate) multiple: Option<f64>,
    /// The times.
    #[serde(flatten)]
    pub(crate) times: Summary,
}

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunResult {
    /// The version of this form.
    pub(crate) version: u32,
    /// Where.
    pub(crate) machine: Machine,
    /// Of which commit the benchmark's source tree was; with `+` if it was changed.
    pub(crate) commit: String,
    /// Few rounds, small files: not to be quoted.
    pub(crate) quick: bool,
    /// The size of large files.
    pub(crate) bulk_bytes: u64,
    /// How many small files a batch has.
    pub(crate) tree_files: usize,
    /// Who took part.
    pub(crate) subjects: Vec<SubjectFacts>,
    /// What was measured.
    pub(crate) rows: Vec<RowResult>,
    /// What the processes of the whole path held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<Memory>,
}

impl RunResult {
    /// The version that this program writes and reads.
    pub(crate) const VERSION: u32 = 1;

    /// Nothing yet, on this machine.
    pub(crate) fn empty(plan: &Plan, quick: bool) -> Self {
        Self {
            version: Self::VERSION,
            machine: Machine::here(),
            commit: machine::commit(),
            quick,
            bulk_bytes: plan.bulk.length,
            tree_files: plan.tree.files,
            subjects: Vec::new(),
            rows: Vec::new(),
            memory: None,
        }
    }

    /// Adds the times of one operation, if there are any.
    pub(crate) fn add(&mut self, row: Row, subject: &str, samples: &Samples) {
        if let Some(times) = samples.summary() {
            let durability = row.durability().to_owned();
            let subject = subject.to_owned();
            self.rows.push(RowResult { row, subject, durability, multiple: None, times });
        }
    }

    /// Works out the multiples, once all floors are there.
    pub(crate) fn compare_with_floors(&mut self) {
        let multiples: Vec<Option<f64>> = self
            .rows
            .iter()
            .map(|result| self.floor_of(result).map(|floor| result.times.p50_s / floor.times.p50_s))
            .collect();
        for (result, multiple) in self.rows.iter_mut().zip(multiples) {
            result.multiple = multiple;
        }
        self.rows.sort_by_key(|result| result.row);
    }

    /// What a subject is.
    pub(crate) fn subject(&self, name: &str) -> Option<&SubjectFacts> {
        self.subjects.iter().find(|subject| subject.name == name)
    }

    /// One operation of one subject.
    pub(crate) fn find(&self, row: Row, subject: &str) -> Option<&RowResult> {
        self.rows.iter().find(|result| result.row == row && result.subject == subject)
    }

    /// The floor of a result; a floor has none.
    pub(crate) fn floor_of(&self, result: &RowResult) -> Option<&RowResult> {
        let subject = self.subject(&result.subject).filter(|subject| subject.role != Role::Floor)?;
        let same_hops = |floor: &&SubjectFacts| floor.role == Role::Floor && floor.hops == subject.hops;
        let floor = self.subjects.iter().find(same_hops)?;
        self.find(result.row.floor()?, &floor.name)
    }

    /// Writes it to a file.
    pub(crate) fn save(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))
    }

    /// Reads one that was saved.
    pub(crate) fn load(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let result: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} is no result of this benchmark", file.display()))?;
        let version = result.version;
        ensure!(version == Self::VERSION, "{} has version {version}, not {}", file.display(), Self::VERSION);
        Ok(result)
    }
}
