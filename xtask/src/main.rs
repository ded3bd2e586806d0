//! Generators, checks and the test runner: `cargo xtask VERB`.
//!
//! It links none of our servers, so that it compiles in seconds and can say what a fresh machine lacks.

#![expect(clippy::print_stdout, reason = "what a test run says is its product")]

mod bench;
mod check;
mod command;
mod demo;
mod fuzz;
mod generate;
mod graph;
mod need;
mod suite;
mod support;
mod tally;
mod test;
mod tools;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask VERB

  demo             build what is missing and run the main job on a local server (as root)
  test [SUITE…]    run every test suite, or only those named (as root)
  check            formatting, lints, layering, generated files
  gen [--check]    write openapi/openapi.json, docs/reference and docs/crate-graph.txt, or compare them
  fuzz [TARGET…] [--seconds N]
                   run the fuzz targets under libFuzzer, a minute each, with the nightly compiler
  bench [ARG…]     build in release mode and run the benchmarks; see `cargo xtask bench --help`
  bench figures    the same, whole, on disk and in memory, kept and drawn in docs/performance
  bench engine     measure the file engine and the archive formats alone
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.chain().skip(1).for_each(|cause| eprintln!("caused by: {cause}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    // Every verb works on the repository, from wherever it was called.
    std::env::set_current_dir(command::repository())?;
    let (verb, rest) = match arguments.split_first() {
        Some((verb, rest)) => (verb.as_str(), rest),
        None => ("help", arguments),
    };
    match (verb, rest) {
        ("demo", []) => demo::run(),
        ("test", suites) => test::run(suites),
        ("check", []) => check::run(),
        ("gen", []) => generate::write(),
        ("gen", [flag]) if flag == "--check" => generate::check(),
        ("bench", rest) => bench::run(rest),
        ("fuzz", rest) => fuzz::run(rest),
        ("help" | "--help" | "-h", _) => {
            eprint!("{USAGE}");
            Ok(())
        }
        _ => bail!("no such verb or argument: {}\n\n{USAGE}", arguments.join(" ")),
    }
}
