//! The command line as a person meets it: no server, no root.

mod errors;
mod help;

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs `devbox` in `folder`, with an environment that has nothing in it but where that folder is.
fn devbox_in(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_devbox"))
        .args(arguments)
        .env_clear()
        .env("HOME", folder)
        .envs(variables.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("devbox runs")
}

/// The same, in an empty folder of its own; gives the exit code, standard output and standard error.
fn devbox(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = devbox_in(folder.path(), arguments, variables);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}
