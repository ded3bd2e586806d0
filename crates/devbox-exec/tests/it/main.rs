//! The public face of the process engine, with real processes.

mod kill;
mod orphans;
mod start;
mod streams;
mod support;
