//! What every backend is tested against: plain functions, each of which makes boxes, looks, and removes them.
//!
//! They panic where the contract is broken, so they are for tests. [`all`] runs them one after the other; a backend whose
//! tests want to name them calls them one by one.

use std::sync::Arc;

use devbox_guest::{Body, Guest, GuestClient};
use devbox_types::devbox::{BoxSpec, BoxState, Resources};
use devbox_types::file::{ReadRequest, WriteRequest};
use devbox_types::{BoxId, BoxPath, Grant};
use futures_util::future::{FutureExt as _, join_all};

use crate::contract::{Backend, Reach};
use crate::error::BackendError;

/// Runs every function of the suite.
pub async fn all(backend: &dyn Backend) {
    a_new_box_runs_and_answers(backend).await;
    an_id_is_used_once(backend).await;
    an_unknown_template_makes_nothing(backend).await;
    an_unknown_box_is_not_there(backend).await;
    a_stopped_box_keeps_its_files(backend).await;
    stop_start_and_delete_may_be_repeated(backend).await;
    boxes_do_not_share_files(backend).await;
    boxes_are_made_at_once(backend).await;
    a_dropped_create_leaves_a_whole_box_or_none(backend).await;
}

/// When `create` answers, the box runs, is among the ids, and its guest answers.
pub async fn a_new_box_runs_and_answers(backend: &dyn Backend) {
    let id = make(backend, 1).await;
    assert_eq!(state(backend, &id).await, BoxState::Running);
    assert!(ids(backend).await.contains(&id), "a new box is not among the ids");
    let greeting = guest(backend, &id).await.greet().await.expect("a greeting");
    assert!(greeting.protocol.min <= greeting.protocol.max, "{greeting:?}");
    remove(backend, &id).await;
}

/// A second box of the same id is refused, and the first does not notice.
pub async fn an_id_is_used_once(backend: &dyn Backend) {
    let id = make(backend, 2).await;
    put(backend, &id, "kept").await;
    let again = backend.create(&id, &spec(backend)).await;
    assert!(matches!(again, Err(BackendError::Exists { .. })), "{again:?}");
    assert_eq!(get(backend, &id).await.as_deref(), Some("kept"));
    remove(backend, &id).await;
}

/// A template that is not there is refused, and leaves nothing.
pub async fn an_unknown_template_makes_nothing(backend: &dyn Backend) {
    let id = fresh(3);
    let spec = BoxSpec { template: "no-such-template".to_owned(), ..spec(backend) };
    let made = backend.create(&id, &spec).await;
    assert!(matches!(made, Err(BackendError::NoSuchTemplate { .. })), "{made:?}");
    assert_gone(backend, &id).await;
}

/// What is not there cannot be looked at, started, stopped or reached; deleting it succeeds.
pub async fn an_unknown_box_is_not_there(backend: &dyn Backend) {
    let id = fresh(4);
    assert_gone(backend, &id).await;
    let started = backend.start(&id).await;
    assert!(matches!(started, Err(BackendError::NoSuchBox { .. })), "{started:?}");
    let reached = backend.reach(&id).await;
    assert!(matches!(reached, Err(BackendError::NoSuchBox { .. })), "{reached:?}");
    backend.delete(&id).await.expect("delete what is not there");
}

/// `stop` ends the box and keeps its files; it cannot be reached until `start` brings it back with them.
pub async fn a_stopped_box_keeps_its_files(backend: &dyn Backend) {
    let id = make(backend, 5).await;
    put(backend, &id, "before the stop").await;
    backend.stop(&id).await.expect("stop");
    assert_eq!(state(backend, &id).await, BoxState::Stopped);
    let reached = backend.reach(&id).await;
    assert!(matches!(reached, Err(BackendError::NotRunning { .. })), "{reached:?}");
    backend.start(&id).await.expect("start");
    assert_eq!(state(backend, &id).await, BoxState::Running);
    assert_eq!(get(backend, &id).await.as_deref(), Some("before the stop"));
    remove(backend, &id).await;
}

