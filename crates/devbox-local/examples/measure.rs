//! Measures how long boxes take to be made and removed, back to back.
//!
//! `cargo run -p devbox-local --example measure -- AGENT DATA_DIR [plain|btrfs] [COUNT]`, as root, AGENT being a static
//! agent binary. With the real agent it first runs the conformance suite of the `Backend` contract.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use devbox_backend::Backend as _;
use devbox_local::{LocalBackend, LocalConfig, PoolChoice, Spawner};
use devbox_types::BoxId;
use devbox_types::devbox::{BoxSpec, Resources};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|first| first == devbox_local::SPAWNER_ARGUMENT) {
        return devbox_local::run_spawner();
    }
    let [_, agent, data, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: measure AGENT DATA_DIR [plain|btrfs] [COUNT]");
        return ExitCode::FAILURE;
    };
    let pool = match rest.first().map(String::as_str) {
        Some("plain") => PoolChoice::Plain,
        Some("btrfs") => PoolChoice::Btrfs,
        _ => PoolChoice::Auto,
    };
    let count = rest.get(1).and_then(|count| count.parse().ok()).unwrap_or(100);
    let config = LocalConfig::new(data, std::fs::read(agent).expect("an agent")).with_pool(pool);
    let begun = Instant::now();
    let spawner = Spawner::launch(&config).expect("a spawner");
    eprintln!("pool {}, spawner ready after {:?}", spawner.pool(), begun.elapsed());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(spawner, count));
    ExitCode::SUCCESS
}

async fn measure(spawner: Spawner, count: usize) {
    let backend = LocalBackend::connect(spawner).await.expect("a backend");
    if std::env::var_os("CONFORMANCE").is_some() {
        devbox_backend::conformance::all(&backend).await;
        eprintln!("conformance: passed");
    }
    let spec = BoxSpec { template: "host".to_owned(), env: BTreeMap::new(), resources: Resources::default() };
    let (mut made, mut removed) = (Vec::new(), Vec::new());
    let mut random = std::fs::File::open("/dev/urandom").expect("random");
    for _ in 0..count {
        let mut bits = [0; 10];
        random.read_exact(&mut bits).expect("random");
        let id = BoxId::from_random(bits);
        let begun = Instant::now();
        backend.create(&id, &spec).await.expect("a box");
        made.push(begun.elapsed());
        let begun = Instant::now();
        backend.delete(&id).await.expect("deleted");
        removed.push(begun.elapsed());
    }
    report("create until the agent answers", made);
    report("delete", removed);
    backend.shutdown().await.expect("shut down");
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    eprintln!("{what}: p50 {:?}, p99 {:?}, max {:?} of {}", at(50), at(99), at(100), times.len());
}
