//! The Rust client: boxes, and everything in them
