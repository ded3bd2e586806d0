//! Which programming languages the host's `/usr` provides: each is asked for its version, once.

use std::io::Read as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::mask;

/// A language: the name of its usual image, its program in `/usr/bin`, how that is asked for its version.
struct Language {
    image: &'static str,
    program: &'static str,
    question: &'static [&'static str],
}

const LANGUAGES: [Language; 6] = [
    Language { image: "python", program: "python3", question: &["--version"] },
    Language { image: "node", program: "node", question: &["--version"] },
    Language { image: "ruby", program: "ruby", question: &["--version"] },
    Language { image: "perl", program: "perl", question: &["-e", "printf 'perl %vd', $^V"] },
    Language { image: "php", program: "php", question: &["--version"] },
    Language { image: "gcc", program: "gcc", question: &["-dumpfullversion"] },
];

/// How long all of them together may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Nobody: the programs are the host's own, but they need no right to say their version.
const NOBODY: u32 = 65534;
/// More of an answer than holds a version.
const LONGEST: u64 = 4096;

/// Asks every language that is there, all at once. One that does not answer in time, or in words that hold no version, is
/// not provided.
pub(super) fn probe(usr: &Path) -> Vec<String> {
    let asked: Vec<_> =
        LANGUAGES.iter().filter_map(|language| Some((language, ask(usr, language)?))).collect();
    let until = Instant::now() + PATIENCE;
    let answers = asked.into_iter().filter_map(|(language, child)| {
        let version = version(&answer(child, until)?)?.to_owned();
        Some(format!("{}:{version}", language.image))
    });
    answers.collect()
}

fn ask(usr: &Path, language: &Language) -> Option<Child> {
    // Where a link to it leads counts: what lies outside of what boxes see is not provided.
    let program = usr.join("bin").join(language.program).canonicalize().ok()?;
    if !mask::shows(program.strip_prefix(usr).ok()?) {
        return None;
    }
    let started = Command::new(program)
        .args(language.question)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .gid(NOBODY)
        .uid(NOBODY)
        .spawn();
    started
        .inspect_err(|error| tracing::warn!(language = language.image, %error, "cannot ask for a version"))
        .ok()
}

fn answer(mut child: Child, until: Instant) -> Option<String> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break,
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
            _ => {
                // Both fail only if it has ended meanwhile.
                let _ended = child.kill();
                let _collected = child.wait();
                return None;
            }
        }
    }
    let mut text = String::new();
    child.stdout.take()?.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The first thing in a text that looks like a version: at least two numbers with dots between them.
fn version(text: &str) -> Option<&str> {
    let words = text.split(|letter: char| !(letter.is_ascii_digit() || letter == '.'));
    words.map(|word| word.trim_matches('.')).find(|word| word.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(version("Python 3.11.2\n"), Some("3.11.2"));
        assert_eq!(version("v20.20.2\n"), Some("20.20.2"));
        assert_eq!(version("ruby 3.1.2p20 (2022-04-12 revision 4491bf432e)"), Some("3.1.2"));
        assert_eq!(version("go away."), None);
    }
}
