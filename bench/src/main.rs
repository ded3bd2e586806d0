//! Benchmarks: floors and us in one run, on one file system, everything verified.
//!
//! A *floor* is a plain program that makes the same system calls over the same sockets, without HTTP: nothing that does
//! the work can be faster. Each figure is printed with its multiple of the floor with as many hops.
//!
//! | module | subject |
//! |---|---|
//! | `floor` | the plain program, with one hop and with two |
//! | `echo` | a bare `hyper` server that stores nothing: what HTTP alone costs |
//! | `guest` | the agent alone, and the whole path: client, server, agent, disk |
//! | `subject`, `measure` | what is measured of each, and how |
//! | `ground` | the file system that it all happens on |
//! | `report` | the table and the JSON |

#![expect(clippy::print_stdout, reason = "the table is this program's product")]

mod content;
mod echo;
mod floor;
mod ground;
mod guest;
mod machine;
mod measure;
mod options;
mod report;
mod subject;

use anyhow::Result;
use clap::Parser as _;

use crate::options::{Command, Options};

fn main() -> Result<()> {
    let options = Options::parse();
    match options.command {
        Some(Command::FloorEngine { socket, folder }) => floor::engine::serve(&socket, &folder),
        Some(Command::FloorRelay { socket }) => floor::relay::serve(&socket),
        Some(Command::Echo { socket }) => echo::serve(&socket),
        None => measure::all(&options),
    }
}
