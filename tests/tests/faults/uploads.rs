//! Uploads in pieces, whose agent dies or whose disk fails: what was told is kept, and nothing half is ever seen.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use devbox_testkit::{BareAgent, Fault, Steps};
use tempfile::TempDir;

use crate::chance::Chance;
use crate::operations::{options, prepare};
use crate::refused::chosen;
use crate::tree::{Tree, check_state};
use crate::wire::{Answer, Response, call};

const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");
const LENGTH: usize = 50_000;
const PIECE: usize = 20_000;

/// What an upload replaces or makes: `/file`, the same safe against power loss, or `/x/y/fresh` with its directories.
const TARGETS: [(&str, &str); 3] = [
    ("", "path L2ZpbGU="),
    ("?sync=true", "path L2ZpbGU="),
    ("?parents=true&sync=true", "path L3gveS9mcmVzaA=="),
];

/// What a client knows of its upload.
#[derive(Debug, Default)]
struct Known {
    /// The target of its requests, once it was told.
    place: Option<String>,
    /// How many bytes it was told are stored.
    offset: usize,
    /// An answer that was no success.
    refused: Option<Response>,
    /// An answer did not come.
    broken: bool,
}

impl Known {
    fn is_complete(&self) -> bool {
        self.offset == LENGTH
    }

    /// Notes an answer; whether to go on.
    fn hear(&mut self, answer: Answer, on_success: impl FnOnce(&mut Self, &Response)) -> bool {
        match answer {
            Answer::None => self.broken = true,
            Answer::Given(response) if response.status < 300 => {
                on_success(self, &response);
                return true;
            }
            Answer::Given(response) => self.refused = Some(response),
        }
        false
    }
}

fn content() -> Vec<u8> {
    (0..LENGTH).map(|index| u8::try_from(index % 251).unwrap_or(0)).collect()
}

/// Uploads until all is there or something goes wrong.
fn upload(agent: &BareAgent, target: (&str, &str)) -> Known {
    let mut known = Known::default();
    let length = LENGTH.to_string();
    let headers = [TUS, ("Upload-Length", &length), ("Upload-Metadata", target.1)];
    let answer = call(agent, &format!("POST /v1/uploads{}", target.0), &headers, b"");
    let begun = known.hear(answer, |known, response| {
        known.place = response.header("location").map(|place| format!("/v1/{place}"));
    });
    if begun {
        go_on(agent, &mut known);
    }
    known
}

/// Sends piece after piece from where the client knows the upload to be.
fn go_on(agent: &BareAgent, known: &mut Known) {
    let place = known.place.clone().unwrap_or_default();
    while !known.is_complete() {
        let to = (known.offset + PIECE).min(LENGTH);
        let offset = known.offset.to_string();
        let headers = [TUS, ("Upload-Offset", &offset), ("Content-Type", "application/offset+octet-stream")];
        let piece = &content()[known.offset..to];
        let answer = call(agent, &format!("PATCH {place}"), &headers, piece);
        if !known.hear(answer, |known, response| known.offset = offset_of(response)) {
            return;
        }
    }
}

fn offset_of(response: &Response) -> usize {
    response.header("upload-offset").and_then(|text| text.parse().ok()).unwrap_or(usize::MAX)
}

fn look(agent: &BareAgent, place: &str) -> Response {
    call(agent, &format!("HEAD {place}"), &[TUS], b"").given()
}

struct Scene {
    target: (&'static str, &'static str),
    old: Tree,
    new: Tree,
    steps: Vec<String>,
}

impl Scene {
    fn of(target: (&'static str, &'static str)) -> Result<Self> {
        let folder = prepare()?;
        let old = Tree::of(folder.path())?;
        let steps = Steps::default();
        let agent = BareAgent::serve(folder.path(), &options().traced(&steps))?;
        steps.count(None);
        let known = upload(&agent, target);
        ensure!(known.is_complete(), "{known:?}");
        check_state(folder.path(), 1)?;
        Ok(Self { target, old, new: Tree::of(folder.path())?, steps: steps.taken() })
    }

