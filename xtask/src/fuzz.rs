//! `cargo xtask fuzz`: the targets of `crates/devbox-fuzz` under libFuzzer, with the nightly compiler and AddressSanitizer.
//!
//! The flags are those of cargo-fuzz, which therefore need not be installed.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{self, cargo, repository, target};
use crate::need;

const USAGE: &str = "usage: cargo xtask fuzz [TARGET…] [--seconds N]";
/// How long each target runs unless told otherwise.
const SECONDS: u32 = 60;
/// What a target may take: beyond the sanitizer's own needs, inputs of some kilobytes need some megabytes.
const MEMORY_MIB: u32 = 1024;
/// The largest single allocation: no length in an input may become one.
const ALLOCATION_MIB: u32 = 64;
/// An input of some kilobytes that takes longer than this is a finding.
const SECONDS_PER_INPUT: u32 = 10;

const FLAGS: &str = "--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Builds the targets, and runs those of these names, or all, one after the other.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (chosen, seconds) = parse(arguments)?;
    need::meet(&[need::COMPILER])?;
    let known = String::from_utf8(command::output(&mut seeds(&[]))?)?;
    let known: Vec<&str> = known.lines().collect();
    if let Some(unknown) = chosen.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no target {unknown}; there are: {}", known.join(", "));
    }
    build()?;
    let is_chosen = |name: &&&str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == **name);
    let mut failed = Vec::new();
    for name in known.iter().filter(is_chosen) {
        if let Err(error) = fuzz(name, seconds) {
            eprintln!("error: {error}");
            failed.push(*name);
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("these targets failed: {}", failed.join(", ")) }
}

fn parse(arguments: &[String]) -> Result<(Vec<String>, u32)> {
    let (mut chosen, mut seconds) = (Vec::new(), SECONDS);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => {
                let number = arguments.next().with_context(|| USAGE.to_owned())?;
                seconds = number.parse().with_context(|| USAGE.to_owned())?;
            }
            flag if flag.starts_with('-') => bail!("{USAGE}"),
            name => chosen.push(name.to_owned()),
        }
    }
    Ok((chosen, seconds))
}

fn seeds(arguments: &[&str]) -> Command {
    let mut seeds = cargo();
    seeds.args([
        "run",
        "--quiet",
        "--locked",
        "--package",
        "devbox-fuzz",
        "--bin",
        "devbox-fuzz-seeds",
        "--",
    ]);
    seeds.args(arguments);
    seeds
}

fn build() -> Result<()> {
    let mut build = Command::new("cargo");
    // The cargo that runs this is another toolchain's, and would be found first.
    build.env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").env("RUSTFLAGS", FLAGS);
    // Its lock file follows those of the crates that it tests, and is not kept.
    build.args(["+nightly", "build", "--release", "--bins", "--manifest-path", "fuzz/Cargo.toml"]);
    build.args(["--target", &triple(), "--target-dir"]).arg(target().join("fuzz"));
    command::run(&mut build).context("the nightly toolchain is needed: `rustup toolchain install nightly`")
}

/// Given by name, so that build scripts and macros are built without the sanitizer.
fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn fuzz(name: &str, seconds: u32) -> Result<()> {
    println!("\n══ {name} ══");
    let folder = |kind: &str| repository().join("fuzz").join(kind).join(name);
    let (corpus, artifacts) = (folder("corpus"), folder("artifacts"));
    std::fs::create_dir_all(&artifacts)?;
    command::run(&mut seeds(&[name, &corpus.to_string_lossy()]))?;
    let mut fuzzer = Command::new(target().join("fuzz").join(triple()).join("release").join(name));
    fuzzer.arg(&corpus);
    fuzzer.args([
        format!("-max_total_time={seconds}"),
        format!("-rss_limit_mb={MEMORY_MIB}"),
        format!("-malloc_limit_mb={ALLOCATION_MIB}"),
        format!("-timeout={SECONDS_PER_INPUT}"),
        format!("-artifact_prefix={}/", artifacts.display()),
        "-print_final_stats=1".to_owned(),
        "-verbosity=0".to_owned(),
    ]);
    command::run(&mut fuzzer)
}
