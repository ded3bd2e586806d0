//! End-to-end suites: the real binary, real boxes, as root.
//!
//! | module | what it shows |
//! |---|---|
//! | `main_job` | a box is made, files go in, programs run, results come out |
//! | `processes` | streams, exit codes, whole trees killed |
//! | `bad_input` | what is wrong gets its own code |
//! | `files` | full disks, clients that go away |
//! | `life` | stop, start, kill, restart |
//! | `isolation` | what a box cannot see or use up |
//! | `takeover` | root of a box against its agent |
//! | `leaks` | nothing is left after many boxes |
//! | `server` | keys, audit, metrics, TLS |
//! | `stalls` | stopped agents, a killed spawner, hundreds of slow clients |
//! | `command` | the command line |

mod archives;
mod bad_input;
mod command;
mod files;
mod isolation;
mod leaks;
mod life;
mod main_job;
mod processes;
mod server;
mod stalls;
mod takeover;
