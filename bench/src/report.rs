//! The table and the JSON.

use std::time::Duration;

use serde::Serialize;

use crate::machine::Machine;

/// The middle and the slow end of many times, in seconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Times {
    /// Half took no longer.
    pub(crate) p50_s: f64,
    /// Of a hundred, one took longer.
    pub(crate) p99_s: f64,
    /// How many there were.
    pub(crate) count: usize,
}

impl Times {
    /// Of these, at least one.
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            times.get(index).copied().unwrap_or_default().as_secs_f64()
        };
        Self { p50_s: at(50), p99_s: at(99), count: times.len() }
    }
}

/// Everything measured of one subject.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    /// Its name.
    pub(crate) name: String,
    /// How many sockets a byte passes.
    pub(crate) hops: usize,
    /// Whether it keeps what it is given.
    pub(crate) stores: bool,
    /// What it stands on.
    pub(crate) file_system: String,
    /// Replacing 4 KiB.
    pub(crate) write: Times,
    /// Reading 4 KiB.
    pub(crate) read: Times,
    /// A large file, MiB a second.
    pub(crate) up: f64,
    /// The same back.
    pub(crate) down: f64,
    /// With its SHA-256 verified by the receiver.
    pub(crate) up_verified: f64,
    /// The same back.
    pub(crate) down_verified: f64,
}

/// A run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    /// Few rounds, small files: not to be quoted.
    quick: bool,
    bulk_bytes: u64,
    durability: &'static str,
    figures: Vec<Figures>,
    /// From asking for a box until its first file is written.
    pub(crate) first_byte: Option<Times>,
}

impl Report {
    pub(crate) fn new(machine: Machine, quick: bool, bulk_bytes: u64) -> Self {
        let durability = "process: safe against the death of any process; no fsync";
        Self { machine, quick, bulk_bytes, durability, figures: Vec::new(), first_byte: None }
    }

    pub(crate) fn add(&mut self, figures: Figures) {
        self.figures.push(figures);
    }

    /// How many figures stand on verified data.
    pub(crate) fn verified(&self) -> usize {
        const FIGURES_EACH: usize = 6;
        self.figures.len() * FIGURES_EACH + usize::from(self.first_byte.is_some())
    }

    fn floor_of(&self, figures: &Figures) -> Option<&Figures> {
        let floors = self.figures.iter().filter(|floor| floor.name.starts_with("floor"));
        floors.into_iter().find(|floor| floor.hops == figures.hops)
    }

    pub(crate) fn print(&self) {
        let Machine { processor, processors, kernel, load } = &self.machine;
        println!("machine: {processors} × {processor}, Linux {kernel}, load {load} at the start");
        println!("durability: {}", self.durability);
        println!("large files: {} MiB; (×) multiples of the floor with as many hops", self.bulk_bytes >> 20);
        if self.quick {
            println!("QUICK: this shows that it works; the figures mean nothing");
        }
        println!(
            "\n{:<38}{:>19}{:>11}{:>19}{:>11}{:>17}{:>17}{:>17}{:>17}",
            "",
            "write 4 KiB p50",
            "p99",
            "read 4 KiB p50",
            "p99",
            "up MiB/s",
            "down",
            "up, SHA-256",
            "down, SHA-256"
        );
        for figures in &self.figures {
            self.print_row(figures);
        }
        for figures in &self.figures {
            println!("{:<38}file system: {}", figures.name, figures.file_system);
        }
        if let Some(Times { p50_s, p99_s, count }) = self.first_byte {
            let (p50, p99) = (p50_s * 1e3, p99_s * 1e3);
            println!("\ncreate → first byte written: p50 {p50:.1} ms, p99 {p99:.1} ms, of {count} boxes");
        }
    }

    fn print_row(&self, figures: &Figures) {
        let floor = self.floor_of(figures).filter(|floor| floor.name != figures.name);
        let time = |of: fn(&Figures) -> f64| {
            let value = of(figures);
            let multiple = floor.map(|floor| format!(" (×{:.2})", value / of(floor))).unwrap_or_default();
            format!("{:.0} µs{multiple}", value * 1e6)
        };
        let speed = |of: fn(&Figures) -> f64| {
            let value = of(figures);
            let multiple = floor.map(|floor| format!(" (×{:.2})", value / of(floor))).unwrap_or_default();
            format!("{value:.0}{multiple}")
        };
        println!(
            "{:<38}{:>19}{:>11}{:>19}{:>11}{:>17}{:>17}{:>17}{:>17}",
            figures.name,
            time(|figures| figures.write.p50_s),
            format!("{:.0} µs", figures.write.p99_s * 1e6),
            time(|figures| figures.read.p50_s),
            format!("{:.0} µs", figures.read.p99_s * 1e6),
            speed(|figures| figures.up),
            speed(|figures| figures.down),
            if figures.stores { speed(|figures| figures.up_verified) } else { "–".to_owned() },
            speed(|figures| figures.down_verified),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let times = Times::of((1..=100).rev().map(Duration::from_secs).collect());
        assert_eq!((times.p50_s, times.p99_s, times.count), (51.0, 100.0, 100));
        let one = Times::of(vec![Duration::from_secs(3)]);
        assert_eq!((one.p50_s, one.p99_s), (3.0, 3.0));
    }
}
