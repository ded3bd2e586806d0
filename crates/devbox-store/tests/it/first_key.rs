//! The key that a new server makes for its owner.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use devbox_store::{ApiSecret, NewKey, Store, StoreError};
use devbox_types::devbox::KeyRole;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[tokio::test]
async fn it_is_made_once_and_opens() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).await.expect("a store");
    let first = store.ensure_first_key(directory.path()).await.expect("a key").expect("the first");
    assert_eq!(mode(&first.path), 0o600);
    let text = fs::read_to_string(&first.path).expect("first.key");
    assert_eq!(text.trim_end(), first.secret.expose());
    let key = store.authenticate(text.trim_end()).expect("a record");
    assert_eq!((key.project.as_str(), key.role), ("default", KeyRole::Admin));
    assert_eq!(store.ensure_first_key(directory.path()).await.expect("an answer"), None);
    assert!(!directory.path().join("first.key.new").exists());
}

#[tokio::test]
async fn revoking_it_does_not_make_another() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).await.expect("a store");
    let first = store.ensure_first_key(directory.path()).await.expect("a key").expect("the first");
    // The last admin key stays, so there has to be another.
    let other = NewKey { project: "default".to_owned(), role: KeyRole::Admin, name: None };
    store.create_key(other).await.expect("another admin key");
    store.revoke_key(first.secret.id(), None).await.expect("a revocation");
    fs::remove_file(&first.path).expect("first.key");
    assert_eq!(store.ensure_first_key(directory.path()).await.expect("an answer"), None);
}

#[tokio::test]
async fn a_start_that_was_cut_off_is_taken_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("first.key");
    let left = ApiSecret::generate().expect("a secret");
    fs::write(&path, format!("{}\n", left.expose())).expect("first.key");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a mode");
    fs::write(directory.path().join("first.key.new"), "half of a k").expect("first.key.new");
    let store = Store::open(directory.path()).await.expect("a store");
    let first = store.ensure_first_key(directory.path()).await.expect("a key").expect("the first");
    assert_eq!(first.secret, left);
    assert!(store.authenticate(left.expose()).is_some());
}

#[tokio::test]
async fn a_file_that_others_could_have_made_is_not_taken_up() {
    for (mode, text) in [(0o644, true), (0o600, false)] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("first.key");
        let secret = ApiSecret::generate().expect("a secret");
        fs::write(&path, if text { secret.expose() } else { "something else" }).expect("first.key");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a mode");
        let store = Store::open(directory.path()).await.expect("a store");
        let refused = store.ensure_first_key(directory.path()).await;
        assert!(matches!(refused, Err(StoreError::FirstKeyTaken { .. })), "{refused:?}");
        assert!(store.authenticate(secret.expose()).is_none());
    }
}

#[tokio::test]
async fn attack_first_key_symlink() {
    let directory = tempfile::tempdir().expect("a directory");
    let target = directory.path().join("target");
    let planted = ApiSecret::generate().expect("a secret");
    fs::write(&target, planted.expose()).expect("target");
    fs::set_permissions(&target, Permissions::from_mode(0o600)).expect("a mode");
    symlink(&target, directory.path().join("first.key")).expect("a link");
    let store = Store::open(directory.path()).await.expect("a store");
    let refused = store.ensure_first_key(directory.path()).await;
    assert!(matches!(refused, Err(StoreError::FirstKeyTaken { .. })), "{refused:?}");
    assert_eq!(fs::read_to_string(&target).expect("target"), planted.expose());
}

#[tokio::test]
async fn the_database_is_its_owners_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(Store::FILE_NAME);
    fs::write(&path, "").expect("a file");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("a mode");
    let store = Store::open(directory.path()).await.expect("a store");
    store.ensure_first_key(directory.path()).await.expect("a key");
    for entry in fs::read_dir(directory.path()).expect("a directory") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{path:?}");
    }
}
