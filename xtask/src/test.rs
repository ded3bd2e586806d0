//! `cargo xtask test`: runs the suites, streams what they print, and closes with one table.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::command::shown;
use crate::need;
use crate::suite::{SUITES, Suite, Work};
use crate::support;
use crate::tally::Tally;

/// How a suite went.
struct Outcome {
    suite: &'static str,
    took: Duration,
    tally: Tally,
    complaint: Option<String>,
}

/// Runs the suites of these names, or all.
pub(crate) fn run(names: &[String]) -> Result<()> {
    let chosen = choose(names)?;
    let outcomes: Vec<Outcome> = chosen.into_iter().map(run_suite).collect();
    if names.is_empty() {
        support::print_unrun()?;
    }
    print_table(&outcomes);
    let failed = outcomes.iter().any(|outcome| outcome.complaint.is_some());
    if failed {
        bail!("the tests failed");
    }
    Ok(())
}

fn choose(names: &[String]) -> Result<Vec<&'static Suite>> {
    for name in names {
        if !SUITES.iter().any(|suite| suite.name == name) {
            let known: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
            bail!("there is no suite {name}; there are: {}", known.join(", "));
        }
    }
    let is_chosen = |suite: &&Suite| names.is_empty() || names.iter().any(|name| name == suite.name);
    Ok(SUITES.iter().filter(is_chosen).collect())
}

fn run_suite(suite: &'static Suite) -> Outcome {
    println!("\n══ {} ══", suite.name);
    let start = Instant::now();
    let result = need::meet(suite.needs).and_then(|()| work(suite.work));
    let took = start.elapsed();
    let (tally, complaint) = match result {
        Ok(tally) => (tally, verdict(tally)),
        Err(error) => (Tally { failed: 1, ..Tally::default() }, Some(format!("{error:#}"))),
    };
    if let Some(complaint) = &complaint {
        println!("suite {} failed: {complaint}", suite.name);
    }
    Outcome { suite: suite.name, took, tally, complaint }
}

/// What is wrong with these counts, if anything. A test that was not run is none that passed.
fn verdict(tally: Tally) -> Option<String> {
    match tally {
        Tally { failed: 1.., .. } => Some(format!("{} failed", tally.failed)),
        Tally { skipped: 1.., .. } => Some(format!("{} were not run", tally.skipped)),
        Tally { passed: 0, .. } => Some("no test ran".to_owned()),
        _ => None,
    }
}

fn work(work: Work) -> Result<Tally> {
    match work {
        Work::Check(check) => check().map(|()| Tally { passed: 1, ..Tally::default() }),
        Work::Tests(commands) => {
            let mut sum = Tally::default();
            for mut command in commands()? {
                sum += run_counted(&mut command)?;
            }
            Ok(sum)
        }
    }
}

/// Runs a test runner, passes its output on as it comes and counts.
fn run_counted(command: &mut Command) -> Result<Tally> {
    println!("$ {}", shown(command));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start `{}`", shown(command)))?;
    let mut tally = Tally::default();
    let output = child.stdout.take().context("the output was piped")?;
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        std::io::stdout().write_all(&line)?;
        tally.read_line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    let status = child.wait()?;
    if !status.success() && tally.failed == 0 {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(tally)
}

fn print_table(outcomes: &[Outcome]) {
    println!("\n{:<12} {:>9} {:>7} {:>7}", "suite", "time", "passed", "failed");
    let mut sum = Tally::default();
    let mut time = Duration::ZERO;
    for outcome in outcomes {
        sum += outcome.tally;
        time += outcome.took;
        let Tally { passed, failed, .. } = outcome.tally;
        let note = outcome.complaint.as_deref().unwrap_or_default();
        let note = note.lines().next().unwrap_or_default();
        println!(
            "{:<12} {:>7.1} s {passed:>7} {failed:>7}  {note}",
            outcome.suite,
            outcome.took.as_secs_f64()
        );
    }
    println!("{:<12} {:>7.1} s", "all", time.as_secs_f64());
    // A suite that failed without a failed test (it was not run, or ran none) counts as one.
    let silent = outcomes.iter().filter(|outcome| outcome.complaint.is_some() && outcome.tally.failed == 0);
    println!(
        "\n{} passed, {} failed",
        sum.passed,
        sum.failed + u64::try_from(silent.count()).unwrap_or(u64::MAX)
    );
}
