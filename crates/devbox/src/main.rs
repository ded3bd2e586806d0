//! The devbox command.
fn main() {}
