//! The local backend: namespaces, overlay root file systems, cgroups and storage pools on one Linux machine.
//!
//! Two processes of one executable share the work. The **spawner** is privileged, has one thread and does what needs
//! privilege: mounts, cgroups, pools, the first process of a box. The **backend** lives in the unprivileged server and
//! asks the spawner, in typed messages over one socket. No byte that a user or a box wrote is parsed by the spawner.
//!
//! | module | subject |
//! |---|---|
//! | [`config`] | what the backend is told at its start |
//! | `backend` | the `Backend` contract, in the server |
//! | `transport` | byte streams to an agent |
//! | [`spawner`] | the privileged process: launch, messages, main loop |
//! | `start` | how a box's first process comes to be, step by step |
//! | `rootfs` | what a box sees as its files: template, mask, overlays |
//! | `pool` | where the files of boxes are kept |
//! | `cgroup` | limits |
//! | `seccomp`, `capabilities` | what programs in a box may ask the kernel for |
//! | `record`, `uid_range` | what is remembered of a box, and who it is to the host |
//! | `sys` | system calls that have no safe wrapper elsewhere |

pub mod config;
pub mod error;
pub mod spawner;

mod backend;
mod capabilities;
mod cgroup;
mod pool;
mod record;
mod rootfs;
mod seccomp;
mod start;
mod sys;
mod transport;
mod uid_range;

pub use backend::LocalBackend;
pub use config::{LocalConfig, PoolChoice};
pub use spawner::{LaunchError, SPAWNER_ARGUMENT, Spawner, run_spawner};
