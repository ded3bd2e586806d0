//! The test suites, as rows of a table.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command::{built, cargo, output, run, target};
use crate::need::{self, Need};
use crate::{check, generate, graph, tools};

/// One suite: what it shows, what it needs, and what runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suite {
    /// Its name, as an argument of `cargo xtask test`.
    pub(crate) name: &'static str,
    /// What must be there; where it cannot be had, the suite fails.
    pub(crate) needs: &'static [Need],
    /// What it does.
    pub(crate) work: Work,
}

/// What a suite does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// One check: passes or fails as a whole.
    Check(fn() -> Result<()>),
    /// Programs that count their tests and say so at the end.
    Tests(fn() -> Result<Vec<Command>>),
}

/// Every suite, in the order in which they run: what fails fast comes first.
pub(crate) const SUITES: &[Suite] = &[
    Suite { name: "format", needs: &[], work: Work::Check(check::format) },
    Suite { name: "graph", needs: &[], work: Work::Check(graph::check) },
    Suite { name: "build", needs: &[need::COMPILER, need::PYTHON], work: Work::Check(build) },
    Suite { name: "generated", needs: &[need::COMPILER], work: Work::Check(generate::check) },
    Suite {
        name: "unit",
        needs: &[need::COMPILER, need::PYTHON, need::ZIP, need::UNZIP, need::ZSTD],
        work: Work::Tests(unit),
    },
    Suite {
        name: "e2e",
        needs: &[Need::Root, need::COMPILER, need::PYTHON, need::MKFS_BTRFS, need::MKFS_EXT4],
        work: Work::Tests(end_to_end),
    },
    Suite {
        name: "adversarial",
        needs: &[Need::Root, need::COMPILER, need::PYTHON, need::MKFS_BTRFS, need::MKFS_EXT4, need::MKFS_XFS],
        work: Work::Tests(adversarial),
    },
    Suite {
        name: "python",
        needs: &[Need::Root, need::COMPILER, need::MKFS_BTRFS, need::PYTHON, Need::PythonEnvironment],
        work: Work::Tests(python),
    },
    Suite {
        name: "examples",
        needs: &[
            Need::Root,
            need::COMPILER,
            need::MKFS_BTRFS,
            need::PYTHON,
            need::CURL,
            Need::PythonEnvironment,
        ],
        work: Work::Tests(examples),
    },
    Suite {
        name: "tus",
        needs: &[
            Need::Root,
            need::COMPILER,
            need::MKFS_BTRFS,
            need::PYTHON,
            Need::PythonEnvironment,
            need::NODE,
            need::NPM,
            Need::TusClient,
        ],
        work: Work::Tests(tus),
    },
    Suite {
        name: "bench",
        needs: &[Need::Root, need::COMPILER, need::MKFS_BTRFS],
        work: Work::Tests(bench_smoke),
    },
    Suite { name: "clippy", needs: &[need::COMPILER, need::PYTHON], work: Work::Check(check::clippy) },
    Suite { name: "deny", needs: &[Need::CargoDeny], work: Work::Check(check::deny) },
];

/// Builds everything once, with the features that all later commands use, so that nothing is compiled twice.
pub(crate) fn build() -> Result<()> {
    run(cargo().args(["build", "--workspace", "--all-targets", "--locked"]))
}

/// All tests of all crates but the end-to-end suites.
///
/// Targets are chosen, not packages: with fewer packages cargo would choose other features and compile dependencies again.
fn unit() -> Result<Vec<Command>> {
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--examples"]);
    for target in test_targets(|package| package != END_TO_END)? {
        tests.args(["--test", &target]);
    }
    let mut documentation = cargo();
    documentation.args(["test", "--workspace", "--locked", "--no-fail-fast", "--doc"]);
    Ok(vec![tests, documentation])
}

const END_TO_END: &str = "devbox-tests";

