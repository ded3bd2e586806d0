//! Ends of all kinds: of the agent, of the spawner, of the server; and what the next start makes of them.

use std::time::{Duration, Instant};

use devbox_backend::{Backend, BackendError, Reach};
use devbox_local::{PoolChoice, Spawner};
use devbox_types::devbox::{BoxState, Resources};

use crate::machine::{Machine, config, fresh_id, spec};

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
}

async fn within<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_killed_agent_shows_and_can_be_started_again() {
    let machine = Machine::start(PoolChoice::Auto).await;
    let id = machine.create().await;
    machine.output(&id, "echo kept > /workspace/file").await;
    kill(machine.first_pid(&id));
    let status = within("the failure", async || {
        let status = machine.backend.status(&id).await.expect("a status");
        (status.state == BoxState::Failed).then_some(status)
    })
    .await;
    assert_eq!(status.reason.as_deref(), Some("agent_killed"));
    assert!(matches!(
        machine.backend.reach(&id).await,
        Err(BackendError::NotRunning { state: "failed", .. })
    ));
    within("the start", async || machine.backend.start(&id).await.ok()).await;
    assert_eq!(machine.output(&id, "cat /workspace/file").await, "kept");
    machine.end().await;
}

async fn survives_the_server(pool: PoolChoice) {
    let machine = Machine::start(pool).await;
    let (ran, stopped) = (machine.create().await, machine.create().await);
    machine.output(&ran, "echo kept > /workspace/file").await;
    machine.backend.stop(&stopped).await.expect("stopped");
    let machine = Machine::start_in(machine.end().await, |config| config.with_pool(pool)).await;
    let status = machine.backend.status(&ran).await.expect("a status");
    assert_eq!((status.state, status.reason.as_deref()), (BoxState::Stopped, Some("server_restart")));
    let status = machine.backend.status(&stopped).await.expect("a status");
    assert_eq!((status.state, status.reason.as_deref()), (BoxState::Stopped, None));
    machine.backend.start(&ran).await.expect("started");
    assert_eq!(machine.output(&ran, "cat /workspace/file").await, "kept");
    machine.end().await;
}

#[tokio::test]
async fn boxes_on_plain_directories_survive_the_server() {
    survives_the_server(PoolChoice::Plain).await;
}

#[tokio::test]
async fn boxes_on_btrfs_survive_the_server() {
    survives_the_server(PoolChoice::Btrfs).await;
}

#[tokio::test]
async fn a_killed_spawner_leaves_no_box_and_its_debris_is_swept() {
    let machine = Machine::start(PoolChoice::Auto).await;
    let id = machine.create().await;
    let first = machine.first_pid(&id);
    machine.output(&id, "echo kept > /workspace/file; (sleep 1000 > /dev/null 2>&1 &)").await;
    kill(machine.spawner);
    within("the end of the box", async || {
        (!std::path::Path::new(&format!("/proc/{first}")).exists()).then_some(())
    })
    .await;
    assert_eq!(machine.backend.status(&id).await.expect("a status").state, BoxState::Failed);
    let Machine { directory, backend, .. } = machine;
    drop(backend);
    // A box that was being made, and a name that is no box's.
    std::fs::write(directory.path().join("records/aaaaaaaaaaaaaaaa.new"), "{").expect("written");
    let machine = Machine::start_in(directory, |config| config).await;
    let status = machine.backend.status(&id).await.expect("a status");
    assert_eq!((status.state, status.reason.as_deref()), (BoxState::Stopped, Some("server_restart")));
    machine.backend.start(&id).await.expect("started");
    assert_eq!(machine.output(&id, "cat /workspace/file").await, "kept");
    machine.end().await;
}

/// Kills the spawner at ever later moments of a create: the box is whole afterwards, or not there at all.
#[tokio::test]
async fn a_spawner_killed_in_a_create_leaves_a_whole_box_or_none() {
    let mut directory = tempfile::tempdir().expect("a directory");
    for step in 0..10 {
        let machine = Machine::start_in(directory, |config| config.with_pool(PoolChoice::Plain)).await;
        let id = fresh_id();
        let (backend, making) = (machine.backend.clone(), spec(Resources::default()));
        let create = tokio::spawn({
            let id = id.clone();
            async move { backend.create(&id, &making).await }
        });
        tokio::time::sleep(Duration::from_millis(2 * step)).await;
        kill(machine.spawner);
        let made = create.await.expect("no panic");
        directory = machine.directory;
        let machine = Machine::start_in(directory, |config| config.with_pool(PoolChoice::Plain)).await;
        let left = machine.backend.ids().await.expect("ids");
        assert_eq!(left.len(), machine.pool_entries(), "killed after {} ms", 2 * step);
        assert!(made.is_err() || left.contains(&id), "a made box is gone");
        if left.contains(&id) {
            machine.backend.start(&id).await.expect("whole");
            machine.output(&id, "echo x > /workspace/file").await;
            machine.backend.delete(&id).await.expect("deleted");
        }
        directory = machine.end().await;
    }
}

