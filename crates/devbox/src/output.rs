//! Standard output: data, and nothing else.

use std::io::{self, Write as _};

use anyhow::Context as _;
use serde::Serialize;

/// Standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(crate) struct OutputError {
    #[from]
    source: io::Error,
}

impl OutputError {
    /// What kind of trouble it is.
    pub(crate) fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Prints a line.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// Prints bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(OutputError::from)?;
    Ok(())
}

/// Prints a value as JSON, for eyes and for programs.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value).context("write the answer as JSON")?)
}

/// Prints rows under their headings, in columns as wide as they need be.
pub(crate) fn table<const COLUMNS: usize>(
    headings: [&str; COLUMNS],
    rows: &[[String; COLUMNS]],
) -> anyhow::Result<()> {
    let mut widths = headings.map(width);
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width(cell).max(*widest);
        }
    }
    let mut text = table_line(&headings, &widths);
    for row in rows {
        text += &table_line(row, &widths);
    }
    bytes(text.as_bytes())
}

fn table_line(cells: &[impl AsRef<str>], widths: &[usize]) -> String {
    let padded = |(cell, widest): (&_, &usize)| {
        let cell = AsRef::<str>::as_ref(cell);
        format!("{cell}{}", " ".repeat(widest - width(cell)))
    };
    let line = cells.iter().zip(widths).map(padded).collect::<Vec<_>>().join("  ");
    format!("{}\n", line.trim_end())
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// A text from a box or a server as it may be shown on a terminal: control characters, which could move the cursor or
/// worse, are escaped.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                character.escape_default().to_string()
            } else {
                character.to_string()
            }
        })
        .collect()
}
