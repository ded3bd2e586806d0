//! How an error is told, and which exit code it gives.
//!
//! Every error is told the same way, on standard error: `error: …`, `caused by: …`, an empty line, `hint: …`.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

use devbox_client::ClientError;
use devbox_types::{Coded, ErrorCode, Problem};

use crate::agent::NoAgent;
use crate::archive::ArchiveCommandError;
use crate::copy::CopyError;
use crate::output;
use crate::reference::NotInBox;
use crate::serve::ServeError;
use crate::settings::SettingsError;

/// What a shell makes of a program that SIGPIPE ended: nobody reads our output any more.
const BROKEN_PIPE: u8 = 128 + 13;

/// Tells an error and gives the exit code for it.
pub(crate) fn tell(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::from(BROKEN_PIPE);
    }
    eprint!("{}", render(error));
    ExitCode::from(code(error).map_or(1, ErrorCode::exit_code))
}

/// Tells what clap has to say: help goes to standard output, a mistake to standard error.
pub(crate) fn tell_usage(error: &clap::Error) -> ExitCode {
    // If it cannot be printed there is nobody to read it.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(ErrorCode::InvalidRequest.exit_code()) } else { ExitCode::SUCCESS }
}

/// The code of an error: that of the outermost part that has one.
pub(crate) fn code(error: &anyhow::Error) -> Option<ErrorCode> {
    error.chain().find_map(coded).map(Coded::code)
}

/// An error as people read it.
pub(crate) fn render(error: &anyhow::Error) -> String {
    let mut text = format!("error: {}\n", line(error.as_ref()));
    for cause in error.chain().skip(1) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "caused by: {}", line(cause));
    }
    if let Some(hint) = error.chain().find_map(hint) {
        let _ = write!(text, "\nhint: {}\n", output::harmless(&hint));
    }
    text
}

/// One part of the chain; a problem names the path it is about, unless it has done so.
fn line(part: &(dyn Error + 'static)) -> String {
    let text = part.to_string().trim_end().to_owned();
    let text = match problem(part).and_then(|problem| problem.path.as_deref()) {
        Some(path) if !text.contains(path) => format!("{text}: {path}"),
        _ => text,
    };
    // What a box or a server says may be meant for the terminal rather than for the reader.
    text.lines().map(output::harmless).collect::<Vec<_>>().join("\n")
}

fn hint(part: &(dyn Error + 'static)) -> Option<String> {
    coded(part).and_then(Coded::hint).or_else(|| {
        let problem = problem(part).filter(|problem| problem.code == ErrorCode::Internal)?;
        let id = problem.request_id.as_ref()?;
        Some(format!("look for request {id} in the log of the server"))
    })
}

fn problem<'e>(part: &'e (dyn Error + 'static)) -> Option<&'e Problem> {
    match part.downcast_ref() {
        Some(ClientError::Problem(problem)) => Some(problem),
        _ => part.downcast_ref(),
    }
}

/// The part as an error with a code, if it is one of those that end up here.
fn coded<'e>(part: &'e (dyn Error + 'static)) -> Option<&'e dyn Coded> {
    fn seen<'e, E: Coded + 'static>(part: &'e (dyn Error + 'static)) -> Option<&'e dyn Coded> {
        part.downcast_ref::<E>().map(|error| error as &dyn Coded)
    }
    seen::<ClientError>(part)
        .or_else(|| seen::<Problem>(part))
        .or_else(|| seen::<SettingsError>(part))
        .or_else(|| seen::<CopyError>(part))
        .or_else(|| seen::<ArchiveCommandError>(part))
        .or_else(|| seen::<NoAgent>(part))
        .or_else(|| seen::<NotInBox>(part))
        .or_else(|| seen::<ServeError>(part))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|part| part.downcast_ref::<output::OutputError>());
    kinds.map(|error| error.kind()).any(|kind| kind == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use devbox_types::BoxPath;

    use super::*;

    #[test]
    fn attack_problem_that_writes_on_the_terminal() {
        let path = BoxPath::parse(b"/a\x1b[2J").expect("a path");
        let problem =
            Problem::new(ErrorCode::NotFound, "no entry\u{7}").with_path(&path).with_hint("go\u{1b}c");
        let told = render(&ClientError::from(problem).into());
        assert!(!told.chars().any(|character| character.is_control() && character != '\n'), "{told:?}");
        assert!(told.contains("/a\\u{1b}[2J"), "{told:?}");
    }

    #[test]
    fn the_code_of_the_outermost_part_counts() {
        let inner = Problem::new(ErrorCode::NoSpace, "the disk is full");
        let error = anyhow::Error::from(ClientError::from(inner)).context("cannot stop try-1");
        assert_eq!(code(&error), Some(ErrorCode::NoSpace));
        assert_eq!(render(&error), "error: cannot stop try-1\ncaused by: the disk is full\n");
    }

    #[test]
    fn a_failure_of_the_server_names_the_request() {
        let id = "req-1".parse().expect("an id");
        let problem = Problem::new(ErrorCode::Internal, "the server failed").with_request_id(id);
        assert!(render(&ClientError::from(problem).into()).contains("look for request req-1"));
    }
}