    fn start(&self, fault: (usize, Fault)) -> Result<(TempDir, BareAgent, Steps, Known)> {
        let folder = prepare()?;
        let steps = Steps::default();
        let agent = BareAgent::serve(folder.path(), &options().traced(&steps))?;
        steps.count(Some(fault));
        let known = upload(&agent, self.target);
        Ok((folder, agent, steps, known))
    }

    /// What callers see of a tree, but for the directories that were made for an upload that is not complete.
    fn seen(tree: &Tree) -> Tree {
        tree.without_reserved().without_directories(&["x", "x/y"])
    }

    /// Whether the agent has what the client was told, and brings it to its end.
    fn resume(&self, agent: BareAgent, root: &Path, known: &mut Known, may_be_over: bool) -> Result<()> {
        let remembered = self.bring_to_end(&agent, root, known, may_be_over)?;
        // What could not be tidied up is tidied up at the next start.
        drop(agent);
        let _agent = BareAgent::serve(root, &options())?;
        let tree = Tree::of(root)?;
        let is_over = known.place.is_none() || remembered == 0;
        ensure!(is_over || tree == self.new, "after the next start:\n{}", tree.differences(&self.new));
        check_state(root, remembered)
    }

    /// How many uploads are remembered in the end.
    fn bring_to_end(
        &self,
        agent: &BareAgent,
        root: &Path,
        known: &mut Known,
        may_be_over: bool,
    ) -> Result<usize> {
        let tree = Tree::of(root)?;
        let Some(place) = known.place.clone() else {
            // Nobody knows of it: it is not there, or hidden until it expires.
            ensure!(Self::seen(&tree) == self.old, "{}", tree.differences(&self.old));
            let hidden = usize::from(tree != self.old);
            return Ok(hidden);
        };
        let found = look(agent, &place);
        if found.status == 404 && may_be_over && !known.is_complete() {
            ensure!(tree == self.old, "the upload is over:\n{}", tree.differences(&self.old));
            return Ok(0);
        }
        ensure!(found.status == 200, "the upload was told, and is gone: {}", found.text);
        let offset = offset_of(&found);
        ensure!(offset >= known.offset, "{} bytes were told, {offset} are there", known.offset);
        let seen = Self::seen(&tree);
        if seen != self.old {
            ensure!(
                tree.without_reserved() == self.new,
                "it is neither old nor new:\n{}",
                tree.differences(&self.new)
            );
            ensure!(offset == LENGTH, "it shows before it is whole: {offset}");
        }
        known.offset = offset;
        if offset == LENGTH {
            // All bytes are there; an empty piece at the end asks for what is left to do.
            let length = LENGTH.to_string();
            let headers =
                [TUS, ("Upload-Offset", &length), ("Content-Type", "application/offset+octet-stream")];
            let ended = call(agent, &format!("PATCH {place}"), &headers, b"").given();
            ensure!(ended.status == 204, "{}", ended.text);
        } else {
            (known.refused, known.broken) = (None, false);
            go_on(agent, known);
            ensure!(known.is_complete(), "it does not go on: {known:?}");
        }
        let tree = Tree::of(root)?.without_reserved();
        ensure!(tree == self.new, "{}", tree.differences(&self.new));
        Ok(1)
    }
}

fn each_step(attempt: impl Fn(&Scene, usize) -> Result<()>) -> Result<()> {
    let (mut report, mut failures, mut tried) = (String::new(), 0, 0);
    for target in TARGETS {
        let scene = Scene::of(target)?;
        for number in 0..scene.steps.len() {
            tried += 1;
            if let Err(error) = attempt(&scene, number) {
                failures += 1;
                writeln!(report, "{target:?}: step {number}: {}: {error:#}", scene.steps[number])?;
            }
        }
    }
    eprintln!("{tried} steps");
    ensure!(failures == 0, "{failures} of {tried} failed:\n{report}");
    Ok(())
}

