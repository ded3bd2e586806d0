//! The agent dies by SIGKILL before each of its steps; what the next one finds is exactly old or exactly new.

use anyhow::{Context as _, Result, ensure};
use devbox_testkit::{AgentOptions, BareAgent, Fault, Steps};
use tempfile::TempDir;

use crate::chance::Chance;
use crate::operations::{OPERATIONS, Operation, USER, options, prepare};
use crate::tree::{Tree, check_state};
use crate::wire::Answer;

/// More steps than any repair takes, with those of every start.
const MOST_REPAIRS: usize = 64;

/// What an operation does where nothing fails.
pub(crate) struct Rehearsal {
    pub(crate) old: Tree,
    pub(crate) new: Tree,
    pub(crate) steps: Vec<String>,
}

impl Rehearsal {
    pub(crate) fn of(operation: Operation) -> Result<Self> {
        Self::by(operation, &options())
    }

    fn by(operation: Operation, options: &AgentOptions) -> Result<Self> {
        let folder = prepare()?;
        let old = Tree::of(folder.path())?;
        let steps = Steps::default();
        let agent = BareAgent::serve(folder.path(), &options.clone().traced(&steps))?;
        steps.count(None);
        let response = operation.run(&agent).given();
        ensure!(response.status < 300, "{}: {}", operation.name, response.text);
        let taken = steps.taken();
        let new = Tree::of(folder.path())?;
        check_state(folder.path(), 0).with_context(|| format!("after {}", operation.name))?;
        ensure!(old != new, "{} changed nothing", operation.name);
        ensure!(!taken.is_empty(), "{} took no step", operation.name);
        Ok(Self { old, new, steps: taken })
    }

    /// Whether the tree is old or new, and the answer agrees.
    pub(crate) fn judge(&self, tree: &Tree, answer: &Answer) -> Result<()> {
        if *tree == self.new {
            return Ok(());
        }
        ensure!(
            *tree == self.old,
            "it is neither old nor new; to the old:\n{}to the new:\n{}",
            tree.differences(&self.old),
            tree.differences(&self.new)
        );
        ensure!(!answer.is_success(), "success was told, and the tree is old");
        Ok(())
    }
}

/// Runs an operation on a new folder, and has the agent die before step `number`. `None` if it did not get so far.
fn kill_at(operation: Operation, options: &AgentOptions, number: usize) -> Result<Option<(TempDir, Answer)>> {
    let folder = prepare()?;
    let steps = Steps::default();
    let agent = BareAgent::serve(folder.path(), &options.clone().traced(&steps))?;
    steps.count(Some((number, Fault::Kill)));
    let answer = operation.run(&agent);
    if !steps.failed() {
        return Ok(None);
    }
    agent.wait()?;
    Ok(Some((folder, answer)))
}

/// Promises 1 and 2: a killed agent leaves the old file, or all of a batch or nothing, and no debris.
#[test]
fn a_kill_before_any_step_leaves_all_or_nothing() -> Result<()> {
    kill_before(&options(), |steps| (0..steps).collect())
}

/// The same of an agent without privileges, in a folder that is its user's.
#[test]
fn a_kill_of_an_unprivileged_agent_leaves_all_or_nothing() -> Result<()> {
    let chance = Chance::new("kills without privileges");
    kill_before(&AgentOptions::default().running_as(USER), |steps| chance.some(steps, 6))
}

fn kill_before(options: &AgentOptions, choose: impl Fn(usize) -> Vec<usize>) -> Result<()> {
    let mut failures = Vec::new();
    for operation in OPERATIONS {
        let rehearsal = Rehearsal::by(*operation, options)?;
        for number in choose(rehearsal.steps.len()) {
            let Some((folder, answer)) = kill_at(*operation, options, number)? else { continue };
            let agent = BareAgent::serve(folder.path(), options)?;
            let outcome = rehearsal
                .judge(&Tree::of(folder.path())?, &answer)
                .and_then(|()| check_state(folder.path(), 0));
            drop(agent);
            if let Err(error) = outcome {
                failures.push(format!(
                    "{}: killed before step {number}: {}\n{error:#}",
                    operation.name, rehearsal.steps[number]
                ));
            }
        }
        eprintln!("{}: {} steps", operation.name, rehearsal.steps.len());
    }
    ensure!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// Promise 2, once more: who dies while it repairs is repaired by the next.
#[test]
fn a_kill_in_the_middle_of_repairing_is_repaired_by_the_next_start() -> Result<()> {
    let chance = Chance::new("kills while repairing");
    let mut failures = Vec::new();
    for operation in OPERATIONS {
        let rehearsal = Rehearsal::of(*operation)?;
        let mut repairs = 0;
        for number in chance.some(rehearsal.steps.len(), 3) {
            for second in chance.some(MOST_REPAIRS, 8) {
                let Some((folder, answer)) = kill_at(*operation, &options(), number)? else { break };
                let steps = Steps::with_fault(second, Fault::Kill);
                let repairing = BareAgent::start(folder.path(), &options().traced(&steps))?;
                let served = repairing.wait_until_ready().is_ok();
                if served || !steps.failed() {
                    break;
                }
                repairing.wait()?;
                repairs += 1;
                let agent = BareAgent::serve(folder.path(), &options())?;
                let outcome = rehearsal
                    .judge(&Tree::of(folder.path())?, &answer)
                    .and_then(|()| check_state(folder.path(), 0));
                drop(agent);
                if let Err(error) = outcome {
                    failures.push(format!(
                        "{}: killed before step {number} ({}), then before {:?}:\n{error:#}",
                        operation.name,
                        rehearsal.steps[number],
                        steps.taken().last()
                    ));
                }
            }
        }
        eprintln!("{}: {repairs} kills while repairing", operation.name);
    }
    ensure!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}
