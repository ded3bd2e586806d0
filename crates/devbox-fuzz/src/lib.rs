//! What the fuzz targets assert, as plain functions of bytes: a panic is a finding.
//!
//! Each target asserts properties: what was written is read back, parts add up, other readers see the same, memory stays
//! bounded. libFuzzer runs them from `fuzz/fuzz_targets` (`cargo xtask fuzz`); the tests of this crate run them on their seeds
//! and on so many random mutations of these.
//!
//! | module | what is read |
//! |---|---|
//! | [`archives`] | tars and zips, raw and as others wrote them; compressed tars |
//! | [`multipart`] | the parts of a batch |
//! | [`headers`] | ranges, digests, conditions, times, tus |
//! | [`paths`] | paths of boxes |
//! | [`records`] | journals and records of uploads, as the next start finds them |
//! | [`frames`] | streams of processes |
//! | [`query`] | queries |

#![expect(clippy::expect_used, reason = "a panic is how a target says that it has found something")]

pub mod archives;
pub mod frames;
pub mod headers;
pub mod multipart;
pub mod paths;
pub mod query;
pub mod records;

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, as a binary and on the command line.
    pub name: &'static str,
    /// Fails by a panic.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "tar", run: archives::tar, seeds: archives::tar_seeds },
    Target { name: "zip", run: archives::zip, seeds: archives::zip_seeds },
    Target { name: "packed", run: archives::packed, seeds: archives::packed_seeds },
    Target { name: "archive_round_trip", run: archives::round_trip, seeds: plain_seeds },
    Target { name: "multipart", run: multipart::cut_anywhere, seeds: multipart::seeds },
    Target { name: "multipart_round_trip", run: multipart::round_trip, seeds: plain_seeds },
    Target { name: "headers", run: headers::headers, seeds: headers::seeds },
    Target { name: "paths", run: paths::paths, seeds: paths::seeds },
    Target { name: "journal", run: records::journal, seeds: records::journal_seeds },
    Target { name: "upload_record", run: records::upload_record, seeds: records::upload_record_seeds },
    Target { name: "frames", run: frames::frames, seeds: frames::seeds },
    Target { name: "query", run: query::query, seeds: query::seeds },
];

/// Bytes for targets that build what they read from them.
fn plain_seeds() -> Vec<Vec<u8>> {
    let counting: Vec<u8> = (0..=255).collect();
    vec![Vec::new(), counting.clone(), counting.repeat(8), b"a/b\0\x01..//\xff".repeat(20)]
}

/// The largest content that a target gathers.
const MAX_GATHERED: usize = 8 << 20;
