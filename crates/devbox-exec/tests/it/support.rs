//! What the tests share: runs, and what came of them.

use std::time::Duration;

use bytes::Bytes;
use devbox_exec::{Command, Engine, EngineConfig, ExecError, Run};
use devbox_types::process::{ExitStatus, ProcessEvent, ProcessInput};
use futures_util::stream::{self, StreamExt as _};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn engine() -> Engine {
    Engine::new(EngineConfig::default())
}

pub(crate) fn command<const N: usize>(argv: [&str; N]) -> Command {
    Command { env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())], ..Command::new(argv) }
}

pub(crate) fn shell(script: &str) -> Command {
    command(["sh", "-c", script])
}

pub(crate) fn no_input() -> stream::Empty<ProcessInput<Bytes>> {
    stream::empty()
}

/// All that a run said, and how it ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) status: ExitStatus,
}

pub(crate) async fn finish(mut run: Run) -> Finished {
    let mut finished: Option<ExitStatus> = None;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let whole = async {
        assert!(matches!(run.next().await, Some(Ok(ProcessEvent::Started { .. }))));
        while let Some(event) = run.next().await {
            assert!(finished.is_none(), "nothing follows the exit");
            match event.expect("an event") {
                ProcessEvent::Started { .. } => panic!("started twice"),
                ProcessEvent::Stdout(bytes) => stdout.extend_from_slice(&bytes),
                ProcessEvent::Stderr(bytes) => stderr.extend_from_slice(&bytes),
                ProcessEvent::Exited(status) => finished = Some(status),
            }
        }
    };
    tokio::time::timeout(PATIENCE, whole).await.expect("the run ends");
    Finished { stdout, stderr, status: finished.expect("an exit") }
}

pub(crate) async fn run(command: Command) -> Result<Finished, ExecError> {
    Ok(finish(engine().run(command, no_input()).await?).await)
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a process runs that has this text in its arguments.
pub(crate) fn is_running(marker: &str) -> bool {
    is_any_process(|arguments| arguments.contains(marker))
}

/// Whether `sleep` itself runs with this marker, and not what is about to become it.
pub(crate) fn is_sleeping(marker: &str) -> bool {
    is_any_process(|arguments| arguments == format!("sleep\0{marker}\0"))
}

fn is_any_process(test: impl Fn(&str) -> bool) -> bool {
    let own = std::process::id();
    std::fs::read_dir("/proc").expect("/proc").flatten().any(|entry| {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { return false };
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        pid != own && test(&String::from_utf8_lossy(&arguments))
    })
}

/// A text that no other process has in its arguments: a number of seconds for `sleep`.
pub(crate) fn marker() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("5{}.{:04}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
