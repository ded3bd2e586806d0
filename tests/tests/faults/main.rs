//! Faults: the agent and the server die, disks fail and fill, clients go away, at every step and every byte. As root.
//!
//! | module | what fails |
//! |---|---|
//! | `killed` | the agent dies before each of its steps, and in the middle of repairing |
//! | `refused` | the kernel refuses a step: EIO, ENOSPC, EDQUOT, EROFS, short writes; once, and from there on |
//! | `disks` | disks are full, quotas used up, inodes gone |
//! | `clients` | clients go away after every byte |
//! | `server` | the server dies in the middle of transfers, and its boxes with it |
//! | `uploads` | the same to an upload in pieces, which keeps what it told |
//!
//! | to help | |
//! |---|---|
//! | `operations` | what is done while something fails |
//! | `tree` | what is on disk, to compare |
//! | `wire` | calls to an agent that may not answer |
//! | `chance` | which of many cases a quick run takes |
//!
//! A quick run takes some of the cases, and prints the seed that chose them. `DEVBOX_FAULT_ROUNDS=all` takes every one.

mod chance;
mod clients;
mod disks;
mod killed;
mod operations;
mod refused;
mod server;
mod tree;
mod uploads;
mod wire;
