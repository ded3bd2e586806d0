//! The local backend with real boxes. Needs root, and says so by failing without it.
//!
//! The agent in these boxes is a stand-in (`agent.c`) that runs shell commands as the box's root, so that a test can look
//! around inside. The real agent is tested through the whole program.

mod isolation;
mod life;
mod limits;
mod machine;
mod reserve;
mod restart;
mod template;
