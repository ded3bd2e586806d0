//! Disks that are really full, quotas that are really used up, inodes that are really gone.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use devbox_testkit::{BareAgent, SmallDisk};

use crate::chance::Chance;
use crate::killed::Rehearsal;
use crate::operations::{OPERATIONS, Operation, fill, options};
use crate::tree::{Tree, check_state};
use crate::wire::{Answer, call};

/// How much is left where it is not tight: multiples of so many units, and how many of them.
const STEP: usize = 16;
const LEVELS: usize = 64;
const BLOCK: u64 = 4096;
/// How long a disk may take to give room back.
const PATIENCE: Duration = Duration::from_secs(20);

/// Promises 1 and 2 on a full ext4.
#[test]
fn a_full_ext4_leaves_all_or_nothing() -> Result<()> {
    let disk = SmallDisk::made_by(&["mkfs.ext4", "-q", "-m", "0"], 64 << 20, "loop")?;
    on_full_disk("ext4", &disk)
}

/// Promises 1 and 2 on a full XFS.
#[test]
fn a_full_xfs_leaves_all_or_nothing() -> Result<()> {
    let disk = SmallDisk::xfs(300 << 20)?;
    on_full_disk("xfs", &disk)
}

/// Promises 1 and 2 on a full btrfs, where even a delete needs room.
#[test]
fn a_full_btrfs_leaves_all_or_nothing() -> Result<()> {
    let disk = SmallDisk::btrfs(128 << 20)?;
    on_full_disk("btrfs", &disk)
}

/// Promises 1 and 2 on a disk that turns read-only in the middle of a request, as ext4 does at an error.
#[test]
fn a_disk_that_turns_read_only_leaves_all_or_nothing() -> Result<()> {
    for operation in OPERATIONS {
        let rehearsal = Rehearsal::of(*operation)?;
        let disk = SmallDisk::made_by(&["mkfs.ext4", "-q", "-m", "0"], 64 << 20, "loop,errors=remount-ro")?;
        let root = disk.path().join("box");
        fs::create_dir(&root)?;
        fill(&root)?;
        // An aborted journal forgets what was not on disk.
        ensure!(Command::new("sync").arg("-f").arg(&root).status()?.success(), "cannot sync");
        let agent = BareAgent::serve(&root, &options())?;
        let request = (operation.request)(&agent);
        let answer = request.send_with(&agent, request.bytes.len() / 2, || {
            // A pause, so that the first half is worked on by then; what counts holds without it.
            std::thread::sleep(Duration::from_millis(5));
            fs::write(format!("/sys/fs/ext4/{}/trigger_fs_error", disk.device()?), "by a test")?;
            Ok(())
        })?;
        let what = || format!("{}: answered {answer:?}", operation.name);
        let refused = matches!(&answer, Answer::Given(response) if response.code() == "read_only");
        ensure!(refused, "{}", what());
        let link = call(&agent, "GET /v1/files/link", &[], b"").given();
        ensure!(link.status == 200, "it does not serve: {}", link.text);
        agent.stop()?;
        // It is readable, and the agent says what it is.
        let agent = BareAgent::serve(&root, &options()).with_context(what)?;
        let refused = operation.run(&agent).given();
        ensure!(refused.code() == "read_only", "{}: {}", operation.name, refused.text);
        agent.stop()?;
        disk.remount()?;
        let agent = BareAgent::serve(&root, &options())?;
        rehearsal.judge(&Tree::of(&root)?, &answer).with_context(what)?;
        check_state(&root, 0)?;
        agent.stop()?;
    }
    Ok(())
}

/// Promises 1 and 2 where the box's quota is used up: a subvolume with a limit, as boxes have it.
#[test]
fn a_used_up_quota_leaves_all_or_nothing() -> Result<()> {
    let disk = SmallDisk::btrfs(256 << 20)?;
    btrfs(&["quota", "enable"], disk.path())?;
    let root = disk.path().join("box");
    let subvolume = || btrfs(&["subvolume", "create"], &root);
    on_full("quota", &root, "quota_exceeded", subvolume, |left| {
        // What an empty subvolume and the files of the old tree take, once they are on disk.
        let used = 128 << 10;
        btrfs(&["qgroup", "limit", &(used + left * BLOCK).to_string()], &root)
    })
}

/// Promises 1 and 2 where there is room for bytes and none for files.
#[test]
fn a_disk_without_inodes_leaves_all_or_nothing() -> Result<()> {
    let disk = SmallDisk::made_by(&["mkfs.ext4", "-q", "-m", "0", "-N", "128"], 64 << 20, "loop")?;
    let root = disk.path().join("box");
    on_full(
        "inodes",
        &root,
        "no_space",
        || Ok(fs::create_dir(&root)?),
        |left| {
            let hoard = disk.path().join("filler");
            fs::create_dir(&hoard)?;
            let taken =
                (0..).take_while(|number| fs::write(hoard.join(number.to_string()), "").is_ok()).count();
            (0..taken.min(usize::try_from(left % 16)?))
                .try_for_each(|number| fs::remove_file(hoard.join(number.to_string())))?;
            Ok(())
        },
    )
}

