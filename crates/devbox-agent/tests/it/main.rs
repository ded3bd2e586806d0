//! The agent against the contract: as a value, over HTTP/1.1, and as the real binary over HTTP/2 on its standard streams.

mod attacks;
mod binary;
mod conformance;
mod pack;
mod pid_one;
mod support;
mod tools;
mod unpack;
mod uploads;
