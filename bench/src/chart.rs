//! Pictures of a result, as SVG.

mod svg;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::result::{Role, RowResult, RunResult};
use crate::row::Row;
use svg::{Svg, TextAt};

/// Draws all pictures of a result into a folder.
pub(crate) fn draw(result: &Path, folder: &Path) -> Result<()> {
    let result = RunResult::load(result)?;
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let pictures = [
        ("multiples.svg", multiples(&result)),
        ("speeds.svg", speeds(&result)),
        ("latencies.svg", latencies(&result)),
    ];
    for (name, picture) in pictures {
        let Some(picture) = picture else { continue };
        let file = folder.join(name);
        std::fs::write(&file, picture).with_context(|| format!("write {}", file.display()))?;
        println!("{}", file.display());
    }
    ensure!(!result.rows.is_empty(), "there is nothing in it to draw");
    Ok(())
}

const WIDTH: f64 = 900.0;
const LABELS: f64 = 270.0;
const BAR: f64 = 13.0;
const TOP: f64 = 84.0;

/// Told apart by lightness too, for who sees no colours.
const COLOURS: [&str; 8] =
    ["#1b4f9c", "#e07b28", "#3a9d5d", "#8b62b8", "#b5423f", "#6b6b6b", "#19a0a8", "#c2a51d"];

/// The colour of each subject, the same in all pictures.
fn colour(result: &RunResult, subject: &str) -> &'static str {
    let index = result.subjects.iter().position(|other| other.name == subject).unwrap_or_default();
    COLOURS[index % COLOURS.len()]
}

/// A bar of a chart, and what stands behind it.
struct Bar<'a> {
    subject: &'a str,
    value: f64,
    label: String,
}

/// A chart of horizontal bars, in groups.
struct Bars<'a> {
    title: &'a str,
    subtitle: String,
    groups: Vec<(String, Vec<Bar<'a>>)>,
    /// Where a line is drawn.
    line: Option<f64>,
}

impl Bars<'_> {
    fn draw(&self, result: &RunResult) -> Option<String> {
        let bars = || self.groups.iter().flat_map(|(_, bars)| bars);
        let most = bars().map(|bar| bar.value).fold(self.line.unwrap_or_default(), f64::max);
        if bars().next().is_none() || most <= 0.0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a few bars")]
        let height = TOP + bars().count() as f64 * BAR + self.groups.len() as f64 * BAR + 20.0;
        let mut svg = Svg::new(WIDTH, height);
        svg.heading(self.title, &self.subtitle);
        let subjects: Vec<&str> = result.subjects.iter().map(|subject| &*subject.name).collect();
        let shown = subjects.into_iter().filter(|name| bars().any(|bar| bar.subject == *name));
        svg.legend(shown.map(|name| (name, colour(result, name))));
        let scale = (WIDTH - LABELS - 90.0) / most;
        let mut y = TOP;
        for (name, bars) in &self.groups {
            svg.text(TextAt::end(LABELS - 8.0, y + BAR - 3.0), name);
            for bar in bars {
                svg.bar(
                    LABELS,
                    y + 1.0,
                    (bar.value * scale).max(1.0),
                    BAR - 2.0,
                    colour(result, bar.subject),
                );
                svg.text(TextAt::begin(LABELS + bar.value * scale + 5.0, y + BAR - 3.0), &bar.label);
                y += BAR;
            }
            y += BAR;
        }
        if let Some(line) = self.line {
            svg.line((LABELS + line * scale, TOP - 6.0), (LABELS + line * scale, y - BAR + 6.0));
        }
        Some(svg.finish())
    }
}

/// The rows of a result in groups, one for each operation, floors left out.
fn groups<'a>(
    result: &'a RunResult,
    wanted: impl Fn(&RowResult) -> bool,
    value: impl Fn(&RowResult) -> (f64, String),
) -> Vec<(String, Vec<Bar<'a>>)> {
    let of_row = |row: &Row| {
        let rows = result.rows.iter().filter(|found| found.row == *row && wanted(found));
        let bars: Vec<Bar<'a>> = rows
            .map(|found| {
                let (value, label) = value(found);
                Bar { subject: &found.subject, value, label }
            })
            .collect();
        (row.title(result.tree_files, result.bulk_bytes >> 20), bars)
    };
    Row::all().iter().map(of_row).filter(|(_, bars)| !bars.is_empty()).collect()
}

