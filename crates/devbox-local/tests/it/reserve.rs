//! What boxes must leave free of the host's disk.

use std::time::{Duration, Instant};

use devbox_local::PoolChoice;
use devbox_testkit::SmallDisk;

use crate::machine::Machine;

/// A disk of 6 GiB has a reserve of 2 GiB.
const DISK: u64 = 6 << 30;
const RESERVE: u64 = 2 << 30;
/// What is left of it for boxes once others have filled the disk.
const SPARE: u64 = 256 << 20;

fn available(folder: &std::path::Path) -> u64 {
    let disk = rustix::fs::statvfs(folder).expect("a disk");
    disk.f_bavail * disk.f_frsize
}

#[tokio::test]
async fn attack_a_sparse_pool_fills_the_disk_of_the_host() {
    let disk = SmallDisk::ext4(DISK).expect("a disk");
    let directory = tempfile::tempdir_in(disk.path()).expect("a directory");
    let machine = Machine::start_in(directory, |config| config.with_pool(PoolChoice::Btrfs)).await;
    let id = machine.create().await;
    let room = async || -> u64 {
        let told = machine.output(&id, "df --output=avail -B1 /workspace | tail -n 1 | tr -d ' '").await;
        told.parse().expect("a number")
    };
    assert!(room().await > 2 * SPARE, "the pool begins with room");

    let others = std::fs::File::create(disk.path().join("others")).expect("a file");
    let filled = available(disk.path()) - RESERVE - SPARE;
    rustix::fs::fallocate(&others, rustix::fs::FallocateFlags::empty(), 0, filled).expect("filled");
    let begun = Instant::now();
    while room().await > SPARE + (64 << 20) {
        assert!(begun.elapsed() < Duration::from_secs(20), "the pool still offers {}", room().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let written = machine.run(&id, "head -c 1G /dev/zero > /workspace/all && sync").await;
    assert_ne!(written.status, 0, "1 GiB was written where there is room for a quarter");
    machine.output(&id, "sync").await;
    assert!(available(disk.path()) >= RESERVE - (64 << 20), "{} is left", available(disk.path()));

    std::fs::remove_file(disk.path().join("others")).expect("removed");
    drop(others);
    let begun = Instant::now();
    while room().await < 2 * SPARE {
        assert!(begun.elapsed() < Duration::from_secs(20), "the pool keeps what is free again");
        // It would be free by itself at the file system's next commit.
        machine.output(&id, "sync").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    machine.output(&id, "echo whole > /workspace/after && cat /workspace/after").await;
    let directory = machine.end().await;
    directory.close().expect("nothing holds the data directory");
}
