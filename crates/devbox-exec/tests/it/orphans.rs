//! Zombies and leaks, in a process of its own: a reaper of everything would take the children of other tests.

use std::process::Command;

use devbox_types::process::ProcessEvent;
use futures_util::stream::StreamExt as _;

use crate::support::{engine, eventually, finish, no_input, shell};

const INSIDE: &str = "DEVBOX_TEST_SUBREAPER";

/// Runs the test of this name again, alone in a new process.
fn alone(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let this = std::env::current_exe().expect("this program");
    let output = Command::new(this).args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output();
    let output = output.expect("a run");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn zombies() -> usize {
    let own = std::process::id();
    let children = std::fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        (fields[0] == "Z" && fields[1].parse() == Ok(own)).then_some(())
    });
    children.count()
}

#[test]
fn orphans_are_reaped_and_no_status_is_lost() {
    if !alone("orphans::orphans_are_reaped_and_no_status_is_lost") {
        return;
    }
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1)).expect("a subreaper");
    runtime().block_on(async {
        let engine = engine();
        tokio::spawn(engine.reap_orphans().expect("a reaper"));
        let runs = (0..300_i32).map(|number| {
            let engine = engine.clone();
            async move {
                // The inner children lose their parent, and become ours, before they end.
                let script = format!("(sleep 0.01 &) ; (true &) ; exit {}", number % 128);
                let run = engine.run(shell(&script), no_input()).await.expect("a run");
                assert_eq!(finish(run).await.status.code, Some(number % 128));
            }
        });
        futures_util::stream::iter(runs).buffer_unordered(16).collect::<Vec<()>>().await;
        eventually("no zombie", || zombies() == 0).await;
        assert!(engine.list().is_empty());
    });
}

#[test]
fn without_the_duty_other_peoples_children_are_left_alone() {
    if !alone("orphans::without_the_duty_other_peoples_children_are_left_alone") {
        return;
    }
    runtime().block_on(async {
        let mut other = Command::new("true").spawn().expect("a child");
        for _ in 0..20 {
            finish(engine().run(shell("exit 0"), no_input()).await.expect("a run")).await;
        }
        assert!(other.wait().expect("its status is still there").success());
        assert_eq!(zombies(), 0);
    });
}

#[test]
fn three_thousand_short_runs_leak_nothing() {
    if !alone("orphans::three_thousand_short_runs_leak_nothing") {
        return;
    }
    let descriptors = || std::fs::read_dir("/proc/self/fd").expect("/proc").count();
    runtime().block_on(async {
        let engine = engine();
        let one = |number: u32| {
            let engine = engine.clone();
            async move {
                let mut run = engine.run(crate::support::command(["true"]), no_input()).await.expect("a run");
                if number.is_multiple_of(4) {
                    // Dropped at once.
                    return;
                }
                while let Some(event) = run.next().await {
                    if let ProcessEvent::Exited(status) = event.expect("an event") {
                        assert!(status.is_success());
                    }
                }
            }
        };
        one(1).await;
        let before = descriptors();
        futures_util::stream::iter((0..3000).map(one)).buffer_unordered(8).collect::<Vec<()>>().await;
        eventually("an empty list", || engine.list().is_empty()).await;
        eventually("no zombie", || zombies() == 0).await;
        eventually("closed descriptors", || descriptors() <= before).await;
    });
}