/// What stores nothing is no measure of what stores.
fn role(result: &RunResult, row: &RowResult) -> Option<Role> {
    result.subject(&row.subject).map(|subject| subject.role)
}

fn told(result: &RunResult) -> String {
    let quick = if result.quick { "QUICK, means nothing; " } else { "" };
    let machine = &result.machine;
    format!("{quick}commit {}, {} × {}", result.commit, machine.processors, machine.processor)
}

fn multiples(result: &RunResult) -> Option<String> {
    let is_shown = |row: &RowResult| row.multiple.is_some() && role(result, row) != Some(Role::Echo);
    let groups = groups(result, is_shown, |row| {
        let multiple = row.multiple.unwrap_or_default();
        (multiple, format!("{multiple:.2}"))
    });
    let subtitle = format!("p50; the line is the floor, shorter is faster; {}", told(result));
    Bars { title: "Time, as a multiple of the floor", subtitle, groups, line: Some(1.0) }.draw(result)
}

fn speeds(result: &RunResult) -> Option<String> {
    let is_shown = |row: &RowResult| row.row.is_large() && role(result, row) != Some(Role::Echo);
    let groups = groups(result, is_shown, |row| {
        let speed = result.speed(row);
        (speed, format!("{speed:.0}"))
    });
    let subtitle = format!("MiB/s at p50, longer is faster; {}", told(result));
    Bars { title: "Large files", subtitle, groups, line: None }.draw(result)
}

/// Percentiles from left to right, times upwards, twice as long one step higher.
fn latencies(result: &RunResult) -> Option<String> {
    const PANEL: f64 = 250.0;
    let rows: Vec<Row> = [Row::Write, Row::Read]
        .into_iter()
        .filter(|row| result.rows.iter().any(|found| found.row == *row))
        .collect();
    if rows.is_empty() {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "two panels")]
    let mut svg = Svg::new(WIDTH, TOP + rows.len() as f64 * PANEL);
    let subtitle = format!("how many of a hundred took no longer; {}", told(result));
    svg.heading("Small files, 4 KiB", &subtitle);
    svg.legend(result.subjects.iter().map(|subject| (&*subject.name, colour(result, &subject.name))));
    let mut top = TOP;
    for row in rows {
        panel(result, row, &mut svg, top, PANEL - 40.0);
        top += PANEL;
    }
    Some(svg.finish())
}

fn panel(result: &RunResult, row: Row, svg: &mut Svg, top: f64, height: f64) {
    const LEFT: f64 = 90.0;
    let found: Vec<&RowResult> = result.rows.iter().filter(|found| found.row == row).collect();
    let times = || {
        found.iter().flat_map(|found| found.times.quantiles_s.iter()).filter(|(percent, _)| *percent <= 99.0)
    };
    let lowest = times().map(|(_, time)| *time * 1e6).fold(f64::INFINITY, f64::min).log2().floor();
    let highest = times().map(|(_, time)| *time * 1e6).fold(1.0, f64::max).log2().ceil().max(lowest + 1.0);
    let x = |percent: f64| LEFT + percent / 99.0 * (WIDTH - LEFT - 30.0);
    let y = |time: f64| top + height - ((time * 1e6).log2() - lowest) / (highest - lowest) * height;
    svg.text(TextAt::begin(LEFT, top - 8.0), &row.title(result.tree_files, result.bulk_bytes >> 20));
    let mut step = lowest;
    while step <= highest {
        let time = step.exp2() / 1e6;
        svg.line((LEFT, y(time)), (WIDTH - 30.0, y(time)));
        svg.text(TextAt::end(LEFT - 6.0, y(time) + 4.0), &format!("{:.0} µs", time * 1e6));
        step += 1.0;
    }
    for percent in [1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 99.0] {
        svg.text(TextAt::middle(x(percent), top + height + 15.0), &format!("{percent:.0}"));
    }
    for row in found {
        let points = row.times.quantiles_s.iter().filter(|(percent, _)| *percent <= 99.0);
        svg.curve(points.map(|(percent, time)| (x(*percent), y(*time))), colour(result, &row.subject));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_in_a_picture() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text(TextAt::begin(0.0, 0.0), "<a> & b");
        assert!(svg.finish().contains("&lt;a&gt; &amp; b"));
    }
}
