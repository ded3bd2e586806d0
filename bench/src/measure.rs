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

/// How much is done.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Small files, after a tenth as many to warm up.
    rounds: u64,
    /// The size of a large file.
    bulk: Content,
    /// How often it is moved each way; the median counts.
    repeats: usize,
    /// Boxes made, for the time to the first byte.
    boxes: usize,
}

impl Plan {
    const FULL: Self = Self { rounds: 2000, bulk: Content { length: 512 << 20 }, repeats: 5, boxes: 25 };
    const QUICK: Self = Self { rounds: 50, bulk: Content { length: 8 << 20 }, repeats: 1, boxes: 2 };
}

/// Measures everything, and prints it.
pub(crate) fn all(options: &Options) -> Result<()> {
    let plan = if options.quick { Plan::QUICK } else { Plan::FULL };
    let machine = Machine::here();
    let ground = match &options.folder {
        Some(folder) => Ground::in_folder(folder)?,
        None => Ground::overlay_on_btrfs()?,
    };
    let mut report = Report::new(machine, options.quick, plan.bulk.length);
    let sockets = ground.scratch.path().to_path_buf();
    let on = ground.file_system.clone();

    report.add(of(&mut Floor::one_hop(&sockets, &ground.folder)?, plan, &on)?);
    report.add(of(&mut Floor::two_hops(&sockets, &ground.folder)?, plan, &on)?);
    report.add(of(&mut Echo::start(&sockets)?, plan, "none")?);
    if !options.floors {
        report.add(of(&mut guest::agent_alone(&options.agent()?, &sockets, &ground.folder)?, plan, &on)?);
        let plain_in = options.folder.is_some().then(|| ground.scratch.path().join("data"));
        let mut path = guest::WholePath::start(&options.devbox()?, plain_in.as_deref())?;
        let (mut subject, box_on) = path.subject()?;
        report.add(of(&mut subject, plan, &box_on)?);
        report.first_byte = Some(Times::of(path.first_bytes(plan.boxes)?));
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

fn of(subject: &mut dyn Subject, plan: Plan, file_system: &str) -> Result<Figures> {
    eprintln!("measuring: {}", subject.name());
    let (write, read) = small(subject, plan).with_context(|| format!("small files, {}", subject.name()))?;
    let mut bulk = |digest| {
        let moved = large(subject, plan, digest);
        moved.with_context(|| format!("large files, {}", subject.name()))
    };
    let (up, down) = bulk(None)?;
    let (up_verified, down_verified) = bulk(Some(plan.bulk.sha256()))?;
    Ok(Figures {
        name: subject.name().to_owned(),
        hops: subject.hops(),
        stores: subject.stores(),
        file_system: file_system.to_owned(),
        write,
        read,
        up,
        down,
        up_verified,
        down_verified,
    })
}

/// Writes and reads one small file over and over, each time other content, in turns.
fn small(subject: &mut dyn Subject, plan: Plan) -> Result<(Times, Times)> {
    let (mut writes, mut reads) = (Vec::new(), Vec::new());
    let warm_up = plan.rounds / 10;
    for round in 0..plan.rounds + warm_up {
        let content = content::small(round);
        let begin = Instant::now();
        subject.write("small-1", content.clone())?;
        let written = Instant::now();
        let found = subject.read("small-1")?;
        let read = Instant::now();
        ensure!(found.len() == content.len(), "{} bytes of {} came back", found.len(), content.len());
        ensure!(!subject.stores() || found == content, "other bytes came back");
        if round >= warm_up {
            writes.push(written - begin);
            reads.push(read - written);
        }
    }
    Ok((Times::of(writes), Times::of(reads)))
}

/// Moves a large file up and down; the median of a few, in MiB a second.
fn large(subject: &mut dyn Subject, plan: Plan, digest: Option<[u8; 32]>) -> Result<(f64, f64)> {
    let (mut ups, mut downs) = (Vec::new(), Vec::new());
    for _ in 0..plan.repeats {
        let begin = Instant::now();
        subject.upload("large-2", plan.bulk, digest)?;
        ups.push(begin.elapsed());
        let begin = Instant::now();
        subject.download("large-2", plan.bulk, digest)?;
        downs.push(begin.elapsed());
    }
    let speed = |times: Vec<Duration>| mebibytes(plan.bulk.length) / Times::of(times).p50_s;
    Ok((speed(ups), speed(downs)))
}

#[expect(clippy::cast_precision_loss, reason = "sizes here are far below 2^52")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
