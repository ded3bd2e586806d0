//! The command line, as a script uses it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use devbox_testkit::LiveServer;
use devbox_tests::bed::Bed;
use serde_json::Value;

fn run(server: &LiveServer, arguments: &[&str]) -> Result<Output> {
    Ok(server.devbox(arguments).stdin(Stdio::null()).output()?)
}

/// Expects success and returns standard output.
fn printed(server: &LiveServer, arguments: &[&str]) -> Result<String> {
    let output = run(server, arguments)?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "devbox {arguments:?}: {} {complaint}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn create(server: &LiveServer, arguments: &[&str]) -> Result<String> {
    let made: Value = serde_json::from_str(&printed(server, &[&["create", "--json"], arguments].concat())?)?;
    Ok(made["id"].as_str().context("no id")?.to_owned())
}

#[test]
fn a_box_is_made_listed_inspected_stopped_started_removed() -> Result<()> {
    let server = LiveServer::start()?;
    let id = create(&server, &["--name", "my-box"])?;
    let list: Value = serde_json::from_str(&printed(&server, &["ls", "--json"])?)?;
    ensure!(list.to_string().contains(&id), "{list}");
    ensure!(printed(&server, &["ls"])?.contains("my-box"));
    let inspected: Value = serde_json::from_str(&printed(&server, &["inspect", "my-box", "--json"])?)?;
    assert_eq!((&inspected["id"], &inspected["state"]), (&Value::from(id.as_str()), &Value::from("running")));
    ensure!(inspected["promises"].as_array().is_some_and(|promises| !promises.is_empty()), "{inspected}");
    printed(&server, &["stop", &id])?;
    ensure!(printed(&server, &["inspect", &id])?.contains("stopped"));
    printed(&server, &["start", &id])?;
    printed(&server, &["rm", &id])?;
    ensure!(!printed(&server, &["ls", "--json"])?.contains(&id));
    Ok(())
}

