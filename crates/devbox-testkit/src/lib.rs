//! What tests need of a machine: a live server, disks that are full, streams that break on cue, and a look at what is
//! left behind.
//!
//! | module | subject |
//! |---|---|
//! | [`server`] | the real `devbox serve`, on a free port, with a data directory of its own |
//! | [`footprint`] | what boxes leave on a host: processes, mounts, cgroups, folders |
//! | [`disk`] | small file systems, to fill them |
//! | [`stream`] | byte streams that fail after so many bytes |
//!
//! Nothing here is shipped; `deny.toml` sees to it.

pub mod disk;
pub mod footprint;
pub mod server;
pub mod stream;

pub use disk::SmallDisk;
pub use footprint::Footprint;
pub use server::{LiveServer, ServerOptions};
pub use stream::FailAfter;
