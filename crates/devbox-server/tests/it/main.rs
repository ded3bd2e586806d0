//! The server as its clients see it, over real sockets and a backend in memory.

mod audit;
mod boxes;
mod files;
mod house;
mod keys;
mod problems;
mod restart;
mod shutdown;
mod tls;
mod wire;
