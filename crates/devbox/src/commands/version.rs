//! `devbox version`.

use std::process::ExitCode;

use serde::Serialize;

use crate::agent;
use crate::cli::VersionArgs;
use crate::output;

#[derive(Serialize)]
struct Version {
    version: &'static str,
    /// Absent if this program was built without one.
    agent: Option<AgentVersion>,
}

#[derive(Serialize)]
struct AgentVersion {
    sha256: &'static str,
    size_bytes: usize,
}

/// Prints the versions.
pub(crate) fn version(args: &VersionArgs) -> anyhow::Result<ExitCode> {
    let agent = agent::program().ok();
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        agent: agent.map(|program| AgentVersion { sha256: agent::sha256(), size_bytes: program.len() }),
    };
    if args.json {
        output::json(&version)?;
    } else {
        output::line(&format!("devbox {}", version.version))?;
        output::line(&match version.agent {
            Some(agent) => format!("agent sha256:{} ({} bytes)", agent.sha256, agent.size_bytes),
            None => "no agent: this build cannot serve".to_owned(),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}
