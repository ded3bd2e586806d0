//! What is measured of each subject, and how.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::content::{self, Content};
use crate::echo::Echo;
use crate::floor::client::Floor;
use crate::ground::Ground;
use crate::guest;
use crate::machine::Machine;
use crate::options::Options;
use crate::report::{Figures, Report, Times};
use crate::subject::Subject;

/// How much is done. Subjects take turns, block by block, so that what else the machine does meanwhile falls on all of them.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Turns of each subject; a turn is a block of small files and a large one each way.
    turns: usize,
    /// Small files in a turn, after one turn's worth to warm up.
    rounds: u64,
    /// The size of a large file; the median of the turns counts.
    bulk: Content,
    /// Boxes made, for the time to the first byte.
    boxes: usize,
}

impl Plan {
    const FULL: Self = Self { turns: 5, rounds: 400, bulk: Content { length: 512 << 20 }, boxes: 25 };
    const QUICK: Self = Self { turns: 1, rounds: 50, bulk: Content { length: 8 << 20 }, boxes: 2 };

    fn of(options: &Options) -> Self {
        let plan = if options.quick { Self::QUICK } else { Self::FULL };
        let turns = options.turns.unwrap_or(plan.turns);
        let bulk = options.bulk_mib.map_or(plan.bulk, |mebibytes| Content { length: mebibytes << 20 });
        let boxes = options.boxes.unwrap_or(plan.boxes);
        Self { turns, bulk, boxes, ..plan }
    }
}

/// Measures everything, and prints it.
pub(crate) fn all(options: &Options) -> Result<()> {
    let plan = Plan::of(options);
    let machine = Machine::here();
    let ground = match &options.folder {
        Some(folder) => Ground::in_folder(folder)?,
        None => Ground::overlay_on_btrfs()?,
    };
    let mut report = Report::new(machine, options.quick, plan.bulk.length);
    let sockets = ground.scratch.path().to_path_buf();
    let on = ground.file_system.clone();

    let mut taking_part = vec![
        Participant::new(Floor::one_hop(&sockets, &ground.folder)?, &on),
        Participant::new(Floor::two_hops(&sockets, &ground.folder)?, &on),
        Participant::new(Echo::start(&sockets)?, "none"),
    ];
    let mut path = None;
    if !options.floors {
        let alone = guest::agent_alone(&options.agent()?, &sockets, &ground.folder)?;
        taking_part.push(Participant::new(alone, &on));
        let plain_in = options.folder.is_some().then(|| ground.scratch.path().join("data"));
        let path = path.insert(guest::WholePath::start(&options.devbox()?, plain_in.as_deref())?);
        let (subject, box_on) = path.subject()?;
        taking_part.push(Participant::new(subject, &box_on));
    }
    if let Some(wanted) = &options.only {
        taking_part.retain(|participant| participant.subject.name().contains(&**wanted));
    }

    take_turns(&mut taking_part, plan)?;
    for participant in taking_part {
        report.add(participant.figures(plan.bulk));
    }
    if let Some(mut path) = path {
        if plan.boxes > 0 {
            report.first_byte = Some(Times::of(path.first_bytes(plan.boxes)?));
        }
        path.stop()?;
    }

    report.print();
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("write {}", file.display()))?;
    }
    println!("\n{} passed, 0 failed", report.verified());
    Ok(())
}

/// A subject, and how long it took so far.
struct Participant {
    subject: Box<dyn Subject>,
    file_system: String,
    writes: Vec<Duration>,
    reads: Vec<Duration>,
    plain: Moves,
    verified: Moves,
}

/// Large files that were moved.
#[derive(Debug, Default)]
struct Moves {
    ups: Vec<Duration>,
    downs: Vec<Duration>,
}

fn take_turns(taking_part: &mut [Participant], plan: Plan) -> Result<()> {
    let digest = (plan.bulk.length > 0).then(|| plan.bulk.sha256());
    for participant in &mut *taking_part {
        participant.small(plan.rounds, false).with_context(|| format!("warm up {}", participant.name()))?;
    }
    for turn in 1..=plan.turns {
        for participant in &mut *taking_part {
            eprintln!("turn {turn} of {}: {}", plan.turns, participant.name());
            participant
                .small(plan.rounds, true)
                .with_context(|| format!("small files, {}", participant.name()))?;
            if digest.is_some() {
                participant
                    .large(plan.bulk, digest)
                    .with_context(|| format!("large files, {}", participant.name()))?;
            }
        }
    }
    Ok(())
}

impl Participant {
    fn new(subject: impl Subject + 'static, file_system: &str) -> Self {
        Self {
            subject: Box::new(subject),
            file_system: file_system.to_owned(),
            writes: Vec::new(),
            reads: Vec::new(),
            plain: Moves::default(),
            verified: Moves::default(),
        }
    }

    fn name(&self) -> String {
        self.subject.name().to_owned()
    }

    /// Writes and reads one small file over and over, each time other content, in turns.
    fn small(&mut self, rounds: u64, counts: bool) -> Result<()> {
        for round in 0..rounds {
            let content = content::small(round);
            let begin = Instant::now();
            self.subject.write("small-1", content.clone())?;
            let written = Instant::now();
            let found = self.subject.read("small-1")?;
            let read = Instant::now();
            ensure!(found.len() == content.len(), "{} bytes of {} came back", found.len(), content.len());
            ensure!(!self.subject.stores() || found == content, "other bytes came back");
            if counts {
                self.writes.push(written - begin);
                self.reads.push(read - written);
            }
        }
        Ok(())
    }

    /// Moves a large file up and down, without and with its digest.
    fn large(&mut self, bulk: Content, digest: Option<[u8; 32]>) -> Result<()> {
        for digest in [None, digest] {
            let moves = if digest.is_some() { &mut self.verified } else { &mut self.plain };
            let begin = Instant::now();
            self.subject.upload("large-2", bulk, digest)?;
            moves.ups.push(begin.elapsed());
            let begin = Instant::now();
            self.subject.download("large-2", bulk, digest)?;
            moves.downs.push(begin.elapsed());
        }
        Ok(())
    }

    fn figures(self, bulk: Content) -> Figures {
        let speed = |times: Vec<Duration>| {
            if times.is_empty() { 0.0 } else { mebibytes(bulk.length) / Times::of(times).p50_s }
        };
        Figures {
            name: self.subject.name().to_owned(),
            hops: self.subject.hops(),
            stores: self.subject.stores(),
            file_system: self.file_system,
            write: Times::of(self.writes),
            read: Times::of(self.reads),
            up: speed(self.plain.ups),
            down: speed(self.plain.downs),
            up_verified: speed(self.verified.ups),
            down_verified: speed(self.verified.downs),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes here are far below 2^52")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
