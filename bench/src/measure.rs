//! What is measured of each subject, and how.
//!
//! Subjects take turns, operation by operation, so that what else the machine does meanwhile falls on all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;

use crate::content;
use crate::plan::Plan;
use crate::result::{RunResult, Samples};
use crate::row::Row;
use crate::subject::{Manner, Move, Subject};
use crate::tree::Tree;

/// Operations that are measured together, because one needs what the other leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Small,
    Synced,
    Large,
    Many,
    Run,
}

const GROUPS: [Group; 5] = [Group::Small, Group::Synced, Group::Large, Group::Many, Group::Run];

/// Files that large files are read from and written to, on this side.
pub(crate) const SOURCE: &str = "large-source";
const TARGET: &str = "large-target";

/// A subject, and how long it took so far.
pub(crate) struct Participant {
    subject: Box<dyn Subject>,
    samples: BTreeMap<Row, Samples>,
    /// Whether its large file is there.
    has_large: bool,
}

/// What all participants use.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    /// How much is done.
    pub(crate) plan: &'a Plan,
    /// The digest of the large file.
    pub(crate) digest: Option<[u8; 32]>,
    /// The small files as an archive.
    pub(crate) tar: Bytes,
    /// Where local files are.
    pub(crate) local: PathBuf,
}

impl<'a> Work<'a> {
    /// Prepares what is sent.
    pub(crate) fn prepare(plan: &'a Plan, local: &Path) -> Result<Self> {
        let digest = (plan.bulk.length > 0).then(|| plan.bulk.sha256());
        Ok(Self { plan, digest, tar: Tree::tar(plan.tree)?, local: local.to_owned() })
    }
}

/// Lets all participants take their turns.
pub(crate) fn take_turns(taking_part: &mut [Participant], work: &Work<'_>) -> Result<()> {
    for participant in &mut *taking_part {
        participant.warm_up(work).with_context(|| format!("warm up {}", participant.name()))?;
    }
    for turn in 0..work.plan.turns {
        for group in GROUPS {
            // Who is first in one turn is last in another: nobody always finds the disk busy with the others' files.
            let first = turn % taking_part.len().max(1);
            taking_part.rotate_left(first);
            for participant in &mut *taking_part {
                let name = participant.name();
                eprintln!("turn {} of {}: {group:?}, {name}", turn + 1, work.plan.turns);
                participant.measure(group, turn, work).with_context(|| format!("{group:?}, {name}"))?;
            }
            taking_part.rotate_right(first);
        }
    }
    Ok(())
}

impl Participant {
    pub(crate) fn new(subject: impl Subject + 'static) -> Self {
        Self { subject: Box::new(subject), samples: BTreeMap::new(), has_large: false }
    }

    pub(crate) fn name(&self) -> String {
        self.subject.facts().name.clone()
    }

    /// Adds what was asked for to the result.
    pub(crate) fn report(self, plan: &Plan, result: &mut RunResult) {
        let facts = self.subject.facts().clone();
        for (row, samples) in self.samples.iter().filter(|(row, _)| plan.rows.contains(row)) {
            result.add(*row, &facts.name, samples);
        }
        result.subjects.push(facts);
    }

    fn takes(&self, row: Row, work: &Work<'_>) -> bool {
        work.plan.rows.contains(&row) && self.subject.can(row)
    }

    fn begin_block(&mut self, row: Row) {
        self.samples.entry(row).or_default().begin_block();
    }

    fn add(&mut self, row: Row, time: Duration) {
        self.samples.entry(row).or_default().add(time);
    }

    /// Times one call.
    fn time<T>(&mut self, row: Row, call: impl FnOnce(&mut dyn Subject) -> Result<T>) -> Result<T> {
        let begin = Instant::now();
        let answer = call(&mut *self.subject).with_context(|| row.key())?;
        let took = begin.elapsed();
        self.add(row, took);
        Ok(answer)
    }

    fn warm_up(&mut self, work: &Work<'_>) -> Result<()> {
        if self.takes(Row::Write, work) || self.takes(Row::Read, work) {
            self.small(work)?;
            self.samples.clear();
        }
        Ok(())
    }

    fn measure(&mut self, group: Group, turn: usize, work: &Work<'_>) -> Result<()> {
        match group {
            Group::Small if self.takes(Row::Write, work) || self.takes(Row::Read, work) => self.small(work),
            Group::Synced if self.takes(Row::WriteSynced, work) => self.synced(work),
            Group::Large if work.digest.is_some() => self.large(work),
            Group::Many if work.plan.tree.files > 0 => self.many(turn, work),
            Group::Run if self.takes(Row::Run, work) => self.runs(work),
            _ => Ok(()),
        }
    }

    /// Writes and reads one small file over and over, each time other content, in turns.
    fn small(&mut self, work: &Work<'_>) -> Result<()> {
        self.begin_block(Row::Write);
        self.begin_block(Row::Read);
        for round in 0..work.plan.rounds {
            let content = content::small(round);
            self.time(Row::Write, |subject| subject.write("small-1", content.clone()))?;
            let found = self.time(Row::Read, |subject| subject.read("small-1"))?;
            ensure!(found.len() == content.len(), "{} bytes of {} came back", found.len(), content.len());
            ensure!(!self.subject.stores() || found == content, "other bytes came back");
            self.subject.tidy()?;
        }
        Ok(())
    }

