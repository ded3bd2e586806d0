//! The kernel refuses a step: the call answers with the right code and has changed nothing, or has done all.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use devbox_testkit::{BareAgent, Fault, Steps};

use crate::chance::{Chance, takes_all};
use crate::killed::Rehearsal;
use crate::operations::{OPERATIONS, Operation, options, prepare};
use crate::tree::{Tree, check_state};
use crate::wire::{Answer, call};

/// What a kernel says of a disk, and what the answer says then.
const ERRORS: [(i32, &str); 4] = [
    (libc::EIO, "internal"),
    (libc::ENOSPC, "no_space"),
    (libc::EDQUOT, "quota_exceeded"),
    (libc::EROFS, "read_only"),
];

/// Promise 1 and 2: whatever step fails, and however, the call tells why, and nothing of it is left; the agent serves on.
#[test]
fn an_error_at_any_step_leaves_all_or_nothing_and_is_told() -> Result<()> {
    let chance = Chance::new("errors at any step");
    each_step(|operation, rehearsal, number| {
        for (errno, code) in chosen(&chance) {
            let what = format!("errno {errno} at step {number}: {}", rehearsal.steps[number]);
            once(operation, rehearsal, number, Fault::Fail(errno), code).context(what)?;
        }
        Ok(())
    })
}

/// Promise 3: bytes that the kernel does not take at once are written all the same.
#[test]
fn a_short_write_at_any_step_loses_nothing() -> Result<()> {
    each_step(|operation, rehearsal, number| {
        if !rehearsal.steps[number].contains("write") {
            return Ok(());
        }
        let what = format!("a short write at step {number}: {}", rehearsal.steps[number]);
        let folder = prepare()?;
        let steps = Steps::default();
        let agent = BareAgent::serve(folder.path(), &options().traced(&steps))?;
        steps.count(Some((number, Fault::Short)));
        let answer = operation.run(&agent);
        ensure!(answer.is_success(), "{what}: {answer:?}");
        rehearsal.judge(&Tree::of(folder.path())?, &answer).context(what)?;
        check_state(folder.path(), 0)
    })
}

/// Promises 1 and 2: a disk that dies in the middle, so that nothing can be taken back either, is repaired by the next start.
#[test]
fn a_disk_that_dies_at_any_step_is_repaired_by_the_next_start() -> Result<()> {
    let chance = Chance::new("a disk that dies");
    each_step(|operation, rehearsal, number| {
        for (errno, code) in chosen(&chance) {
            let what = format!("errno {errno} from step {number} on: {}", rehearsal.steps[number]);
            let folder = prepare()?;
            let steps = Steps::default();
            let agent = BareAgent::serve(folder.path(), &options().traced(&steps))?;
            steps.count(Some((number, Fault::FailFromHere(errno))));
            let answer = operation.run(&agent);
            check_code(&answer, code).with_context(|| what.clone())?;
            // Nothing can be taken back; the answer holds all the same, once the disk is well again.
            drop(agent);
            let agent = BareAgent::serve(folder.path(), &options())?;
            let tree = Tree::of(folder.path())?;
            let outcome = rehearsal.judge(&tree, &answer).and_then(|()| check_state(folder.path(), 0));
            outcome.with_context(|| format!("{what}; answered {answer:?}"))?;
            drop(agent);
        }
        Ok(())
    })
}

fn once(operation: Operation, rehearsal: &Rehearsal, number: usize, fault: Fault, code: &str) -> Result<()> {
    let folder = prepare()?;
    let steps = Steps::default();
    let agent = BareAgent::serve(folder.path(), &options().traced(&steps))?;
    steps.count(Some((number, fault)));
    let answer = operation.run(&agent);
    let failed = steps.failed();
    steps.rest();
    ensure!(failed || answer.is_success(), "nothing failed but the answer: {answer:?}");
    check_code(&answer, code)?;
    let about = || format!("answered {answer:?}; steps {:#?}", steps.taken());
    let tree = Tree::of(folder.path())?;
    if answer.is_success() {
        // What only tidies up may fail: hidden names that the next start removes.
        let visible = tree.without_reserved();
        ensure!(
            visible == rehearsal.new,
            "it is not new:\n{}{}",
            visible.differences(&rehearsal.new),
            about()
        );
    } else {
        ensure!(tree == rehearsal.old, "it is not old:\n{}{}", tree.differences(&rehearsal.old), about());
        check_state(folder.path(), 0).with_context(about)?;
    }
    check_serves(&agent)?;
    drop(agent);
    let agent = BareAgent::serve(folder.path(), &options())?;
    fs::remove_file(folder.path().join("probe"))?;
    rehearsal.judge(&Tree::of(folder.path())?, &answer)?;
    check_state(folder.path(), 0)?;
    drop(agent);
    Ok(())
}

fn check_code(answer: &Answer, code: &str) -> Result<()> {
    match answer {
        Answer::None => anyhow::bail!("there was no answer"),
        Answer::Given(response) => {
            ensure!(response.status < 300 || response.code() == code, "not {code}: {}", response.text);
            Ok(())
        }
    }
}

fn check_serves(agent: &BareAgent) -> Result<()> {
    let probe = call(agent, "PUT /v1/files/probe", &[], b"probe");
    ensure!(probe.is_success(), "the agent does not serve: {probe:?}");
    Ok(())
}

/// In a quick run one error at each step, else each.
pub(crate) fn chosen(chance: &Chance) -> Vec<(i32, &'static str)> {
    if takes_all() { ERRORS.to_vec() } else { vec![ERRORS[chance.below(ERRORS.len())]] }
}

/// Tries something at every step of every operation, and tells of all that fails.
fn each_step(attempt: impl Fn(Operation, &Rehearsal, usize) -> Result<()>) -> Result<()> {
    let (mut report, mut failures, mut tried) = (String::new(), 0, 0);
    for operation in OPERATIONS {
        let rehearsal = Rehearsal::of(*operation)?;
        for number in 0..rehearsal.steps.len() {
            tried += 1;
            if let Err(error) = attempt(*operation, &rehearsal, number) {
                failures += 1;
                writeln!(report, "{}: {error:#}", operation.name)?;
            }
        }
    }
    eprintln!("{tried} steps");
    ensure!(failures == 0, "{failures} of {tried} failed:\n{report}");
    Ok(())
}
