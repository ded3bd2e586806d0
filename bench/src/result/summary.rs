//! What is kept of many times: the percentiles, and the middle of each block, by which noise is judged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which percentiles are kept for the picture of a distribution.
const QUANTILES: [f64; 15] =
    [0.0, 1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0, 100.0];

/// Times of one operation, in seconds, in the blocks in which they were taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples {
    blocks: Vec<Vec<f64>>,
}

impl Samples {
    /// Begins the next block.
    pub(crate) fn begin_block(&mut self) {
        self.blocks.push(Vec::new());
    }

    /// Adds a time to the block.
    pub(crate) fn add(&mut self, time: Duration) {
        if self.blocks.is_empty() {
            self.begin_block();
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push(time.as_secs_f64());
        }
    }

    /// What is kept; `None` of no times.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let mut all: Vec<f64> = self.blocks.iter().flatten().copied().collect();
        all.sort_by(f64::total_cmp);
        let blocks = self.blocks.iter().filter(|block| !block.is_empty()).map(|block| median(block));
        let count = u32::try_from(all.len()).ok().filter(|count| *count > 0)?;
        Some(Summary {
            count,
            min_s: percentile(&all, 0.0),
            mean_s: all.iter().sum::<f64>() / f64::from(count),
            p50_s: percentile(&all, 50.0),
            p90_s: percentile(&all, 90.0),
            p99_s: percentile(&all, 99.0),
            quantiles_s: QUANTILES.iter().map(|percent| (*percent, percentile(&all, *percent))).collect(),
            blocks_p50_s: blocks.collect(),
        })
    }
}

/// The times of one operation of one subject.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// How many there were.
    pub(crate) count: u32,
    /// The fastest.
    pub(crate) min_s: f64,
    /// Their mean.
    pub(crate) mean_s: f64,
    /// Half took no longer.
    pub(crate) p50_s: f64,
    /// Nine of ten took no longer.
    pub(crate) p90_s: f64,
    /// Of a hundred, one took longer.
    pub(crate) p99_s: f64,
    /// Percentages, and the times that so many took at the most.
    pub(crate) quantiles_s: Vec<(f64, f64)>,
    /// The middle of each block, in the order of the turns.
    pub(crate) blocks_p50_s: Vec<f64>,
}

/// Nearest rank, of sorted values.
fn percentile(sorted: &[f64], percent: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank among far fewer than 2^52 values"
    )]
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// The middle of values in any order.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    percentile(&sorted, 50.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let mut samples = Samples::default();
        for block in 0..4 {
            samples.begin_block();
            (1..=25).rev().for_each(|second| samples.add(Duration::from_secs(block * 25 + second)));
        }
        let summary = samples.summary().expect("times");
        assert_eq!((summary.min_s, summary.mean_s), (1.0, 50.5));
        assert_eq!((summary.p50_s, summary.p90_s, summary.p99_s), (50.0, 90.0, 99.0));
        assert_eq!(summary.blocks_p50_s, [13.0, 38.0, 63.0, 88.0]);
        assert_eq!(summary.quantiles_s.last(), Some(&(100.0, 100.0)));
        assert!(Samples::default().summary().is_none());
    }
}
