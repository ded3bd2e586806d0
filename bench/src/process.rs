//! Processes of the benchmark's own.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// A process of ours that ends with its owner.
#[derive(Debug)]
pub(crate) struct OwnProcess(pub(crate) Child);

impl Drop for OwnProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until somebody listens on a unix socket.
pub(crate) fn wait_for_socket(socket: &Path) -> Result<()> {
    let start = Instant::now();
    while UnixStream::connect(socket).is_err() {
        ensure!(start.elapsed() < Duration::from_secs(20), "nobody listens on {}", socket.display());
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
