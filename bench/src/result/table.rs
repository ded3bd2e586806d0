//! The tables on standard output.

use super::{Role, RowResult, RunResult};
use crate::machine::Machine;
use crate::row::Row;

impl RunResult {
    /// Prints everything: one table for each operation, a line for each subject.
    pub(crate) fn print(&self) {
        let Machine { processor, processors, kernel, load } = &self.machine;
        println!("machine: {processors} × {processor}, Linux {kernel}, load {load} at the start");
        println!("commit: {}", self.commit);
        println!(
            "durability: process (safe against the death of any process; no fsync), or power where it says `synced`"
        );
        println!(
            "×: multiple of the floor with as many hops, time by time; everything was compared byte for byte"
        );
        if self.quick {
            println!("QUICK: this shows that it works; the figures mean nothing");
        }
        println!("\n{:<36} {:>4}  {:<34} publishing", "subject", "hops", "file system");
        for subject in &self.subjects {
            let hops = if subject.hops == 0 { "–".to_owned() } else { subject.hops.to_string() };
            println!("{:<36} {hops:>4}  {:<34} {}", subject.name, subject.file_system, subject.publishing);
        }
        for row in Row::all() {
            let results: Vec<&RowResult> = self.rows.iter().filter(|result| result.row == *row).collect();
            if !results.is_empty() {
                self.print_row(*row, &results);
            }
        }
        if let Some(memory) = &self.memory {
            memory.print();
        }
    }

    fn print_row(&self, row: Row, results: &[&RowResult]) {
        let title = row.title(self.tree_files, self.bulk_bytes >> 20);
        let speed = if row.is_large() { "MiB/s" } else { "" };
        println!(
            "\n{title:<36} {:>11} {:>11} {:>11} {:>11} {:>6} {:>7} {speed:>8}",
            "p50", "p90", "p99", "min", "count", "×"
        );
        for result in results {
            let times = &result.times;
            let is_floor = self.subject(&result.subject).is_some_and(|subject| subject.role == Role::Floor);
            let multiple = match result.multiple {
                Some(multiple) => format!("{multiple:.2}"),
                None if is_floor => "1".to_owned(),
                None => "–".to_owned(),
            };
            let speed = if row.is_large() { format!("{:.0}", self.speed(result)) } else { String::new() };
            println!(
                "  {:<34} {:>11} {:>11} {:>11} {:>11} {:>6} {multiple:>7} {speed:>8}",
                result.subject,
                time(times.p50_s),
                time(times.p90_s),
                time(times.p99_s),
                time(times.min_s),
                times.count
            );
        }
    }

    /// MiB a second of a large file.
    pub(crate) fn speed(&self, result: &RowResult) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "sizes here are far below 2^52")]
        let mebibytes = self.bulk_bytes as f64 / f64::from(1 << 20);
        mebibytes / result.times.p50_s
    }

    /// How many figures stand on verified data.
    pub(crate) fn verified(&self) -> usize {
        self.rows.len()
    }
}

/// A time with the unit that suits it.
pub(crate) fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1e-3 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 10e-3 => format!("{:.2} ms", seconds * 1e3),
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_suits_them() {
        let times = [421e-6, 2.5e-3, 0.1234, 1.5].map(time);
        assert_eq!(times, ["421 µs", "2.50 ms", "123.4 ms", "1.50 s"]);
    }
}
