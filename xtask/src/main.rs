//! Generators, checks and the test runner
fn main() {}
