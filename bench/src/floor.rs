//! The floor: a plain program, one system call after the other, with a fixed-size head instead of HTTP.

pub(crate) mod client;
pub(crate) mod engine;
pub(crate) mod head;
pub(crate) mod relay;

/// How much is read or written at once: large enough that system calls do not count, small enough for the cache.
pub(crate) const BUFFER: usize = 256 * 1024;
