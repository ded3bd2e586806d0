//! The in-box agent: the engines behind the `Guest` contract, and what the binary does around them.
//!
//! | module | subject |
//! |---|---|
//! | [`guest`] | [`LocalGuest`]: files, archives and processes of the box this runs in |
//! | `work` | where blocking work runs: the one place that decides it |
//! | `files`, `content`, `upload` | the file calls; bytes out; bytes in |
//! | `uploads` | large files in pieces |
//! | `archives` | many files out as one stream |
//! | `processes` | programs, and the environment they find |
//! | `deadline` | the time that a grant leaves |
//! | [`start`] | the life of the binary |
//! | [`serve`] | HTTP/1.1 on a unix socket, HTTP/2 on a pair of pipes |
//! | [`defence`] | what keeps box root from becoming its agent |
//! | [`init`] | the duties of PID 1 |
//! | [`workdir`] | the folder that relative paths start from |

mod archives;
mod content;
mod deadline;
pub mod defence;
mod files;
pub mod guest;
pub mod init;
mod pack;
mod processes;
mod selection;
pub mod serve;
pub mod start;
mod unpack;
mod upload;
mod uploads;
mod work;
pub mod workdir;

pub use guest::{LocalGuest, LocalGuestOptions};
