//! Two results, side by side.
//!
//! Compared are multiples of the floor, each of its own run: what the machine did at the time falls out. Noise is judged by
//! the blocks: subject and floor took theirs in turns, so a block of one belongs to a block of the other. The blocks are drawn
//! anew, with repetition, some thousand times from both runs (a bootstrap); a change counts if 95 % of the draws agree
//! that there is one, and it is more than [`LEAST_CHANGE`].

use std::path::Path;

use anyhow::Result;

use crate::result::{RowResult, RunResult, median};
use crate::row::Row;

/// What is smaller is nobody's concern, even if it could be told from noise.
const LEAST_CHANGE: f64 = 0.05;

/// Fewer blocks tell nothing about noise.
const LEAST_BLOCKS: usize = 3;

const DRAWS: usize = 4000;

/// Prints two results side by side.
pub(crate) fn print(before: &Path, after: &Path) -> Result<()> {
    let (before, after) = (RunResult::load(before)?, RunResult::load(after)?);
    for line in lines(&before, &after) {
        println!("{line}");
    }
    Ok(())
}

fn lines(before: &RunResult, after: &RunResult) -> Vec<String> {
    let mut lines = Vec::new();
    let (other_large, other_many) =
        (before.bulk_bytes != after.bulk_bytes, before.tree_files != after.tree_files);
    for (name, run) in [("before", before), ("after", after)] {
        let quick = if run.quick { ", QUICK: the figures mean nothing" } else { "" };
        lines.push(format!(
            "{name:>6}: commit {}, load {}, Linux {}{quick}",
            run.commit, run.machine.load, run.machine.kernel
        ));
    }
    if (&before.machine.processor, before.machine.processors)
        != (&after.machine.processor, after.machine.processors)
    {
        lines.push("these are two machines: multiples of the floor may differ for that alone".to_owned());
    }
    if other_large || other_many {
        lines.push("the sizes differ: rows of large files, or of many, are left out".to_owned());
    }
    lines.push(format!(
        "\n{:<36} {:<36} {:>9} {:>9} {:>7}  {:<15} ",
        "multiple of the floor", "", "before", "after", "ratio", "95 %"
    ));
    let mut only_before = 0;
    let differs = |row: Row| row.is_large() && other_large || row.is_of_many() && other_many;
    for old in before.rows.iter().filter(|old| old.multiple.is_some() && !differs(old.row)) {
        match after.find(old.row, &old.subject) {
            Some(new) => lines.push(line(before, old, after, new)),
            None => only_before += 1,
        }
    }
    if only_before > 0 {
        lines.push(format!("{only_before} rows are only in the first"));
    }
    lines.push(format!(
        "\na change is marked if 95 % of {DRAWS} draws of the blocks agree on its direction, and it is above {:.0} %",
        LEAST_CHANGE * 100.0
    ));
    lines
}

fn line(before: &RunResult, old: &RowResult, after: &RunResult, new: &RowResult) -> String {
    let title = old.row.title(before.tree_files, before.bulk_bytes >> 20);
    let blocks = |run: &RunResult, row: &RowResult| {
        let floor = run.floor_of(row)?;
        Some(Blocks { subject: row.times.blocks_p50_s.clone(), floor: floor.times.blocks_p50_s.clone() })
    };
    let (Some(old_blocks), Some(new_blocks), Some(was), Some(is)) =
        (blocks(before, old), blocks(after, new), old.multiple, new.multiple)
    else {
        return format!("{title:<36} {:<36} has no floor in one of them", old.subject);
    };
    let ratio = is / was;
    let (interval, mark) = match interval(&old_blocks, &new_blocks) {
        None => ("–".to_owned(), "too few blocks to judge"),
        Some((low, high)) => (format!("{low:.2} to {high:.2}"), verdict(ratio, low, high)),
    };
    format!("{title:<36} {:<36} {was:>9.2} {is:>9.2} {ratio:>7.2}  {interval:<15} {mark}", old.subject)
}

fn verdict(ratio: f64, low: f64, high: f64) -> &'static str {
    match (ratio - 1.0).abs() > LEAST_CHANGE {
        true if low > 1.0 => "SLOWER",
        true if high < 1.0 => "FASTER",
        _ => "",
    }
}

/// The middles of blocks that were taken in turns.
struct Blocks {
    subject: Vec<f64>,
    floor: Vec<f64>,
}

impl Blocks {
    fn count(&self) -> usize {
        self.subject.len().min(self.floor.len())
    }

    /// The multiple of as many blocks, drawn with repetition.
    fn draw(&self, random: &mut Random) -> f64 {
        let drawn: Vec<usize> = (0..self.count()).map(|_| random.below(self.count())).collect();
        let middle = |blocks: &[f64]| median(&drawn.iter().map(|index| blocks[*index]).collect::<Vec<_>>());
        middle(&self.subject) / middle(&self.floor)
    }
}

/// Where 95 % of the ratios of drawn multiples lie.
fn interval(before: &Blocks, after: &Blocks) -> Option<(f64, f64)> {
    if before.count().min(after.count()) < LEAST_BLOCKS {
        return None;
    }
    // The same draws each time: two looks at two files say the same.
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut ratios: Vec<f64> =
        (0..DRAWS).map(|_| after.draw(&mut random) / before.draw(&mut random)).collect();
    ratios.sort_by(f64::total_cmp);
    Some((ratios[DRAWS / 40], ratios[DRAWS - DRAWS / 40 - 1]))
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 33) % limit as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(subject: [f64; 5], floor: f64) -> Blocks {
        Blocks { subject: subject.to_vec(), floor: vec![floor; 5] }
    }

    #[test]
    fn a_change_is_told_from_noise() {
        let before = blocks([1.0, 1.1, 0.9, 1.05, 0.95], 0.5);
        let same = blocks([2.1, 1.9, 2.0, 1.8, 2.2], 1.0);
        let (low, high) = interval(&before, &same).expect("enough blocks");
        assert_eq!(verdict(1.0, low, high), "");
        assert!(low < 1.0 && high > 1.0, "{low} {high}");
        let slower = blocks([1.5, 1.6, 1.4, 1.55, 1.45], 0.5);
        let (low, high) = interval(&before, &slower).expect("enough blocks");
        assert_eq!(verdict(1.5, low, high), "SLOWER");
        assert_eq!(verdict(1.5, 0.8, high), "");
        assert_eq!(verdict(1.04, 1.01, 1.05), "");
        let (low, high) = interval(&slower, &before).expect("enough blocks");
        assert_eq!(verdict(1.0 / 1.5, low, high), "FASTER");
    }

    #[test]
    fn few_blocks_are_not_judged() {
        let few = Blocks { subject: vec![1.0, 2.0], floor: vec![1.0, 1.0] };
        assert!(interval(&few, &blocks([1.0; 5], 1.0)).is_none());
    }
}