/// Promise 5: an upload whose agent dies before any step goes on from where the client was told it is.
#[test]
fn an_upload_survives_a_kill_before_any_step() -> Result<()> {
    each_step(|scene, number| {
        let (folder, agent, steps, mut known) = scene.start((number, Fault::Kill))?;
        ensure!(known.broken && steps.failed(), "it was not killed: {known:?}");
        agent.wait()?;
        let agent = BareAgent::serve(folder.path(), &options())?;
        scene.resume(agent, folder.path(), &mut known, false)
    })
}

/// Promise 5: a kill at any step of giving an upload up leaves it whole or gone.
#[test]
fn a_kill_while_an_upload_is_given_up_leaves_it_whole_or_gone() -> Result<()> {
    for number in 0.. {
        let folder = prepare()?;
        let old = Tree::of(folder.path())?;
        let steps = Steps::default();
        let agent = BareAgent::serve(folder.path(), &options().traced(&steps))?;
        let length = LENGTH.to_string();
        let headers = [TUS, ("Upload-Length", &length), ("Upload-Metadata", TARGETS[2].1)];
        let begun = call(&agent, &format!("POST /v1/uploads{}", TARGETS[2].0), &headers, b"").given();
        let place = format!("/v1/{}", begun.header("location").context("a location")?);
        steps.count(Some((number, Fault::Kill)));
        let given_up = call(&agent, &format!("DELETE {place}"), &[TUS], b"");
        if !steps.failed() {
            ensure!(number > 0 && given_up.is_success(), "{given_up:?}");
            return Ok(());
        }
        agent.wait()?;
        let agent = BareAgent::serve(folder.path(), &options())?;
        match look(&agent, &place).status {
            404 => {}
            200 => ensure!(call(&agent, &format!("DELETE {place}"), &[TUS], b"").is_success()),
            other => bail!("{other}"),
        }
        let tree = Tree::of(folder.path())?;
        ensure!(tree == old, "killed before {:?}:\n{}", steps.taken().last(), tree.differences(&old));
        check_state(folder.path(), 0)?;
    }
    Ok(())
}

/// Promise 5: an error at any step is told, and the upload goes on, or is over and leaves nothing.
#[test]
fn an_upload_survives_an_error_at_any_step() -> Result<()> {
    let chance = Chance::new("errors at any step of an upload");
    each_step(|scene, number| {
        for (errno, code) in chosen(&chance) {
            let (folder, agent, steps, mut known) = scene.start((number, Fault::Fail(errno)))?;
            steps.rest();
            if let Some(refused) = &known.refused {
                ensure!(refused.code() == code, "errno {errno}: {}", refused.text);
            }
            ensure!(!known.broken, "errno {errno}: there was no answer");
            scene.resume(agent, folder.path(), &mut known, true).with_context(|| format!("errno {errno}"))?;
        }
        Ok(())
    })
}

/// Promises 1 and 5: after a disk that died at any step has come back, the next start has the upload, or nothing of it.
#[test]
fn an_upload_survives_a_disk_that_dies_at_any_step() -> Result<()> {
    let chance = Chance::new("a disk that dies under an upload");
    each_step(|scene, number| {
        for (errno, code) in chosen(&chance) {
            let (folder, agent, _, mut known) = scene.start((number, Fault::FailFromHere(errno)))?;
            if let Some(refused) = &known.refused {
                ensure!(refused.code() == code, "errno {errno}: {}", refused.text);
            }
            drop(agent);
            let agent = BareAgent::serve(folder.path(), &options())?;
            scene.resume(agent, folder.path(), &mut known, true).with_context(|| format!("errno {errno}"))?;
        }
        Ok(())
    })
}
