//! Boxes come, stop, start and go, and leave nothing behind.

use devbox_backend::{Backend, BackendError};
use devbox_local::PoolChoice;
use devbox_types::devbox::{BoxState, Resources};

use crate::machine::{Machine, fresh_id, spec};

async fn a_life(pool: PoolChoice, kind: &str) {
    let machine = Machine::start(pool).await;
    assert_eq!(machine.pool, kind);
    let id = machine.create().await;
    assert_eq!(machine.backend.status(&id).await.expect("status").state, BoxState::Running);
    machine
        .output(&id, "echo kept > /workspace/file && rm /usr/bin/git && mv /usr/share/doc /usr/share/moved")
        .await;
    machine.backend.stop(&id).await.expect("stopped");
    machine.backend.stop(&id).await.expect("stopped again");
    assert_eq!(machine.backend.status(&id).await.expect("status").state, BoxState::Stopped);
    assert!(matches!(machine.backend.reach(&id).await, Err(BackendError::NotRunning { .. })));
    machine.backend.start(&id).await.expect("started");
    machine.backend.start(&id).await.expect("started again");
    assert_eq!(machine.output(&id, "cat /workspace/file").await, "kept");
    assert_eq!(
        machine.output(&id, "test -e /usr/bin/git || ls -d /usr/share/moved").await,
        "/usr/share/moved"
    );
    machine.backend.delete(&id).await.expect("deleted");
    machine.backend.delete(&id).await.expect("deleted again");
    assert!(matches!(machine.backend.status(&id).await, Err(BackendError::NoSuchBox { .. })));
    assert!(machine.backend.ids().await.expect("ids").is_empty());
    machine.end().await;
}

#[tokio::test]
async fn a_box_lives_on_plain_directories() {
    a_life(PoolChoice::Plain, "plain").await;
}

#[tokio::test]
async fn a_box_lives_on_btrfs() {
    a_life(PoolChoice::Btrfs, "btrfs").await;
}

#[tokio::test]
async fn what_does_not_exist_is_refused_by_name() {
    let machine = Machine::start(PoolChoice::Auto).await;
    let mut unknown = spec(Resources::default());
    unknown.template = "nothing".to_owned();
    let refused = machine.backend.create(&fresh_id(), &unknown).await;
    assert!(matches!(refused, Err(BackendError::NoSuchTemplate { name }) if name == "nothing"));
    let nobody = fresh_id();
    assert!(matches!(machine.backend.start(&nobody).await, Err(BackendError::NoSuchBox { .. })));
    assert!(matches!(machine.backend.stop(&nobody).await, Err(BackendError::NoSuchBox { .. })));
    let id = machine.create().await;
    let twice = machine.backend.create(&id, &spec(Resources::default())).await;
    assert!(matches!(twice, Err(BackendError::Exists { .. })));
    machine.end().await;
}
