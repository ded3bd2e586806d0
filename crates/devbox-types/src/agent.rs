//! What an agent says of itself when a server first speaks to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::user::ActingUser;

/// The version of the guest protocol that this code speaks. New optional fields do not change it; a new call or a new
/// meaning is a feature; only what an older agent would misunderstand raises it.
pub const PROTOCOL: u32 = 1;

/// The answer of `GET /v1/agent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentGreeting {
    /// The protocol versions that it speaks.
    pub protocol: ProtocolRange,
    /// Names of optional calls that it has, sorted.
    pub features: Vec<String>,
    /// Its version, for people.
    pub build: String,
    /// The promises of the manual that it keeps where it runs.
    pub promises: Vec<Promise>,
}

impl AgentGreeting {
    /// Whether the agent has this feature.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        self.features.iter().any(|name| name == feature.as_str())
    }
}

/// What an agent may be too old for, with the name under which a greeting tells that it has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feature {
    /// Uploads that are joined from parts.
    Concatenation,
    /// Digests other than SHA-256.
    Digests,
    /// Calls that are done once, however often they are sent.
    IdempotencyKeys,
    /// Extended attributes, hard links, and several pieces of metadata set at once.
    Metadata,
    /// Changes to parts of files, writes in place or within a list of changes, and contents that are read back.
    Patch,
    /// Files in pieces.
    Uploads,
}

impl Feature {
    /// Every feature, sorted by name: what an agent of this version says.
    pub const ALL: [Self; 6] = [
        Self::Concatenation,
        Self::Digests,
        Self::IdempotencyKeys,
        Self::Metadata,
        Self::Patch,
        Self::Uploads,
    ];

    /// Its name in a greeting.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Concatenation => "concatenation",
            Self::Digests => "digests",
            Self::IdempotencyKeys => "idempotency_keys",
            Self::Metadata => "metadata",
            Self::Patch => "patch",
            Self::Uploads => "uploads",
        }
    }
}

/// How an agent is started: one JSON value in the environment variable [`AgentConfig::VARIABLE`], which the agent
/// removes from its environment before it does anything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// Where it serves.
    pub listen: AgentListen,
    /// The user that calls act as unless they say otherwise, by name or number.
    pub default_user: ActingUser,
    /// The folder that relative paths start from; it is made, and given to the default user, if it is missing.
    pub workdir: String,
    /// Environment variables of every process, beside `PATH`, `HOME`, `USER`, `LANG`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Descriptors of `cgroup.procs` files, open for writing, into which every program is put before it is executed
    /// (cgroup v1 has one per controller).
    #[serde(default)]
    pub payload_cgroups: Vec<i32>,
    /// Whether the agent is PID 1: it then reaps orphans, and defends itself as the security manual says.
    #[serde(default)]
    pub init: bool,
}

impl AgentConfig {
    /// The environment variable that carries it.
    pub const VARIABLE: &'static str = "DEVBOX_AGENT_CONFIG";
}

/// Where an agent serves the guest contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentListen {
    /// HTTP/1.1 on a listening unix socket that is open already, as this descriptor.
    Descriptor(i32),
    /// HTTP/1.1 on a unix socket that the agent makes at this path.
    Unix(String),
    /// HTTP/2 by prior knowledge on standard input and output, until they end.
    Stdio,
}

/// A range of protocol versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRange {
    /// The oldest.
    pub min: u32,
    /// The newest.
    pub max: u32,
}

impl ProtocolRange {
    /// The newest version that both sides speak.
    #[must_use]
    pub fn agree(self, other: Self) -> Option<u32> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

/// A promise of the manual that a guest keeps, or does not. `inspect` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    /// A reader sees the old file or the new, and a failed write leaves the old one.
    AtomicReplace,
    /// A batch takes full effect or none.
    AllOrNothingBatch,
    /// What was acknowledged is complete, and has the announced digest.
    VerifiedWrite,
    /// Of two writers with the same `If-Match`, one wins.
    CompareAndSwap,
    /// No path, link or race leads outside.
    Confinement,
    /// Memory does not grow with what is transferred.
    BoundedMemory,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_on_the_newest_common_version() {
        let range = |min, max| ProtocolRange { min, max };
        assert_eq!(range(1, 3).agree(range(2, 5)), Some(3));
        assert_eq!(range(1, 1).agree(range(2, 2)), None);
    }
}