    fn synced(&mut self, work: &Work<'_>) -> Result<()> {
        self.begin_block(Row::WriteSynced);
        for round in 0..work.plan.synced_rounds {
            let content = content::small(round);
            self.time(Row::WriteSynced, |subject| subject.write_synced("synced-1", content.clone()))?;
            ensure!(self.subject.read("synced-1")? == content, "other bytes came back");
        }
        Ok(())
    }

    /// Moves a large file up and down in every way there is.
    fn large(&mut self, work: &Work<'_>) -> Result<()> {
        let ways = [
            (Row::Up, Row::Down, Manner::Whole, None),
            (Row::UpVerified, Row::DownVerified, Manner::Whole, work.digest),
            (Row::Pieces, Row::Down, Manner::Pieces, None),
            (Row::PiecesVerified, Row::Down, Manner::Pieces, work.digest),
            (Row::UploadLargeFile, Row::DownloadLargeFile, Manner::LargeFile, None),
        ];
        // What others have written is not ours to wait for.
        rustix::fs::sync();
        for (up, down, manner, digest) in ways {
            let what = Move { content: work.plan.bulk, manner, digest };
            if self.takes(up, work) {
                self.begin_block(up);
                self.time(up, |subject| subject.upload("large-2", what))?;
                self.has_large = true;
                self.subject.tidy()?;
            }
            let is_check = manner == Manner::Pieces && self.takes(up, work);
            if is_check && self.subject.stores() {
                // Only compared: downloads do not depend on how the file came.
                self.subject.download("large-2", Move { manner: Manner::Whole, digest: None, ..what })?;
            } else if manner != Manner::Pieces && self.takes(down, work) {
                self.download(down, what, work)?;
            }
        }
        Ok(())
    }

    fn download(&mut self, row: Row, what: Move, work: &Work<'_>) -> Result<()> {
        if !self.has_large && self.subject.stores() {
            self.subject.upload("large-2", Move { manner: Manner::Whole, digest: None, ..what })?;
            self.has_large = true;
        }
        self.begin_block(row);
        self.time(row, |subject| subject.download("large-2", what))?;
        if what.manner == Manner::LargeFile {
            let target = work.local.join(TARGET);
            work.plan.bulk.check_file(&target)?;
            std::fs::remove_file(target)?;
        }
        Ok(())
    }

    /// Writes many small files as a batch and as an archive, and looks at them.
    fn many(&mut self, turn: usize, work: &Work<'_>) -> Result<()> {
        let tree = work.plan.tree;
        rustix::fs::sync();
        let needs_files = [Row::Batch, Row::ListPages, Row::ListStream, Row::Pack];
        if self.subject.can(Row::Batch) && needs_files.into_iter().any(|row| self.takes(row, work)) {
            self.subject.remove("many")?;
            self.begin_block(Row::Batch);
            self.time(Row::Batch, |subject| subject.write_many("many", &tree))?;
            self.check_tree("many", turn, work)?;
        }
        for row in [Row::ListPages, Row::ListStream] {
            if self.takes(row, work) {
                self.begin_block(row);
                for _ in 0..work.plan.lists {
                    let listing = self.time(row, |subject| subject.list("many", row))?;
                    ensure!(listing == tree.listing(), "the listing is another: {} names", listing.len());
                }
            }
        }
        if self.takes(Row::Pack, work) {
            self.begin_block(Row::Pack);
            let packed = self.time(Row::Pack, |subject| subject.pack("many"))?;
            tree.check(packed)?;
        }
        if self.takes(Row::Unpack, work) {
            self.subject.remove("unpacked")?;
            self.begin_block(Row::Unpack);
            self.time(Row::Unpack, |subject| subject.unpack("unpacked", work.tar.clone()))?;
            self.check_tree("unpacked", turn, work)?;
        }
        Ok(())
    }

    /// Compares names and sizes of all, and contents: of all in the first turn, and then of every tenth.
    fn check_tree(&mut self, folder: &str, turn: usize, work: &Work<'_>) -> Result<()> {
        let tree = work.plan.tree;
        if let Some(row) = [Row::ListStream, Row::ListPages].into_iter().find(|row| self.subject.can(*row)) {
            let listing = self.subject.list(folder, row)?;
            ensure!(listing == tree.listing(), "{} files of {} are there", listing.len(), tree.files);
        }
        let step = if turn == 0 { 1 } else { 10 };
        for index in (turn % step..tree.files).step_by(step) {
            let name = Tree::name(index);
            let found = self.subject.read(&format!("{folder}/{name}"))?;
            ensure!(found == Tree::content(index), "{folder}/{name} holds other bytes");
        }
        Ok(())
    }

    fn runs(&mut self, work: &Work<'_>) -> Result<()> {
        self.begin_block(Row::Run);
        (0..work.plan.runs).try_for_each(|_| self.time(Row::Run, |subject| subject.run()))
    }
}
