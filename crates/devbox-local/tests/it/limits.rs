//! Limits hold, and do not take the agent with them.

use devbox_backend::Backend;
use devbox_local::PoolChoice;
use devbox_types::devbox::Resources;

use crate::machine::Machine;

#[tokio::test]
async fn memory_is_limited_for_programs_and_not_for_the_agent() {
    let machine = Machine::start(PoolChoice::Plain).await;
    assert!(machine.backend.capabilities().limits);
    let limits = Resources { memory_bytes: Some(64 << 20), ..Resources::default() };
    let id = machine.create_with(limits).await;
    let killed = machine.run(&id, "exec /usr/bin/python3 -c 'bytearray(200 << 20)'").await;
    assert_eq!(killed.status, 128 + 9, "{}", killed.output);
    assert_eq!(machine.output(&id, "echo alive").await, "alive");
    machine.end().await;
}

/// What is written there through the agent is the agent's memory; more than it has would kill the box.
#[tokio::test]
async fn shared_memory_is_smaller_than_what_the_agent_may_use() {
    let machine = Machine::start(PoolChoice::Plain).await;
    let id = machine.create().await;
    assert_eq!(
        machine.output(&id, "df --output=size -B1 /dev/shm | tail -n 1 | tr -d ' '").await,
        (64 << 20).to_string()
    );
    machine.end().await;
}

#[tokio::test]
async fn a_fork_bomb_stays_small() {
    let machine = Machine::start(PoolChoice::Plain).await;
    let id = machine.create_with(Resources { pids: Some(8), ..Resources::default() }).await;
    let outcome = machine.run(&id, "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1 & done; wait").await;
    assert!(outcome.output.contains("annot fork"), "{}", outcome.output);
    machine.end().await;
}

#[tokio::test]
async fn processor_time_is_limited() {
    let machine = Machine::start(PoolChoice::Plain).await;
    let id = machine.create_with(Resources { cpu_millis: Some(100), ..Resources::default() }).await;
    // Half a second of work at a tenth of a processor takes several.
    let busy = "import time\nwhile time.process_time() < 0.3: pass\nprint(time.monotonic())";
    let begun = std::time::Instant::now();
    machine.output(&id, &format!("/usr/bin/python3 -c '{busy}'")).await;
    assert!(begun.elapsed().as_secs_f64() > 1.5, "{:?}", begun.elapsed());
    machine.end().await;
}
