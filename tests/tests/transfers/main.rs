//! Promise 5 under attack: whatever breaks, a large transfer goes on from what is stored, and never mixes two versions of a file.

mod client;
mod line;
mod race;

use anyhow::Result;
use devbox_client::{Client, ClientConfig, LargeOptions, RetryPolicy, Sandbox};
use devbox_testkit::Proxy;
use devbox_tests::Bed;
use std::time::Duration;

/// Bytes that differ everywhere and are the same in each run.
fn content(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..size).map(next).collect()
}

/// The same box, seen through a line that can be cut.
async fn through(proxy: &Proxy, bed: &Bed, sandbox: &Sandbox) -> Result<Sandbox> {
    let url = format!("http://{}", proxy.address());
    let client = Client::connect(ClientConfig::new(url, Some(bed.server.key().to_owned())))?;
    Ok(client.sandbox(sandbox.id().as_str()).await?)
}

/// Small pieces, impatient, and nothing remembered.
fn options() -> LargeOptions {
    let retry = RetryPolicy { attempts: 8, first_pause: Duration::from_millis(5), ..RetryPolicy::default() };
    LargeOptions { piece_bytes: 256 << 10, retry, resumable: false }
}
