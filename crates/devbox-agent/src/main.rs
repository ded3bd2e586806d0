//! The in-box agent. Started by a devbox server or client, never by hand; see [`devbox_agent::start`].

use std::error::Error;
use std::process::ExitCode;

/// EX_CONFIG of sysexits.h.
const BAD_START: u8 = 78;

fn main() -> ExitCode {
    match devbox_agent::start::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("caused by: {error}");
                cause = error.source();
            }
            ExitCode::from(BAD_START)
        }
    }
}
