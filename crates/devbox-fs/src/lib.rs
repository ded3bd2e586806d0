//! The file engine: every system call on a box's files, below one root descriptor
