//! What to run, and the C strings that `execve` wants of it.

use std::collections::HashMap;
use std::ffi::{CString, c_char};
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::ExecError;

/// A program to run, and how.
#[derive(Debug, Clone)]
pub struct Command {
    /// Program and arguments. A program without `/` is looked up in the `PATH` of `env`, as the user it will run as.
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited. Of two entries with one name the later counts.
    pub env: Vec<(String, String)>,
    /// Where it starts.
    pub directory: Directory,
    /// As whom; `None`: as this process.
    pub identity: Option<Identity>,
    /// What it reads.
    pub stdin: Stdin,
    /// After how long the whole tree is killed; `None`: never.
    pub timeout: Option<Duration>,
}

impl Command {
    /// Runs `argv` in `/` with an empty environment, nothing to read, and no timeout.
    #[must_use]
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            directory: Directory::default(),
            identity: None,
            stdin: Stdin::Null,
            timeout: None,
        }
    }
}

/// The working directory of a program.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    /// Its path. Empty is the root.
    pub path: Vec<u8>,
    /// The directory that `path` starts from; `None`: the root of this process.
    pub below: Option<Arc<OwnedFd>>,
    /// Start in the root itself if the directory cannot be entered, instead of failing.
    pub optional: bool,
}

/// User, group and supplementary groups, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

/// What a program reads as standard input.
#[derive(Debug, Clone, Default)]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Null,
    /// These bytes, then the end.
    Bytes(Bytes),
    /// What comes in the input stream, until its end.
    Stream,
}

/// A command as the child needs it: every string made before the clone, because the child may not allocate.
pub(crate) struct Prepared {
    /// Where to find the program, in the order of trial.
    pub(crate) candidates: Vec<CString>,
    pub(crate) argv: Strings,
    pub(crate) envp: Strings,
    pub(crate) directory: CString,
}

impl Prepared {
    /// Checks a command and lays it out. `cookie` is put first into the environment, and cannot be overridden.
    pub(crate) fn new(command: &Command, cookie: &str) -> Result<Self, ExecError> {
        let program = command.argv.first().filter(|name| !name.is_empty()).ok_or(ExecError::NoProgram)?;
        let argv = command.argv.iter().map(|argument| c_string(argument.as_str(), "an argument"));
        let argv = argv.collect::<Result<Vec<_>, _>>()?;
        let (cookie_name, _) = cookie.split_once('=').unwrap_or((cookie, ""));
        let mut envp = vec![c_string(cookie, "the environment")?];
        let last: HashMap<&str, usize> =
            command.env.iter().enumerate().map(|(place, (name, _))| (name.as_str(), place)).collect();
        for (place, (name, value)) in command.env.iter().enumerate() {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(ExecError::BadVariable { name: name.clone() });
            }
            let is_last = last.get(name.as_str()) == Some(&place);
            if is_last && name != cookie_name {
                envp.push(c_string(format!("{name}={value}"), "the environment")?);
            }
        }
        let directory = command.directory.path.strip_prefix(b"/").unwrap_or(&command.directory.path);
        let directory: &[u8] = if directory.is_empty() { b"." } else { directory };
        Ok(Self {
            candidates: candidates(program, &command.env)?,
            argv: Strings::new(argv),
            envp: Strings::new(envp),
            directory: c_string(directory, "the working directory")?,
        })
    }
}

/// The paths at which `program` may be, as execvp(3) tries them.
fn candidates(program: &str, env: &[(String, String)]) -> Result<Vec<CString>, ExecError> {
    if program.contains('/') {
        return Ok(vec![c_string(program, "the program")?]);
    }
    let path = env.iter().rev().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value);
    let directories = path.split(':').map(|directory| if directory.is_empty() { "." } else { directory });
    directories.map(|directory| c_string(format!("{directory}/{program}"), "the program")).collect()
}

fn c_string(text: impl Into<Vec<u8>>, what: &'static str) -> Result<CString, ExecError> {
    CString::new(text).map_err(|_| ExecError::Nul { what })
}

/// Strings, and the NULL-terminated array of pointers to them.
pub(crate) struct Strings {
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

// SAFETY: the pointers point into the heap blocks of the strings beside them, which move with this value and are never
// changed; it is only read.
#[expect(unsafe_code, reason = "raw pointers are not Send by default")]
unsafe impl Send for Strings {}

impl Strings {
    fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Self { pointers, _strings: strings }
    }

    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(argv: &[&str], env: &[(&str, &str)]) -> Result<Prepared, ExecError> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Prepared::new(&Command { env, ..Command::new(argv.to_vec()) }, "COOKIE=1")
    }

    #[test]
    fn a_program_is_looked_for_along_path_as_execvp_does() {
        let found = prepared(&["ls"], &[("PATH", "/bin::/usr/bin")]).expect("a command").candidates;
        assert_eq!(found, [c"/bin/ls".to_owned(), c"./ls".to_owned(), c"/usr/bin/ls".to_owned()]);
        assert_eq!(prepared(&["./ls"], &[]).expect("a command").candidates, [c"./ls".to_owned()]);
    }

    #[test]
    fn the_later_of_two_variables_counts_and_the_cookie_cannot_be_replaced() {
        let prepared = prepared(&["a"], &[("A", "1"), ("COOKIE", "2"), ("A", "3")]).expect("a command");
        assert_eq!(prepared.envp._strings, [c"COOKIE=1".to_owned(), c"A=3".to_owned()]);
    }

    /// The thread that answers all calls prepares commands: this took hours when each name was compared with all others.
    #[test]
    fn a_huge_environment_is_prepared_in_no_time() {
        let env = (0..400_000).map(|number| (format!("V{number}"), String::new())).collect();
        let command = Command { env, ..Command::new(["a"]) };
        let begun = std::time::Instant::now();
        assert_eq!(Prepared::new(&command, "COOKIE=1").expect("a command").envp._strings.len(), 400_001);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    #[test]
    fn what_execve_cannot_take_is_refused() {
        assert!(matches!(prepared(&[], &[]), Err(ExecError::NoProgram)));
        assert!(matches!(prepared(&[""], &[]), Err(ExecError::NoProgram)));
        assert!(matches!(prepared(&["a\0b"], &[]), Err(ExecError::Nul { .. })));
        assert!(matches!(prepared(&["a"], &[("A=B", "")]), Err(ExecError::BadVariable { .. })));
        assert!(matches!(prepared(&["a"], &[("A", "\0")]), Err(ExecError::Nul { .. })));
    }
}
