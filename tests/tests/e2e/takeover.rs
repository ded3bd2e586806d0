//! Root of a box against the agent, which is PID 1 of its namespace and holds the sockets to the server.
//!
//! Box root may stop or starve its agent, never read its memory, take its descriptors or speak in its name. Without a
//! defence it could: a process of the same uid in the same user namespace may be traced.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use devbox_client::{Command, Sandbox};
use devbox_tests::bed::Bed;
use devbox_tests::host;
use devbox_types::ActingUser;

const ATTACK: &str = include_str!("takeover.py");
const SUCCEEDED: &str = "SUCCEEDED";

type Results = BTreeMap<String, String>;

async fn attack(sandbox: &Sandbox, mode: &str) -> Result<Results> {
    let output = sandbox.run(Command::new(["python3", "/workspace/takeover.py", mode])).await?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).with_context(|| format!("{:?} {complaint}", output.status))
}

fn succeeded(results: &Results) -> Vec<&String> {
    results.iter().filter(|(_, result)| result.starts_with(SUCCEEDED)).map(|(name, _)| name).collect()
}

#[tokio::test]
async fn attack_box_root_takes_over_agent() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.python().await?;
    sandbox.write("takeover.py", ATTACK).await?;
    let root = sandbox.as_user(ActingUser::root());
    for (user, who) in [(&root, "root"), (&sandbox, "user")] {
        let results = attack(user, "agent").await?;
        ensure!(results.len() >= 19, "{who} made only {} attempts", results.len());
        ensure!(succeeded(&results).is_empty(), "{who}: {:?} of {results:#?}", succeeded(&results));
        // SIGKILL, SIGSTOP and the rest were sent at the end of it.
        sandbox.write("alive", who).await?;
        assert_eq!(sandbox.read("alive").await?, who);
    }
    Ok(())
}

#[tokio::test]
async fn the_attacks_are_real_and_debuggers_work_in_a_box() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.python().await?;
    sandbox.write("takeover.py", ATTACK).await?;
    let results = attack(&sandbox.as_user(ActingUser::root()), "control").await?;
    // Against a child of one's own these work wherever the agent's own defence, and nothing else, is in the way.
    for name in ["mem_read", "mem_write", "fd_links", "environ", "maps", "root", "ptrace_attach"] {
        ensure!(succeeded(&results).contains(&&name.to_owned()), "{name} was refused: {results:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn attack_box_root_takes_over_agent_during_start() -> Result<()> {
    const ROUNDS: usize = 20;
    let bed = Bed::start()?;
    let mut sandbox = bed.python().await?;
    sandbox.write("takeover.py", ATTACK).await?;
    for round in 0..ROUNDS {
        sandbox.stop().await?;
        let id = sandbox.id().clone();
        let start = tokio::spawn({
            let client = bed.client.clone();
            async move { client.start(&id).await }
        });
        // The first program that the agent can be made to start, while the box is still `starting`.
        let root = sandbox.as_user(ActingUser::root());
        let results = loop {
            let started = start.is_finished();
            match attack(&root, "agent").await {
                Ok(results) => break results,
                Err(error) if started => return Err(error),
                Err(_) => tokio::task::yield_now().await,
            }
        };
        ensure!(succeeded(&results).is_empty(), "round {round}: {:?}", succeeded(&results));
        start.await??;
        ensure!(host::agent_of(sandbox.id().as_str()).is_some(), "round {round}: the agent is gone");
        sandbox.refresh().await?;
    }
    Ok(())
}
