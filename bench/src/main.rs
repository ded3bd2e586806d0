//! Benchmarks: floors, us and peers in one run, on one file system, everything verified.
//!
//! A *floor* is a plain program that makes the same system calls over the same sockets, without HTTP: nothing that does
//! the work can be faster. Each figure is printed with its multiple of the floor with as many hops.
//!
//! | module | subject |
//! |---|---|
//! | `subject`, `row` | what is measured, and of what |
//! | `floor` | the plain program, with one hop and with two |
//! | `echo` | a bare `hyper` server that stores nothing: what HTTP alone costs |
//! | `guest`, `path` | the agent alone, and the whole path: client, server, agent, disk |
//! | `peer` | other people's servers |
//! | `content`, `tree` | what is moved |
//! | `ground`, `machine` | the file system that it all happens on, and the machine |
//! | `plan`, `measure`, `run` | how much is done, and in which order |
//! | `memory` | what client, server and agent hold meanwhile |
//! | `result`, `compare`, `chart` | the tables and the JSON; two of them side by side; pictures |

#![expect(clippy::print_stdout, reason = "the tables are this program's product")]

mod chart;
mod compare;
mod content;
mod echo;
mod floor;
mod ground;
mod guest;
mod http;
mod machine;
mod measure;
mod memory;
mod options;
mod path;
mod peer;
mod plan;
mod process;
mod result;
mod row;
mod run;
mod subject;
mod tree;

use anyhow::Result;
use clap::Parser as _;

use crate::content::Content;
use crate::options::{Command, Options};

fn main() -> Result<()> {
    let options = Options::parse();
    match options.command {
        Some(Command::Compare { before, after }) => compare::print(&before, &after),
        Some(Command::Chart { result, output }) => chart::draw(&result, &output),
        Some(Command::FloorEngine { socket, folder }) => floor::engine::serve(&socket, &folder),
        Some(Command::FloorRelay { socket }) => floor::relay::serve(&socket),
        Some(Command::Echo { socket }) => echo::serve(&socket),
        Some(Command::Client { url, id, length }) => memory::client(&url, &id, Content { length }),
        None => run::all(&options),
    }
}
