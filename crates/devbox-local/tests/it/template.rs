//! The `host` template: what it shows of the host, and what it does not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use devbox_backend::Backend;
use devbox_local::PoolChoice;

use crate::machine::Machine;

/// A `/usr` without programs, with files planted in it that are nobody's business.
fn plant(usr: &Path) {
    for folder in ["bin", "sbin", "lib", "share/app", "share/locked", "src", "local/bin", "etc"] {
        fs::create_dir_all(usr.join(folder)).expect("a directory");
    }
    fs::set_permissions(usr, fs::Permissions::from_mode(0o755)).expect("a mode");
    let write = |name: &str, mode: u32| {
        fs::write(usr.join(name), "SECRET").expect("a file");
        fs::set_permissions(usr.join(name), fs::Permissions::from_mode(mode)).expect("a mode");
    };
    write("share/app/public", 0o644);
    write("share/app/root-only", 0o600);
    write("share/app/group-only", 0o640);
    write("share/locked/inside", 0o644);
    write("src/source", 0o644);
    write("local/bin/tool", 0o755);
    write("etc/config", 0o644);
    write("share/app/of-a-user", 0o644);
    chown(usr.join("share/app/of-a-user"), Some(200_000), Some(200_000)).expect("an owner");
    fs::set_permissions(usr.join("share/locked"), fs::Permissions::from_mode(0o711)).expect("a mode");
}

#[tokio::test]
async fn attack_host_template_shows_private_files() {
    let usr = tempfile::tempdir().expect("a directory");
    plant(usr.path());
    let machine = Machine::start_in(tempfile::tempdir().expect("a directory"), |config| {
        let mut config = config.with_pool(PoolChoice::Plain);
        config.settings.host_usr = usr.path().to_owned();
        config
    })
    .await;
    let id = machine.create().await;
    let read = async |path: &str| machine.ask(&id, &format!("POST /read HTTP/1.1\r\n\r\n/usr/{path}")).await;
    assert_eq!(read("share/app/public").await.output, "SECRET");
    for hidden in [
        "share/app/root-only",
        "share/app/group-only",
        "share/app/of-a-user",
        "share/locked/inside",
        "src/source",
        "local/bin/tool",
        "etc/config",
    ] {
        let outcome = read(hidden).await;
        assert_ne!(outcome.status, 0, "{hidden} is shown");
        assert!(!outcome.output.contains("SECRET"), "{hidden} is shown");
    }
    machine.end().await;
}

#[tokio::test]
async fn python_works_and_says_the_version_that_the_template_promises() {
    let machine = Machine::start(PoolChoice::Plain).await;
    let templates = machine.backend.templates();
    assert_eq!(templates[0].name, "host");
    let promised = templates[0].runtimes.iter().find_map(|runtime| runtime.strip_prefix("python:"));
    let promised = promised.expect("this test needs a python3 in /usr/bin (apt-get install python3)");
    let id = machine.create().await;
    let said = machine
        .output(&id, "python3 -c 'import json, ssl, sqlite3; print(json.dumps(1 + 1))' && python3 --version");
    assert_eq!(said.await, format!("2\nPython {promised}"));
    machine
        .output(&id, "awk 'BEGIN { print 1 }' && git --version && ls -l /etc/alternatives > /dev/null")
        .await;
    machine.end().await;
}
