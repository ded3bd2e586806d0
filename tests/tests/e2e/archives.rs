//! Archives at the command line, through a real server and box.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use devbox_tests::bed::Bed;

/// What a command prints; it has to succeed.
fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_go_in_and_out_at_the_command_line() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let id = sandbox.id().to_string();
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("top/sub"))?;
    fs::write(at("top/sub/run"), "#!/bin/sh\n")?;
    fs::write(at("top/left.log"), "log")?;
    fs::File::create(at("top/holes"))?.set_len(64 << 20)?;
    output(Command::new("tar").args(["-czSf", "in.tgz", "top"]).current_dir(folder.path()))?;
    let devbox = |arguments: &[&str]| {
        let mut command = bed.server.devbox(arguments);
        command.current_dir(folder.path()).stdin(Stdio::null());
        command
    };
    output(&mut devbox(&["unpack", "--strip", "1", "--parents", "in.tgz", &format!("{id}:new/app")]))?;
    let mut piped = devbox(&["unpack", "-", &format!("{id}:")]);
    output(piped.stdin(fs::File::open(at("in.tgz"))?))?;
    assert_eq!(&sandbox.read("new/app/sub/run").await?[..], b"#!/bin/sh\n");
    assert_eq!(&sandbox.read("top/left.log").await?[..], b"log");

    let source = format!("{id}:/workspace/new/app");
    for name in ["out.zip", "out.tar", "out.tar.gz", "out.tzst"] {
        output(&mut devbox(&["pack", &source, "--exclude", "*.log", "-o", name]))?;
        ensure!(fs::metadata(at(name))?.len() < 1 << 20, "{name} holds the zeros");
    }
    fs::create_dir(at("out"))?;
    output(Command::new("tar").args(["-xf", "out.tar.gz", "-C", "out"]).current_dir(folder.path()))?;
    let out = at("out/workspace/new/app");
    assert_eq!(fs::read(out.join("sub/run"))?, b"#!/bin/sh\n");
    ensure!(!out.join("left.log").exists(), "it was to be left out");
    let holes = fs::metadata(out.join("holes"))?;
    assert_eq!(holes.len(), 64 << 20);
    ensure!(holes.blocks() * 512 < 1 << 20, "its holes are gone");
    let tar = output(&mut devbox(&["pack", &source]))?;
    ensure!(tar.len().is_multiple_of(512) && tar.windows(5).any(|window| window == b"ustar"));

    fs::write(at("in.xz"), b"\xfd7zXZ\0rest")?;
    for (arguments, code, says) in [
        (&["pack", "here", "-o", "x.tar"][..], 64, "names no box"),
        (&["pack", &source, "-o", "x.rar"], 64, "which format"),
        (&["pack", &source, "other-box:a", "-o", "x.zip"], 64, "one box"),
        (&["unpack", "missing.tar", &format!("{id}:")], 66, "cannot read"),
        (&["unpack", "in.tgz", &format!("{id}:nowhere")], 66, "no entry"),
        (&["unpack", "in.xz", &format!("{id}:")], 64, "is xz"),
        (&["unpack", "top", &format!("{id}:")], 1, "is a directory"),
        (&["unpack", "--format", "zip", "in.tgz", &format!("{id}:")], 64, "not well-formed"),
    ] {
        let refused = devbox(arguments).output()?;
        let complaint = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {complaint}");
        ensure!(complaint.contains(says), "{arguments:?}: {complaint}");
    }
    assert_eq!(fs::read_dir(folder.path())?.count(), 8, "nothing half written is left");
    Ok(())
}
