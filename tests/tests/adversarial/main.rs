//! The adversarial suite: what breaks in, gets in the way, or dies in the middle. As root, on plain directories and real boxes.
//!
//! | module | who attacks |
//! |---|---|
//! | `exchange` | processes that exchange directories and files with links, against every operation |
//! | `swap` | writers that race for one file: compare-and-swap |
//! | `special` | FIFOs, devices, `/proc`, magic links in the place of files |
//! | `names` | names made to be misread |
//!
//! The first runs `DEVBOX_ATTACK_ROUNDS` rounds against each operation, 2,000 unless told otherwise.

mod arena;
mod canary;
mod exchange;
mod names;
mod special;
mod swap;

/// How many rounds a race is run for: the environment's number, or that of a quick run.
fn rounds(quick: usize) -> usize {
    std::env::var("DEVBOX_ATTACK_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(quick)
}
