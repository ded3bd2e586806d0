//! How many tests ran, read from what the test runners print last.

use std::ops::AddAssign;

/// Counts of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed, and errors of the runner.
    pub(crate) failed: u64,
    /// Tests that were not run: ignored, skipped.
    pub(crate) skipped: u64,
}

impl Tally {
    /// Adds what one line of output says, if it is a runner's summary.
    pub(crate) fn read_line(&mut self, line: &str) {
        let line = without_colour(line);
        let line = line.trim();
        if let Some(counts) = line.strip_prefix("test result:") {
            // `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s`
            self.read_counts(counts.trim_start_matches(|letter: char| !letter.is_ascii_digit()).split(';'));
        } else if is_pytest_summary(line) {
            // `=== 3 passed, 1 skipped in 0.12s ===`, without the frame under -q
            let counts = line.trim_matches(|letter| letter == '=' || letter == ' ');
            let counts = counts.split(" in ").next().unwrap_or_default();
            self.read_counts(counts.split(','));
        } else if is_plain_summary(line) {
            self.read_counts(line.split(','));
        }
    }

    fn read_counts<'line>(&mut self, counts: impl Iterator<Item = &'line str>) {
        for count in counts {
            let mut words = count.split_whitespace();
            let (Some(number), Some(word)) = (words.next(), words.next()) else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match word {
                "passed" => self.passed += number,
                "failed" | "error" | "errors" => self.failed += number,
                "ignored" | "skipped" | "deselected" => self.skipped += number,
                _ => {}
            }
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

fn is_pytest_summary(line: &str) -> bool {
    let inner = line.trim_matches(|letter| letter == '=' || letter == ' ');
    let Some((counts, time)) = inner.rsplit_once(" in ") else { return false };
    let begins_with_number = counts.starts_with(|letter: char| letter.is_ascii_digit());
    let ends_with_time = time.split_whitespace().next().is_some_and(|time| time.ends_with('s'));
    let counted = ["passed", "failed", "error", "skipped"].iter().any(|word| counts.contains(word));
    begins_with_number && ends_with_time && counted
}

/// `3 passed, 0 failed`, as our own programs end.
fn is_plain_summary(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    matches!(words[..], [passed, "passed,", failed, "failed"]
        if [passed, failed].iter().all(|number| number.parse::<u64>().is_ok()))
}

fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(letter) = rest.next() {
        if letter == '\u{1b}' {
            rest.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(letter);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.read_line(line));
        tally
    }

    #[test]
    fn summaries_of_libtest_are_added_up() {
        let lines = [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s",
            "test result: \u{1b}[31mFAILED\u{1b}[0m. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        ];
        assert_eq!(tally(&lines), Tally { passed: 4, failed: 2, skipped: 1 });
    }

    #[test]
    fn summaries_of_pytest_are_read_with_and_without_frame() {
        assert_eq!(tally(&["12 passed, 1 skipped in 3.20s"]), Tally { passed: 12, failed: 0, skipped: 1 });
        let framed = "===== 1 failed, 4 passed, 2 errors in 0.1s (0:00:01) =====";
        assert_eq!(tally(&[framed]), Tally { passed: 4, failed: 3, skipped: 0 });
    }

    #[test]
    fn our_own_summaries_are_read() {
        assert_eq!(tally(&["7 passed, 0 failed"]), Tally { passed: 7, failed: 0, skipped: 0 });
    }

    #[test]
    fn what_a_test_says_is_no_summary() {
        let lines = [
            "3 files passed in review",
            "12 passed the door, 1 failed",
            "passed 3 in 2s",
            "no tests ran in 0.01s",
        ];
        assert_eq!(tally(&lines), Tally::default());
    }
}