#[test]
fn exec_passes_streams_and_exit_code() -> Result<()> {
    let server = LiveServer::start()?;
    let id = create(&server, &[])?;
    let output = run(&server, &["exec", &id, "--", "sh", "-c", "echo out; echo err >&2; exit 7"])?;
    assert_eq!(
        (output.status.code(), &output.stdout[..], &output.stderr[..]),
        (Some(7), &b"out\n"[..], &b"err\n"[..])
    );
    let killed = run(&server, &["exec", &id, "--", "sh", "-c", "kill -9 $$"])?;
    assert_eq!(killed.status.code(), Some(137));

    let mut cat = server.devbox(&["exec", &id, "--", "cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    cat.stdin.take().context("piped")?.write_all(b"through the box")?;
    assert_eq!(cat.wait_with_output()?.stdout, b"through the box");
    Ok(())
}

#[test]
fn put_and_cat_move_one_file() -> Result<()> {
    let server = LiveServer::start()?;
    let id = create(&server, &[])?;
    let bytes: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    let mut put = server.devbox(&["put", &format!("{id}:data.bin")]);
    let mut put = put.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    put.stdin.take().context("piped")?.write_all(&bytes)?;
    let output = put.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = run(&server, &["cat", &format!("{id}:/workspace/data.bin")])?;
    ensure!(output.status.success() && output.stdout == bytes, "other bytes came back");
    Ok(())
}

/// Sends standard input through `devbox put`.
fn put(server: &LiveServer, arguments: &[&str], input: &[u8]) -> Result<Output> {
    let mut put = server.devbox(&[&["put"], arguments].concat());
    let mut put = put.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    put.stdin.take().context("piped")?.write_all(input)?;
    Ok(put.wait_with_output()?)
}

#[test]
fn parts_and_metadata_of_a_file_are_changed() -> Result<()> {
    let server = LiveServer::start()?;
    let id = create(&server, &[])?;
    let file = format!("{id}:log");
    let content = || printed(&server, &["cat", &file]);
    for (arguments, input) in [
        (&["--append", &file][..], &b"one two\n"[..]),
        (&["--append", "--atomic", &file], b"three\n"),
        (&["--offset", "4", &file], b"TWO"),
    ] {
        let output = put(&server, arguments, input)?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(content()?, "one TWO\nthree\n");
    printed(&server, &["exec", &id, "--", "ln", "log", "other"])?;
    ensure!(put(&server, &["--in-place", &file], b"in its place")?.status.success());
    assert_eq!(printed(&server, &["cat", &format!("{id}:other")])?, "in its place");
    printed(&server, &["truncate", &file, "6"])?;
    assert_eq!(content()?, "in its");
    ensure!(!put(&server, &["--offset", "0", &format!("{id}:none")], b"x")?.status.success());

    let set = [
        "meta",
        &file,
        "--mode",
        "640",
        "--mtime",
        "2001-09-09T01:46:40.5Z",
        "--xattr",
        "user.a=b",
        "--json",
    ];
    let entry: Value = serde_json::from_str(&printed(&server, &set)?)?;
    assert_eq!((&entry["mode"], &entry["links"]), (&Value::from(0o640), &Value::from(2)));
    assert_eq!(entry["modified"], "2001-09-09T01:46:40.500000000Z");
    assert_eq!(entry["xattrs"][0]["value_b64"], "Yg==");
    ensure!(printed(&server, &["meta", &file])?.contains("xattr     user.a=b"));
    let removed = printed(&server, &["meta", &file, "--remove-xattr", "user.a", "--json"])?;
    assert_eq!(serde_json::from_str::<Value>(&removed)?["xattrs"], serde_json::json!([]));
    let refused = run(&server, &["meta", &file, "--mode", "777", "--xattr", "security.x=y"])?;
    ensure!(!refused.status.success());
    ensure!(printed(&server, &["meta", &file])?.contains("mode      0640"), "nothing was set");
    Ok(())
}

#[test]
fn cp_moves_trees_both_ways() -> Result<()> {
    let server = LiveServer::start()?;
    let id = create(&server, &[])?;
    let folder = tempfile::TempDir::with_prefix("devbox-cp-")?;
    let source = folder.path().join("source");
    plant(&source)?;
    let planted = look(&source)?;

    let text = |path: &Path| path.to_string_lossy().into_owned();
    printed(&server, &["cp", &text(&source), &format!("{id}:/workspace/")])?;
    printed(&server, &["cp", &format!("{id}:/workspace/source"), &text(&folder.path().join("back"))])?;
    let came_back = look(&folder.path().join("back"))?;
    assert_eq!(came_back, planted);

    // One file onto a name, and into a folder.
    printed(&server, &["cp", &text(&source.join("plain")), &format!("{id}:/workspace/renamed")])?;
    printed(&server, &["cp", &format!("{id}:/workspace/renamed"), &text(&folder.path().join("back/"))])?;
    assert_eq!(std::fs::read(folder.path().join("back/renamed"))?, b"plain");
    Ok(())
}

#[test]
fn cp_tells_how_far_it_is_on_a_terminal() -> Result<()> {
    let server = LiveServer::start()?;
    let id = create(&server, &[])?;
    let folder = tempfile::TempDir::with_prefix("devbox-terminal-")?;
    // Deeper than one listing goes, and many enough to come together.
    let mut deep = folder.path().join("source");
    deep.extend(std::iter::repeat_n("d", 70));
    std::fs::create_dir_all(&deep)?;
    for number in 0..600 {
        std::fs::write(deep.join(number.to_string()), [b'x'; 100])?;
    }
    let inside = format!("{id}:/workspace/source");
    let devbox = server.devbox(&[]);
    let devbox = devbox.get_program().to_string_lossy().into_owned();
    for (from, to) in [("source", inside.as_str()), (&inside, "back")] {
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &format!("{devbox} cp {from} {to}"), "/dev/null"]).current_dir(folder.path());
        script.envs(server.devbox(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = script.stdin(Stdio::null()).output()?;
        let shown = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{shown}");
        ensure!(shown.contains("of 58.59 KiB"), "the total is not told: {shown}");
    }
    assert_eq!(look(&folder.path().join("back"))?, look(&folder.path().join("source"))?);
    Ok(())
}

fn plant(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder.join("deep/er"))?;
    std::fs::create_dir(folder.join("empty"))?;
    let write = |name: &[u8], content: &[u8], mode: u32| -> Result<()> {
        let path = folder.join(std::ffi::OsStr::from_bytes(name));
        std::fs::write(&path, content)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        Ok(())
    };
    write(b"plain", b"plain", 0o644)?;
    write(b"script.sh", b"#!/bin/sh\n", 0o755)?;
    write(b"[id].tsx", b"brackets", 0o644)?;
    write(b"not\xffutf8", b"bytes", 0o600)?;
    write(b"with space and \xe2\x9c\x93", b"words", 0o644)?;
    write(b"deep/er/large", &vec![9; 2_000_000], 0o640)?;
    write(b"nothing", b"", 0o644)?;
    std::os::unix::fs::symlink("plain", folder.join("link"))?;
    std::os::unix::fs::symlink("../nowhere", folder.join("deep/dangling"))?;
    Ok(())
}

/// What counts of an entry: its mode and content, or where it points.
type Look = BTreeMap<PathBuf, (u32, Vec<u8>)>;

fn look(root: &Path) -> Result<Look> {
    let mut found = Look::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let metadata = path.symlink_metadata()?;
            let content = if metadata.is_symlink() {
                std::fs::read_link(&path)?.into_os_string().as_bytes().to_vec()
            } else if metadata.is_dir() {
                open.push(path.clone());
                b"directory".to_vec()
            } else {
                std::fs::read(&path)?
            };
            let mode = if metadata.is_symlink() { 0 } else { metadata.mode() & 0o777 };
            found.insert(path.strip_prefix(root)?.to_path_buf(), (mode, content));
        }
    }
    Ok(found)
}