/// The process between the server and the spawner only waits, but nobody must be able to part them by ending it.
#[tokio::test]
async fn a_killed_parent_of_the_spawner_leaves_no_box() {
    let machine = Machine::start(PoolChoice::Plain).await;
    let id = machine.create().await;
    let (first, parent) = (machine.first_pid(&id), machine.parent);
    kill(parent);
    for pid in [first, machine.spawner] {
        within("the end of it", async || {
            (!std::path::Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(())
        })
        .await;
    }
    let Machine { directory, backend, .. } = machine;
    drop(backend);
    let machine = Machine::start_in(directory, |config| config.with_pool(PoolChoice::Plain)).await;
    machine.backend.start(&id).await.expect("started");
    machine.end().await;
}

#[tokio::test]
async fn one_data_directory_has_one_spawner() {
    let machine = Machine::start(PoolChoice::Plain).await;
    let second = Spawner::launch(&config(machine.directory.path()));
    assert!(second.is_err());
    machine.end().await;
}

#[tokio::test]
async fn an_abandoned_create_leaves_nothing() {
    let machine = Machine::start(PoolChoice::Plain).await;
    let id = fresh_id();
    let making = spec(Resources::default());
    let dropped =
        tokio::time::timeout(Duration::from_micros(100), machine.backend.create(&id, &making)).await;
    assert!(dropped.is_err(), "a box in 100 µs");
    within("the end of the box", async || machine.backend.ids().await.expect("ids").is_empty().then_some(()))
        .await;
    let boxes = machine.directory.path().join("plain/boxes");
    within("the removal", async || std::fs::read_dir(&boxes).expect("boxes").next().is_none().then_some(()))
        .await;
    machine.backend.create(&id, &making).await.expect("made");
    machine.end().await;
}

async fn nothing_leaks(pool: PoolChoice) {
    const BOXES: usize = 25;
    let machine = Machine::start(pool).await;
    let instance = std::fs::read_to_string(machine.directory.path().join("instance")).expect("an instance");
    // Those of other tests come and go meanwhile.
    let mounts = || {
        let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let data = machine.directory.path().to_string_lossy().into_owned();
        table.lines().filter(|line| line.contains(&data) || line.contains("/run/devbox")).count()
    };
    // A box is deleted once nobody can find it; what it held is removed by a process of its own, which takes a moment.
    let settled = async || within("the removal", async || (machine.pool_entries() == 0).then_some(())).await;
    let mut before = 0;
    for round in 0..BOXES {
        let id = machine.create().await;
        machine.output(&id, "mkdir -p /workspace/a/b; echo x > /workspace/a/b/c; rm /usr/bin/env").await;
        assert!(matches!(machine.backend.reach(&id).await, Ok(Reach::Transport(_))));
        machine.backend.delete(&id).await.expect("deleted");
        if round == 2 {
            settled().await;
            before = machine.spawner_descriptors();
        }
    }
    settled().await;
    let as_before = async || (machine.spawner_descriptors() <= before).then_some(());
    within("the spawner's descriptors to be as few as before", as_before).await;
    assert_eq!(mounts(), 0);
    for controller in ["cpu", "memory", "pids", "freezer"] {
        let folder = format!("/sys/fs/cgroup/{controller}/devbox/{}", instance.trim());
        let left = std::fs::read_dir(&folder).map_or(0, |entries| {
            entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir())).count()
        });
        assert_eq!(left, 0, "{folder}");
    }
    let data = machine.directory.path();
    for folder in ["records", "sockets"] {
        assert_eq!(std::fs::read_dir(data.join(folder)).expect("a folder").count(), 0, "{folder}");
    }
    let directory = machine.end().await;
    assert!(!std::path::Path::new(&format!("/sys/fs/cgroup/memory/devbox/{}", instance.trim())).exists());
    directory.close().expect("nothing holds the data directory");
}

#[tokio::test]
async fn nothing_leaks_from_boxes_on_plain_directories() {
    nothing_leaks(PoolChoice::Plain).await;
}

#[tokio::test]
async fn nothing_leaks_from_boxes_on_btrfs() {
    nothing_leaks(PoolChoice::Btrfs).await;
}
