//! `cargo xtask demo`: the main job, on the embedded backend, from nothing.
//!
//! A server on a free port of this machine, a box, this repository's own sources into it, a program over them with its
//! output streamed, the result out and compared, the box deleted. Every command is shown as one would type it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::command::{built, cargo, output, run as run_command, shown};
use crate::need::{self, Need};

/// Long enough for a machine that does much else; a server is up within a second.
const SERVER_START: Duration = Duration::from_secs(30);

/// Runs the demo.
pub(crate) fn run() -> Result<()> {
    need::meet(&[Need::Root, need::COMPILER, need::MKFS_BTRFS, need::PYTHON])?;
    eprintln!("→ building the devbox command (minutes the first time, a second later on)");
    run_command(cargo().args(["build", "--workspace", "--bins", "--locked"]))?;

    let server = Server::start()?;
    let mut made = say(
        "a box with Python: its own namespaces, its own root file system",
        server.devbox(&["create", "--language", "python", "--json"]),
    );
    let made: Value =
        serde_json::from_slice(&output(&mut made)?).context("`devbox create --json` printed no JSON")?;
    let id = made["id"].as_str().context("the box has no id")?.to_owned();
    eprintln!("  {id}");

    let result = work(&server, &id);
    run_command(&mut say("the box is deleted, and all it held", server.devbox(&["rm", &id])))?;
    result?;
    let left = output(&mut server.devbox(&["ls", "--json"]))?;
    let left = String::from_utf8_lossy(&left);
    ensure!(!left.contains(&id), "the box is still listed: {left}");
    server.stop()?;
    eprintln!("\nThat was the main job. Next: README.md, or start your own with `devbox serve`.");
    Ok(())
}

fn work(server: &Server, id: &str) -> Result<()> {
    let inside = |path: &str| format!("{id}:{path}");
    let mut sources = say(
        "this repository's sources go in, and a program to run on them",
        server.devbox(&["cp", "crates", &inside("/workspace/")]),
    );
    run_command(&mut sources)?;
    run_command(&mut server.devbox(&["cp", "xtask/demo/report.py", &inside("/workspace/report.py")]))?;

    let program =
        ["exec", id, "--", "python3", "/workspace/report.py", "/workspace/crates", "/workspace/report.json"];
    run_command(&mut say("the program runs, and its output streams back", server.devbox(&program)))?;

    let report = server.folder.join("report.json");
    let report_text = report.to_string_lossy().into_owned();
    let fetch = server.devbox(&["cp", &inside("/workspace/report.json"), &report_text]);
    run_command(&mut say("the result comes out", fetch))?;
    let counted: BTreeMap<String, u64> = serde_json::from_slice(&std::fs::read(&report)?)
        .context("the report is not what the program writes")?;
    ensure!(
        counted == count(Path::new("crates"))?,
        "the report does not agree with a count made outside of the box"
    );
    eprintln!("  the same numbers as counted on this side: {} lines", counted.values().sum::<u64>());
    Ok(())
}

/// Shows what comes, and the command.
fn say(what: &str, command: Command) -> Command {
    eprintln!("\n▸ {what}\n  $ {}", shown(&command));
    command
}

/// Lines of Rust by crate.
fn count(tree: &Path) -> Result<BTreeMap<String, u64>> {
    let mut lines = BTreeMap::new();
    for room in std::fs::read_dir(tree)? {
        let room = room?;
        let counted = count_below(&room.path())?;
        if counted > 0 {
            lines.insert(room.file_name().to_string_lossy().into_owned(), counted);
        }
    }
    Ok(lines)
}

fn count_below(folder: &Path) -> Result<u64> {
    let mut lines = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            lines += count_below(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let breaks = std::fs::read(&path)?.iter().filter(|byte| **byte == b'\n').count();
            lines += u64::try_from(breaks)?;
        }
    }
    Ok(lines)
}

/// A server of the demo's own, which ends with it.
struct Server {
    child: Child,
    address: SocketAddr,
    key: String,
    folder: PathBuf,
}

impl Server {
    fn start() -> Result<Self> {
        // The port is free now; that somebody takes it in between is possible, and then said by the server.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let folder = std::env::temp_dir().join(format!("devbox-demo-{}", std::process::id()));
        let data = folder.join("data");
        std::fs::create_dir_all(&data)?;
        let mut serve = Command::new(built("devbox"));
        serve.args(["serve", "--listen", &address.to_string(), "--data-dir"]).arg(&data);
        serve.stdin(Stdio::null()).stdout(Stdio::null());
        let log = std::fs::File::create(folder.join("server.log"))?;
        let mut serve = say("a server on this machine, with a folder of its own", serve);
        let child = serve.stderr(log).spawn().context("cannot start the server")?;
        let mut server = Self { child, address, key: String::new(), folder };
        server.wait_until_ready()?;
        server.key = std::fs::read_to_string(data.join("first.key"))
            .context("the server left no first key")?
            .trim()
            .to_owned();
        eprintln!("  ready: http://{address}");
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while !answers(self.address) {
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
                bail!("the server ended at once: {status}\n{log}");
            }
            ensure!(start.elapsed() < SERVER_START, "the server does not answer at {}", self.address);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn devbox(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(built("devbox"));
        command.args(arguments);
        command.env("DEVBOX_URL", format!("http://{}", self.address)).env("DEVBOX_API_KEY", &self.key);
        command
    }

    fn stop(mut self) -> Result<()> {
        run_command(Command::new("kill").arg(self.child.id().to_string()))?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the server did not end well: {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After a failure only: ended here at once. The folder is the system's to clean if it cannot be removed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn answers(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: devbox\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