/// Real boxes, real processes. One binary after the other, one test after the other: they measure and count.
fn end_to_end() -> Result<Vec<Command>> {
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    for target in test_targets(|package| package == END_TO_END)? {
        if !ADVERSARIAL.contains(&target.as_str()) {
            tests.args(["--test", &target]);
        }
    }
    tests.args(["--", "--test-threads=2"]).env("DEVBOX_BIN", built("devbox"));
    Ok(vec![tests])
}

/// The targets of [`END_TO_END`] that attack, and that break what they stand on.
const ADVERSARIAL: [&str; 2] = ["adversarial", "faults"];

/// Attacks and faults, as many as a few minutes hold; `DEVBOX_ATTACK_ROUNDS` and `DEVBOX_FAULT_ROUNDS` ask for more.
fn adversarial() -> Result<Vec<Command>> {
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    for target in ADVERSARIAL {
        tests.args(["--test", target]);
    }
    tests.args(["--", "--nocapture", "--test-threads=2"]).env("DEVBOX_BIN", built("devbox"));
    Ok(vec![tests])
}

/// The names of the integration tests of these packages, each once: most are called `it`.
fn test_targets(is_wanted: fn(&str) -> bool) -> Result<BTreeSet<String>> {
    let metadata = output(cargo().args(["metadata", "--format-version=1", "--no-deps", "--locked"]))?;
    let metadata: Value = serde_json::from_slice(&metadata).context("cannot read cargo's metadata")?;
    let mut names = BTreeSet::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            if target["kind"][0] == "test" && is_wanted(package["name"].as_str().unwrap_or_default()) {
                names.extend(target["name"].as_str().map(str::to_owned));
            }
        }
    }
    Ok(names)
}

const EXAMPLES: &str = "sdk/python/tests/test_examples.py";

/// The wheel, built and installed as a user would, and its tests against a live server.
fn python() -> Result<Vec<Command>> {
    install_wheel()?;
    let mut tests = pytest();
    tests.args(["sdk/python/tests", "--ignore", EXAMPLES]);
    Ok(vec![tests])
}

/// The programs of `examples/`, run as a reader would run them.
fn examples() -> Result<Vec<Command>> {
    install_wheel()?;
    let mut tests = pytest();
    tests.arg(EXAMPLES);
    Ok(vec![tests])
}

/// Clients of the tus protocol that are not ours, as they are published.
fn tus() -> Result<Vec<Command>> {
    tools::place_tus_driver()?;
    let mut tests = pytest();
    tests.arg("tests/tus");
    Ok(vec![tests])
}

/// Started with SIGINT as a terminal gives it: who runs this in the background passes on that it is ignored, and the tests
/// that interrupt would wait for ever.
fn pytest() -> Command {
    let mut tests = Command::new("env");
    tests.arg("--default-signal=INT").arg(tools::python());
    tests.args(["-m", "pytest", "-q"]).env("DEVBOX_BIN", built("devbox"));
    tests
}

fn install_wheel() -> Result<()> {
    let wheels = target().join("wheels");
    // Only this version's wheel may be there to be found.
    if wheels.exists() {
        std::fs::remove_dir_all(&wheels)?;
    }
    let mut maturin = Command::new(tools::python());
    maturin.args(["-m", "maturin", "build", "--quiet", "--profile", "dev", "--locked", "--manifest-path"]);
    run(maturin.args(["sdk/python/Cargo.toml", "--out"]).arg(&wheels))?;
    let mut install = Command::new(tools::python());
    install.args(["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--force-reinstall"]);
    run(install.arg("--find-links").arg(&wheels).arg("sealos-devbox"))
}

/// The benchmarks, small: they verify what they move and time nothing that is compared. Those of the engine run once each.
fn bench_smoke() -> Result<Vec<Command>> {
    let mut engine = cargo();
    engine.args(["test", "--workspace", "--locked", "--bench", "engine", "--bench", "archive"]);
    let mut bench = Command::new(built("devbox-bench"));
    bench.args(["--quick", "--devbox"]).arg(built("devbox"));
    Ok(vec![engine, bench])
}
