//! What tests need of a machine: a live server, disks that are full, streams that break on cue, and a look at what is
//! left behind.
//!
//! | module | subject |
//! |---|---|
//! | [`agent`] | the real agent on a plain directory |
//! | [`steps`] | what a process changes on disk, step by step: any step can be its last, or fail |
//! | [`server`] | the real `devbox serve`, on a free port, with a data directory of its own |
//! | [`footprint`] | what boxes leave on a host: processes, mounts, cgroups, folders |
//! | [`disk`] | small file systems, to fill them |
//! | [`proxy`] | a line between a client and a server that breaks at a byte |
//! | [`stream`] | byte streams that fail after so many bytes |
//!
//! Nothing here is shipped; `deny.toml` sees to it.

pub mod agent;
pub mod disk;
pub mod footprint;
pub mod proxy;
pub mod server;
pub mod steps;
pub mod stream;

pub use agent::{AgentOptions, BareAgent};
pub use disk::SmallDisk;
pub use footprint::Footprint;
pub use proxy::{Cut, Proxy};
pub use server::{LiveServer, ServerOptions};
pub use steps::{Fault, Steps};
pub use stream::FailAfter;
