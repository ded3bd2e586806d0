//! How far a copy is: on standard error, if that is a terminal.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How far a copy is. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    bar: ProgressBar,
    files: Arc<AtomicU64>,
    left_out: Arc<AtomicU64>,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        let bar = if quiet || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            let bar = ProgressBar::no_length().with_style(
                ProgressStyle::with_template("{spinner} {msg} {bytes} ({bytes_per_sec}, {elapsed})")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        };
        Self { bar, files: Arc::default(), left_out: Arc::default() }
    }

    /// So many bytes more have gone across.
    pub(super) fn advance(&self, bytes: usize) {
        self.bar.inc(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// One file more is done.
    pub(super) fn file_done(&self) {
        let files = self.files.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.bar.is_hidden() {
            self.bar.set_message(if files == 1 { "1 file".to_owned() } else { format!("{files} files") });
        }
    }

    /// An entry is not copied, for this reason; the copy goes on, and fails at its end.
    pub(super) fn leave_out(&self, path: &Path, reason: &str) {
        self.left_out.fetch_add(1, Ordering::Relaxed);
        self.bar.suspend(|| eprintln!("devbox: {} is left out: {reason}", path.display()));
    }

    /// How many entries were left out.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