fn on_full_disk(what: &str, disk: &SmallDisk) -> Result<()> {
    let root = disk.path().join("box");
    on_full(what, &root, "no_space", || Ok(fs::create_dir(&root)?), |left| take_space(disk.path(), left))
}

/// Runs every operation in a folder that `make` makes, where `exhaust` leaves so many units of what there is.
fn on_full(
    what: &str,
    root: &Path,
    code: &str,
    make: impl Fn() -> Result<()>,
    exhaust: impl Fn(u64) -> Result<()>,
) -> Result<()> {
    let chance = Chance::new(what);
    let (mut refused, mut done, mut failures) = (0, 0, Vec::new());
    for operation in OPERATIONS {
        let rehearsal = Rehearsal::of(*operation)?;
        // Half of the cases are in the last few units, where it gets tight.
        let tight = chance.some(16, 4).into_iter();
        for left in tight.chain(chance.some(LEVELS, 3).into_iter().map(|level| level * STEP)) {
            make()?;
            fill(root)?;
            let agent = BareAgent::serve(root, &options())?;
            exhaust(u64::try_from(left)?)?;
            match attempt(*operation, &rehearsal, root, agent, code) {
                Ok(true) => done += 1,
                Ok(false) => refused += 1,
                Err(error) => failures.push(format!("{}: {left} units left: {error:#}", operation.name)),
            }
            let filler = root.with_file_name("filler");
            if filler.is_dir() {
                fs::remove_dir_all(&filler)?;
            } else if filler.exists() {
                fs::remove_file(&filler)?;
            }
            fs::remove_dir_all(root)?;
            wait_for_room(root)?;
        }
    }
    eprintln!("{what}: {done} calls were done, {refused} were refused");
    ensure!(failures.is_empty(), "{what}: {} failed:\n{}", failures.len(), failures.join("\n"));
    ensure!(
        done > 0 && refused > 0,
        "{what}: {done} calls were done, {refused} were refused: nothing was tried"
    );
    Ok(())
}

fn attempt(
    operation: Operation,
    rehearsal: &Rehearsal,
    root: &Path,
    agent: BareAgent,
    code: &str,
) -> Result<bool> {
    let answer = operation.run(&agent);
    let response = answer.clone().given();
    let tree = Tree::of(root)?;
    if response.status < 300 {
        let seen = tree.without_reserved();
        ensure!(seen == rehearsal.new, "it is not new:\n{}", seen.differences(&rehearsal.new));
    } else {
        ensure!(response.code() == code, "not {code}: {}", response.text);
        ensure!(tree == rehearsal.old, "it is not old:\n{}", tree.differences(&rehearsal.old));
        check_state(root, 0)?;
    }
    ensure!(call(&agent, "GET /v1/files/link", &[], b"").given().status < 500, "it does not serve");
    drop(agent);
    let agent = BareAgent::serve(root, &options()).context("on the full disk")?;
    drop(agent);
    rehearsal.judge(&Tree::of(root)?, &answer)?;
    Ok(response.status < 300)
}

/// XFS gives back in the background what was removed; nothing announces it.
fn wait_for_room(root: &Path) -> Result<()> {
    let probe = root.with_file_name("probe");
    let start = Instant::now();
    loop {
        let written = fs::write(&probe, [0; 256 << 10]);
        let removed = fs::remove_file(&probe);
        match written.and(removed) {
            Ok(()) => return Ok(()),
            Err(error) if start.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Takes all room of a disk but so many blocks.
fn take_space(disk: &Path, left: u64) -> Result<()> {
    let filler = fs::File::create(disk.join("filler"))?;
    let mut length = 0;
    let mut piece = 256 << 20;
    while piece >= BLOCK {
        match allocate(&filler, length, piece) {
            true => length += piece,
            false => piece /= 2,
        }
    }
    filler.set_len(length.saturating_sub(left * BLOCK))?;
    filler.sync_all()?;
    Ok(())
}

fn btrfs(arguments: &[&str], place: &Path) -> Result<()> {
    let output = Command::new("btrfs").args(arguments).arg(place).output().context("cannot run btrfs")?;
    ensure!(output.status.success(), "btrfs {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn allocate(file: &fs::File, from: u64, length: u64) -> bool {
    use std::os::fd::AsRawFd as _;
    let (Ok(from), Ok(length)) = (from.try_into(), length.try_into()) else { return false };
    #[expect(unsafe_code, reason = "fallocate has no safe wrapper in std")]
    // SAFETY: three numbers, and a descriptor that is open.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), 0, from, length) };
    result == 0
}
