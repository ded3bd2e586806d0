//! Benchmarks: floors, peers and us in one run
