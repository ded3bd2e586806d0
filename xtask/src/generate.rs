//! What is generated from the code: the OpenAPI document, reference pages, the crate graph.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use devbox_types::ErrorCode;

use crate::command::{built, cargo, output, run};
use crate::graph;

type Render = fn() -> Result<String>;

/// Every generated file and what it is made by; first those that need no build.
const FILES: &[(&str, Render)] = &[
    (graph::FILE, graph::render),
    ("docs/reference/errors.md", || Ok(errors())),
    ("docs/reference/cli.md", command_line),
    ("openapi/openapi.json", openapi),
];

/// Writes every generated file.
pub(crate) fn write() -> Result<()> {
    for (file, render) in FILES {
        let content = render()?;
        if let Some(folder) = Path::new(file).parent() {
            std::fs::create_dir_all(folder)?;
        }
        let is_current = std::fs::read_to_string(file).is_ok_and(|old| old == content);
        if !is_current {
            std::fs::write(file, content).with_context(|| format!("cannot write {file}"))?;
            eprintln!("wrote {file}");
        }
    }
    Ok(())
}

/// Fails if a generated file is not what the code says now.
pub(crate) fn check() -> Result<()> {
    FILES.iter().try_for_each(|(file, render)| compare(file, &render()?))
}

/// Fails, and shows the first difference, if a file is not this.
pub(crate) fn compare(file: &str, wanted: &str) -> Result<()> {
    let found = std::fs::read_to_string(file).unwrap_or_default();
    if found == wanted {
        return Ok(());
    }
    let line = found.lines().zip(wanted.lines()).take_while(|(found, wanted)| found == wanted).count();
    let at = |text: &str| text.lines().nth(line).unwrap_or("(end of file)").to_owned();
    bail!(
        "{file} is not up to date: run `cargo xtask gen` and look at the difference\n  line {}\n  has:   {}\n  wants: {}",
        line + 1,
        at(&found),
        at(wanted)
    )
}

/// The `devbox` binary knows its own command line and the server's OpenAPI document.
fn build_command() -> Result<()> {
    run(cargo().args(["build", "--quiet", "--workspace", "--all-targets", "--locked"]))
}

fn openapi() -> Result<String> {
    build_command()?;
    let document = output(Command::new(built("devbox")).arg("openapi"))?;
    // Read and written again: the order of keys is then ours, whatever the generator's maps do.
    let document: serde_json::Value =
        serde_json::from_slice(&document).context("the document is not JSON")?;
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn errors() -> String {
    let mut page = String::from(
        "# Error codes\n\n\
         <!-- Written by `cargo xtask gen` from crates/devbox-types/src/error.rs. -->\n\n\
         Every error is an `application/problem+json` body (RFC 9457) with a stable `code`. The list is closed: programs\n\
         may match on it. *Retry*: the same request, sent again, may succeed without anybody changing anything.\n\
         *Exit* is the exit code of the `devbox` command.\n\n\
         | code | HTTP | exit | retry | meaning |\n|---|---|---|---|---|\n",
    );
    for code in ErrorCode::ALL {
        let retry = if code.is_retryable() { "yes" } else { "" };
        let (status, exit, title) = (code.http_status(), code.exit_code(), code.title());
        // Writing to a string cannot fail.
        let _ = writeln!(page, "| `{code}` | {status} | {exit} | {retry} | {title} |");
    }
    page
}

fn command_line() -> Result<String> {
    build_command()?;
    let help = |words: &[&str]| -> Result<String> {
        let text = output(Command::new(built("devbox")).args(words).arg("--help").env_clear())?;
        let text = String::from_utf8(text).context("the help is not UTF-8")?;
        Ok(text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
    };
    let whole = help(&[])?;
    let mut page =
        String::from("# The command line\n\n<!-- Written by `cargo xtask gen` from `--help`. -->\n");
    let mut section = |title: String, text: &str| {
        let _ = write!(page, "\n## {title}\n\n```text\n{}\n```\n", text.trim_end());
    };
    section("devbox".to_owned(), &whole);
    for command in subcommands(&whole) {
        let text = help(&[command])?;
        section(format!("devbox {command}"), &text);
        for inner in subcommands(&text) {
            section(format!("devbox {command} {inner}"), &help(&[command, inner])?);
        }
    }
    Ok(page)
}

/// The names under `Commands:` in a help text.
fn subcommands(help: &str) -> Vec<&str> {
    let names =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = names.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_are_read_from_a_help_text() {
        let help = "Boxes\n\nCommands:\n  serve    Serves\n             and more\n  cp  Copies\n  help  Prints\n\nOptions:\n  -h\n";
        assert_eq!(subcommands(help), ["serve", "cp"]);
    }

    #[test]
    fn every_code_has_its_row() {
        let page = errors();
        assert!(ErrorCode::ALL.iter().all(|code| page.contains(&format!("| `{code}` |"))));
    }
}
