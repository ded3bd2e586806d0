//! The privileged spawner as a program of its own; `devbox serve` has it inside, under a hidden first argument.

use std::process::ExitCode;

fn main() -> ExitCode {
    devbox_local::run_spawner()
}
