//! What can be chosen.

use std::net::SocketAddr;
use std::time::Duration;

use devbox_types::devbox::Resources;

use crate::error::ServerError;
use crate::rate::Rate;
use crate::tls::TlsIdentity;

/// All that a server is told when it starts.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Serve TLS with this certificate and key; `None`: plaintext.
    pub tls: Option<TlsIdentity>,
    /// Serve plaintext on an address that other machines reach.
    pub allow_plaintext: bool,
    /// How much.
    pub limits: Limits,
    /// How long.
    pub timeouts: Timeouts,
    /// Limits of boxes whose creator names none.
    pub default_resources: Resources,
}

/// How much is let through. What goes beyond is answered, not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of one file, or of all files of one batch: 413 beyond.
    pub max_transfer_bytes: u64,
    /// The most transfers that one key has open at once: 429 beyond.
    pub max_transfers_per_key: usize,
    /// The most requests into boxes that one key has open at once, runs of programs among them: 429 beyond. Each holds a place
    /// in the audit until it ends, so what one key may have is a fraction of those.
    pub max_requests_per_key: usize,
    /// How many requests a second one key may send: 429 beyond. `None`: no limit.
    pub requests_per_key: Option<Rate>,
    /// How many bytes of bodies a second one key may send, and as many receive: beyond, they are slowed down, and new
    /// transfers answered 429 while the debt is large. `None`: no limit.
    pub bytes_per_key: Option<Rate>,
    /// The most connections open at once; the next ones wait in the kernel's queue.
    pub max_connections: usize,
    /// How long records of the audit are kept.
    pub audit_keep: Duration,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// The head of a request, from the first byte that could be of it; also how long an idle connection is kept.
    pub head: Duration,
    /// A TLS handshake.
    pub handshake: Duration,
    /// How long the client is waited for, for each KiB of a request body (not of a process's input, which may pause for ever).
    pub body_pause: Duration,
    /// How long the client may take to read on, for each KiB of an answer that waits for it.
    pub answer_pause: Duration,
    /// The first answer of an agent to a call that sends it no content; also how long nothing moves in any other call until
    /// the agent is asked for a sign of life, and how long it may take to give one.
    pub agent_answer: Duration,
    /// How long an agent may work on a call in which nothing moves, as long as it answers when it is asked.
    pub agent_work: Duration,
    /// How long requests may go on after the server is told to stop.
    pub grace: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            tls: None,
            allow_plaintext: false,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            default_resources: Resources {
                cpu_millis: Some(2_000),
                memory_bytes: Some(2 << 30),
                pids: Some(1_024),
            },
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Larger files come in resumable pieces; this one only stops what was never meant.
            max_transfer_bytes: 64 << 30,
            max_transfers_per_key: 256,
            max_requests_per_key: 1_024,
            requests_per_key: None,
            bytes_per_key: None,
            max_connections: 4_096,
            audit_keep: Duration::from_secs(90 * 24 * 60 * 60),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(60),
            handshake: Duration::from_secs(10),
            body_pause: Duration::from_secs(60),
            answer_pause: Duration::from_secs(60),
            agent_answer: Duration::from_secs(60),
            agent_work: Duration::from_secs(60 * 60),
            grace: Duration::from_secs(30),
        }
    }
}

impl ServerConfig {
    /// Whether this configuration may be served at `address`: keys travel with every request, so what other machines
    /// reach is encrypted, or plaintext was asked for in so many words.
    ///
    /// # Errors
    /// `PlaintextRefused`.
    pub fn check_exposure(&self, address: SocketAddr) -> Result<(), ServerError> {
        let loopback = address.ip().to_canonical().is_loopback();
        if loopback || self.tls.is_some() || self.allow_plaintext {
            Ok(())
        } else {
            Err(ServerError::PlaintextRefused { address })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_is_for_loopback_unless_allowed() {
        let config = ServerConfig::default();
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(config.check_exposure(address.parse().expect("an address")).is_ok(), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
            let address = address.parse().expect("an address");
            assert!(config.check_exposure(address).is_err(), "{address}");
            let allowed = ServerConfig { allow_plaintext: true, ..config.clone() };
            assert!(allowed.check_exposure(address).is_ok(), "{address}");
        }
    }
}
