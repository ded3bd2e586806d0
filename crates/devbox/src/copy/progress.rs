//! How far a copy is: on standard error, if that is a terminal.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How far a copy is. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    files: Arc<AtomicU64>,
    left_out: Arc<AtomicU64>,
    resumable: Arc<AtomicBool>,
}

/// Before it is known how many bytes there are.
const COUNTING: &str = "{spinner} {msg} {bytes} ({bytes_per_sec}, {elapsed})";
/// Once it is.
const MEASURED: &str = "{spinner} {msg} {percent}% {bytes} of {total_bytes} ({bytes_per_sec}, {eta} left)";

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = if quiet || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            let bar = ProgressBar::no_length().with_style(style(COUNTING));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        };
        Self { bar, files: Arc::default(), left_out: Arc::default(), resumable: Arc::default() }
    }

    /// Whether anybody looks: what is only told costs nothing otherwise.
    pub(super) fn is_shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// How many bytes there are in all.
    pub(crate) fn measure(&self, total_bytes: u64) {
        self.bar.set_style(style(MEASURED));
        self.bar.set_length(total_bytes);
    }

    /// A large file is so far now, and was told to be so far before: a piece that has to be sent again takes bytes back.
    pub(super) fn shift(&self, told_bytes: u64, now_bytes: u64) {
        match now_bytes.checked_sub(told_bytes) {
            Some(more) => self.bar.inc(more),
            None => self.bar.dec(told_bytes - now_bytes),
        }
    }

    /// Whether what is under way can be gone on with by the same command.
    pub(super) fn is_resumable(&self) -> bool {
        self.resumable.load(Ordering::Relaxed)
    }

    pub(super) fn set_resumable(&self, resumable: bool) {
        self.resumable.store(resumable, Ordering::Relaxed);
    }

    /// So many bytes more have gone across.
    pub(crate) fn advance(&self, bytes: usize) {
        self.bar.inc(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// All goes across once more, from the beginning.
    pub(crate) fn restart(&self) {
        self.bar.set_position(0);
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

    /// Says something beside the bar.
    pub(super) fn say(&self, what: &str) {
        self.bar.suspend(|| eprintln!("devbox: {what}"));
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
