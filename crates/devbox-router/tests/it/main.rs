//! The router's public face: over a fake guest, and through the client.

mod answers;
mod batches;
mod codings;
mod digests;
mod fake;
mod liars;
mod loopback;
mod processes;
mod serving;
