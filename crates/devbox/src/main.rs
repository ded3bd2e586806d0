//! The devbox command: parsing, printing, and the wiring of `devbox serve`.
//!
//! | module | subject |
//! |---|---|
//! | [`cli`] | what can be typed |
//! | [`settings`] | flag, environment, file, default |
//! | [`failure`] | how an error is told, and its exit code |
//! | [`commands`] | one file a command |
//! | [`copy`] | `devbox cp` |
//! | [`archive`] | `devbox pack`, `devbox unpack` |
//! | [`serve`] | `devbox serve` |
//! | [`agent`] | the embedded agent |

mod agent;
mod archive;
mod cli;
mod commands;
mod copy;
mod failure;
mod output;
mod reference;
mod serve;
mod settings;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{CliArgs, Command};

fn main() -> ExitCode {
    if serve::is_spawner() {
        return serve::run_spawner();
    }
    let arguments = match CliArgs::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return failure::tell_usage(&error),
    };
    let outcome = match arguments.command {
        // It decides itself when threads may begin.
        Command::Serve(args) => serve::run(&args),
        Command::Version(args) => commands::version(&args),
        Command::Openapi => output::line(devbox_server::openapi().trim_end()).map(|()| ExitCode::SUCCESS),
        command => commands::run(command),
    };
    outcome.unwrap_or_else(|error| failure::tell(&error))
}
