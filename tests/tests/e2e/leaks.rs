//! Nothing is left after many boxes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use devbox_testkit::{Footprint, ServerOptions};
use devbox_tests::bed::{Bed, shell};

const BOXES: usize = 200;
/// How many are made at the same time.
const AT_ONCE: usize = 4;

#[tokio::test]
async fn nothing_is_left_after_200_boxes_on_btrfs() -> Result<()> {
    nothing_is_left("btrfs", BOXES).await
}

#[tokio::test]
async fn nothing_is_left_after_boxes_on_a_plain_folder() -> Result<()> {
    nothing_is_left("plain", 40).await
}

async fn nothing_is_left(pool: &str, boxes: usize) -> Result<()> {
    let mut bed = Bed::start_with(ServerOptions::default().with_arguments(&["--pool", pool]))?;
    // The first box makes what all of them share.
    one_box(&bed).await?;
    let data_dir = bed.server.data_dir().to_path_buf();
    let (before, folders) = (bed.server.footprint(), tree(&data_dir));
    let descriptors = open_descriptors(bed.server.pid());
    let begin = Instant::now();
    let mut ids = BTreeSet::new();
    for _ in 0..boxes / AT_ONCE {
        let round = futures_util::future::try_join_all((0..AT_ONCE).map(|_| one_box(&bed))).await?;
        ids.extend(round);
    }
    let took = begin.elapsed();
    eprintln!(
        "{boxes} boxes on {pool}: {:.1} ms each, {AT_ONCE} at once",
        took.as_secs_f64() * 1e3 / boxes as f64
    );
    assert_eq!(ids.len(), boxes, "ids were used twice");

    let marks: Vec<&str> = ids.iter().map(String::as_str).collect();
    let left = Footprint::wait_until_gone(&marks, Duration::from_secs(10));
    ensure!(left.is_empty(), "of the boxes is left:\n{left}");
    let after = bed.server.footprint();
    ensure!(after == before, "before:\n{before}after:\n{after}");
    let grown: Vec<_> = tree(&data_dir).difference(&folders).cloned().collect();
    ensure!(grown.is_empty(), "left in the data directory: {grown:?}");
    // Idle connections may differ by a few; one for each box would be hundreds.
    let open = open_descriptors(bed.server.pid());
    ensure!(open.len() <= descriptors.len() + 8, "the server had {descriptors:?} open, now {open:?}");
    ensure!(bed.server.stop()?.success());
    Ok(())
}

async fn one_box(bed: &Bed) -> Result<String> {
    let sandbox = bed.sandbox().await?;
    sandbox.write("file", "x").await?;
    ensure!(shell(&sandbox, "cat file; sleep 1000 >/dev/null 2>&1 & exit 0").await?.stdout == "x");
    let id = sandbox.id().to_string();
    sandbox.destroy().await?;
    Ok(id)
}

/// Every folder and file below, without the database, whose files come and go.
fn tree(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path.clone());
            }
            if !path.to_string_lossy().contains(".db") && !path.to_string_lossy().contains("sqlite") {
                found.insert(path);
            }
        }
    }
    found
}

/// What a process has open, without numbers.
fn open_descriptors(pid: u32) -> Vec<String> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = open.filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok());
    let kind = |link: PathBuf| link.to_string_lossy().split(":[").next().unwrap_or_default().to_owned();
    let mut kinds: Vec<String> = links.map(kind).collect();
    kinds.sort_unstable();
    kinds
}
