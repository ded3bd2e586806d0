//! The server as its clients see it, over real sockets and a backend in memory.

mod archives;
mod audit;
mod boxes;
mod files;
mod freezing;
mod house;
mod keys;
mod limits;
mod old_agents;
mod problems;
mod restart;
mod shutdown;
mod slow;
mod stalled;
mod tls;
mod wire;
