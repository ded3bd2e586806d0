//! Streams and disks that fail on cue, fixtures for tests
