//! API keys.

use devbox_store::{ApiSecret, NewKey, Store, StoreError};
use devbox_types::devbox::KeyRole;

fn new(project: &str) -> NewKey {
    NewKey { project: project.to_owned(), role: KeyRole::Member, name: None }
}

#[tokio::test]
async fn a_key_opens_until_it_is_revoked_and_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let (kept, revoked) = {
        let store = Store::open(directory.path()).await.expect("a store");
        assert!(store.is_new());
        let (_, kept) = store.create_key(new("p")).await.expect("a key");
        let (record, revoked) = store.create_key(new("p")).await.expect("a key");
        assert!(store.authenticate(revoked.expose()).is_some());
        store.revoke_key(&record.id, Some("p")).await.expect("a revocation");
        assert!(store.authenticate(revoked.expose()).is_none());
        (kept, revoked)
    };
    let store = Store::open(directory.path()).await.expect("a store");
    assert!(!store.is_new());
    assert_eq!(store.authenticate(kept.expose()).expect("a record").project, "p");
    assert!(store.authenticate(revoked.expose()).is_none());
    assert_eq!(store.keys(None).len(), 1);
    assert_eq!(store.keys(Some("q")).len(), 0);
}

#[tokio::test]
async fn the_right_id_with_the_wrong_secret_opens_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).await.expect("a store");
    let (record, secret) = store.create_key(new("p")).await.expect("a key");
    let other = ApiSecret::generate().expect("a secret");
    let mixed = other.expose().replace(other.id(), &record.id);
    assert_eq!(ApiSecret::parse(&mixed).expect("a secret").id(), secret.id());
    assert!(store.authenticate(&mixed).is_none());
    assert!(store.authenticate("").is_none());
}

#[tokio::test]
async fn a_key_of_another_project_is_not_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).await.expect("a store");
    let (record, secret) = store.create_key(new("p")).await.expect("a key");
    for (id, project) in [(record.id.as_str(), Some("q")), ("nothing", None)] {
        let refused = store.revoke_key(id, project).await;
        assert!(matches!(refused, Err(StoreError::NoSuchKey { .. })), "{refused:?}");
    }
    assert!(store.authenticate(secret.expose()).is_some());
}

/// Nobody could make keys any more: a first key is made once.
#[tokio::test]
async fn the_last_admin_key_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).await.expect("a store");
    let admin = || NewKey { role: KeyRole::Admin, ..new("p") };
    let (first, secret) = store.create_key(admin()).await.expect("a key");
    store.create_key(new("p")).await.expect("a member's key");
    let refused = store.revoke_key(&first.id, None).await;
    assert!(matches!(refused, Err(StoreError::LastAdminKey { .. })), "{refused:?}");
    assert!(store.authenticate(secret.expose()).is_some());
    let (second, _) = store.create_key(admin()).await.expect("a key");
    let (one, other) = tokio::join!(store.revoke_key(&first.id, None), store.revoke_key(&second.id, None));
    assert!(one.is_ok() != other.is_ok(), "one of two at once: {one:?} {other:?}");
}
