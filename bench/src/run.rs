//! One run: who takes part, in which order things happen, and what comes of it.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::content::Content;
use crate::echo::Echo;
use crate::floor::client::Floor;
use crate::ground::Ground;
use crate::guest::GuestSubject;
use crate::measure::{Participant, SOURCE, Work, take_turns};
use crate::memory::Watch;
use crate::options::Options;
use crate::path::WholePath;
use crate::peer;
use crate::plan::Plan;
use crate::result::{RunResult, Samples};
use crate::row::Row;

/// Boxes are made in blocks, by which noise is judged.
const BOXES_IN_A_BLOCK: usize = 5;

/// Measures everything, and prints it.
pub(crate) fn all(options: &Options) -> Result<()> {
    let plan = Plan::of(options);
    let mut result = RunResult::empty(&plan, options.quick);
    let ground = match &options.folder {
        Some(folder) => Ground::in_folder(folder)?,
        None => Ground::overlay_on_btrfs()?,
    };
    let local = ground.folder.join("local");
    std::fs::create_dir(&local)?;

    let mut taking_part = floors(&ground)?;
    let mut path = None;
    if !options.floors {
        let (sockets, folder) = (ground.scratch.path(), &ground.folder);
        let alone = GuestSubject::agent_alone(&options.agent()?, sockets, folder, &ground.file_system)?;
        taking_part.push(Participant::new(alone));
        let plain_in = options.folder.is_some().then(|| ground.scratch.path().join("data"));
        let path = path.insert(WholePath::start(&options.devbox()?, plain_in.as_deref())?);
        taking_part.push(Participant::new(path.subject(&local)?));
        if plan.bulk.length > 0 && plan.rows.contains(&Row::UploadLargeFile) {
            plan.bulk.write_to(&local.join(SOURCE))?;
        }
    }
    for address in &options.peers {
        taking_part.push(peer::subject(address, &ground)?);
    }
    let names: BTreeSet<String> = taking_part.iter().map(Participant::name).collect();
    ensure!(
        names.len() == taking_part.len(),
        "two subjects have one name: tell peers apart by KIND:NAME=URL"
    );
    let wanted =
        |name: &str| options.only.is_empty() || options.only.iter().any(|text| name.contains(&**text));
    taking_part.retain(|participant| wanted(&participant.name()));
    ensure!(!taking_part.is_empty(), "no subject is called so");

    let watch = path.as_ref().map(Watch::begin).transpose()?;
    take_turns(&mut taking_part, &Work::prepare(&plan, &local)?)?;
    for participant in taking_part {
        participant.report(&plan, &mut result);
    }
    if let Some(path) = path {
        if plan.boxes > 0 && plan.rows.contains(&Row::FirstByte) {
            result.add(Row::FirstByte, path.name(), &first_bytes(&path, plan.boxes)?);
        }
        if let Some(watch) = watch.filter(|_| plan.bulk.length > 0) {
            // Twice a large file: 1 GiB in a full run.
            result.memory = Some(watch.measure(&path, Content { length: 2 * plan.bulk.length })?);
        }
        path.stop()?;
    }
    result.compare_with_floors();
    result.print();
    if let Some(file) = &options.json {
        result.save(file)?;
    }
    println!("\n{} passed, 0 failed", result.verified());
    Ok(())
}

fn floors(ground: &Ground) -> Result<Vec<Participant>> {
    let (sockets, folder, on) = (ground.scratch.path(), &ground.folder, &*ground.file_system);
    Ok(vec![
        Participant::new(Floor::one_hop(sockets, folder, on)?),
        Participant::new(Floor::two_hops(sockets, folder, on)?),
        Participant::new(Echo::start(sockets)?),
    ])
}

fn first_bytes(path: &WholePath, boxes: usize) -> Result<Samples> {
    let mut samples = Samples::default();
    for index in 0..boxes {
        if index % BOXES_IN_A_BLOCK == 0 {
            samples.begin_block();
        }
        samples.add(path.first_byte()?);
    }
    Ok(samples)
}
