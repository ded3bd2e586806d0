//! The agent that the build script embedded.

use devbox_types::{Coded, ErrorCode};

static AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agent.bin"));

/// This program was built without an agent.
#[derive(Debug, thiserror::Error)]
#[error("this devbox was built without an agent, so it cannot make boxes")]
pub(crate) struct NoAgent;

impl Coded for NoAgent {
    fn code(&self) -> ErrorCode {
        ErrorCode::Unsupported
    }

    fn hint(&self) -> Option<String> {
        Some("build it with plain `cargo build`, without DEVBOX_AGENT_STUB".to_owned())
    }
}

/// The program that becomes PID 1 of each box: static, for this machine's architecture.
pub(crate) fn program() -> Result<&'static [u8], NoAgent> {
    if AGENT.is_empty() { Err(NoAgent) } else { Ok(AGENT) }
}

/// The SHA-256 of the program, in hexadecimal.
pub(crate) fn sha256() -> &'static str {
    env!("DEVBOX_AGENT_SHA256")
}