#[test]
fn errors_say_what_to_do() -> Result<()> {
    let server = LiveServer::start()?;
    let complaint = |mut command: std::process::Command| -> Result<(Option<i32>, String)> {
        let output = command.stdin(Stdio::null()).output()?;
        ensure!(output.stdout.is_empty(), "an error went to standard output");
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    };
    let (code, text) = complaint(server.devbox(&["inspect", "no-such-box"]))?;
    ensure!(text.starts_with("error: ") && text.contains("\nhint: "), "{text}");
    assert_eq!(code, Some(66));

    let mut keyless = server.devbox(&["ls"]);
    keyless.env_remove("DEVBOX_API_KEY");
    let (code, text) = complaint(keyless)?;
    ensure!(
        text.starts_with("error: ") && text.contains("hint: ") && text.contains("DEVBOX_API_KEY"),
        "{text}"
    );
    assert_eq!(code, Some(77));

    let mut wrong = server.devbox(&["ls"]);
    wrong.env("DEVBOX_API_KEY", "dbx_wrong");
    assert_eq!(complaint(wrong)?.0, Some(77));

    let mut nobody_there = server.devbox(&["ls"]);
    nobody_there.env("DEVBOX_URL", "http://127.0.0.1:1");
    let (code, text) = complaint(nobody_there)?;
    ensure!(text.contains("error: ") && text.contains("hint: "), "{text}");
    assert_eq!(code, Some(75));

    let id = create(&server, &[])?;
    let (code, text) = complaint(server.devbox(&["cat", &format!("{id}:missing")]))?;
    ensure!(text.starts_with("error: "), "{text}");
    assert_eq!(code, Some(66));
    Ok(())
}

#[test]
fn keys_are_made_listed_and_removed() -> Result<()> {
    let bed = Bed::start()?;
    let made: Value =
        serde_json::from_str(&printed(&bed.server, &["key", "create", "--project", "other", "--json"])?)?;
    let secret = made["secret"].as_str().context("no secret")?;
    let id = made["id"].as_str().context("no id")?;
    let with_key = |arguments: &[&str]| bed.server.devbox(arguments).env("DEVBOX_API_KEY", secret).output();
    ensure!(with_key(&["ls"])?.status.success());
    let list = printed(&bed.server, &["key", "ls", "--json"])?;
    ensure!(list.contains(id) && !list.contains(secret), "{list}");
    printed(&bed.server, &["key", "rm", id])?;
    assert_eq!(with_key(&["ls"])?.status.code(), Some(77), "a removed key works on");
    Ok(())
}
