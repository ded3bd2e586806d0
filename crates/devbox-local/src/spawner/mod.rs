//! The privileged process: one thread, typed messages, no byte of a user parsed.
//!
//! | module | subject |
//! |---|---|
//! | [`launch`] | the server's side of its start |
//! | [`protocol`] | the words between the two |
//! | `channel` | messages with descriptors over a socket |
//! | `stage` | the namespaces that the spawner itself lives in |
//! | `serve` | its main loop |
//! | `boxes` | what it does to boxes |

mod boxes;
pub(crate) mod channel;
pub mod launch;
pub(crate) mod protocol;
mod serve;
mod stage;

pub use launch::{LaunchError, Spawner};
pub use stage::run_spawner;

/// The first argument that makes the executable a spawner: see [`run_spawner`].
pub const SPAWNER_ARGUMENT: &str = "spawner";
