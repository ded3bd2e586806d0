//! The in-box agent: the engines behind the Guest contract, and the binary that serves them