/// Calls that find their work done succeed.
pub async fn stop_start_and_delete_may_be_repeated(backend: &dyn Backend) {
    let id = make(backend, 6).await;
    backend.start(&id).await.expect("start what runs");
    for _ in 0..2 {
        backend.stop(&id).await.expect("stop, and stop again");
    }
    for _ in 0..2 {
        backend.start(&id).await.expect("start, and start again");
    }
    for _ in 0..2 {
        remove(backend, &id).await;
    }
}

/// What is written in one box is not in the other.
pub async fn boxes_do_not_share_files(backend: &dyn Backend) {
    let (one, other) = (make(backend, 7).await, make(backend, 8).await);
    put(backend, &one, "of one box").await;
    assert_eq!(get(backend, &other).await, None);
    remove(backend, &one).await;
    remove(backend, &other).await;
}

/// Boxes are made and removed side by side.
pub async fn boxes_are_made_at_once(backend: &dyn Backend) {
    let made = join_all((10..14).map(|seed| make(backend, seed))).await;
    for id in &made {
        assert_eq!(state(backend, id).await, BoxState::Running);
    }
    join_all(made.iter().map(|id| remove(backend, id))).await;
}

/// A `create` that nobody waits for leaves a box that is whole, or none, never a part that stays in the way.
pub async fn a_dropped_create_leaves_a_whole_box_or_none(backend: &dyn Backend) {
    let id = fresh(20);
    let spec = spec(backend);
    // Asked once whether it is ready, and dropped.
    let _ = backend.create(&id, &spec).now_or_never();
    // Calls on one box are put in order, so this one ends after whatever the first one still does.
    match backend.create(&id, &spec).await {
        Ok(()) | Err(BackendError::Exists { .. }) => {}
        Err(error) => panic!("a dropped create is in the way: {error}"),
    }
    assert_eq!(state(backend, &id).await, BoxState::Running);
    remove(backend, &id).await;
}

/// An id that no other function of the suite uses.
fn fresh(seed: u8) -> BoxId {
    BoxId::from_random([0xc0, 0x4f, 0x0f, 0x31, 0xa5, 0xce, 0, 0, 0, seed])
}

fn spec(backend: &dyn Backend) -> BoxSpec {
    let template = backend.templates().into_iter().next().expect("a template");
    BoxSpec { template: template.name, env: [].into(), resources: Resources::default() }
}

async fn make(backend: &dyn Backend, seed: u8) -> BoxId {
    let id = fresh(seed);
    backend.create(&id, &spec(backend)).await.expect("create");
    id
}

async fn remove(backend: &dyn Backend, id: &BoxId) {
    backend.delete(id).await.expect("delete");
    assert_gone(backend, id).await;
}

async fn assert_gone(backend: &dyn Backend, id: &BoxId) {
    let status = backend.status(id).await;
    assert!(matches!(status, Err(BackendError::NoSuchBox { .. })), "{status:?}");
    assert!(!ids(backend).await.contains(id), "box {id} is still among the ids");
}

async fn state(backend: &dyn Backend, id: &BoxId) -> BoxState {
    backend.status(id).await.expect("a status").state
}

async fn ids(backend: &dyn Backend) -> Vec<BoxId> {
    backend.ids().await.expect("the ids")
}

async fn guest(backend: &dyn Backend, id: &BoxId) -> Arc<dyn Guest> {
    match backend.reach(id).await.expect("a way in") {
        Reach::Guest(guest) => guest,
        Reach::Transport(transport) => Arc::new(GuestClient::to_agent(transport)),
    }
}

fn marker() -> BoxPath {
    BoxPath::parse(b"/tmp/conformance").expect("a path")
}

async fn put(backend: &dyn Backend, id: &BoxId, text: &str) {
    let body = Body::from_bytes(text.to_owned());
    let guest = guest(backend, id).await;
    guest.write(&Grant::whole_box(), WriteRequest::to(marker()), body).await.expect("write a file");
}

async fn get(backend: &dyn Backend, id: &BoxId) -> Option<String> {
    let guest = guest(backend, id).await;
    let content = guest.read(&Grant::whole_box(), ReadRequest::whole(marker())).await.ok()?;
    let bytes = content.body.collect(1 << 10).await.expect("the content");
    Some(String::from_utf8(bytes.to_vec()).expect("text"))
}
