//! The processes of a box.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use devbox_guest::contract::{EventStream, InputStream};
use devbox_types::process::{
    ExitStatus, ProcessEvent, ProcessInput, ProcessRequest, ProcessSummary, SignalRequest, StdinSource,
};
use devbox_types::{ErrorCode, Problem, ProcessId};
use futures_util::stream::{self, StreamExt as _};

use super::Sandbox;
use crate::error::ClientError;

/// What to run. No shell is involved unless it is named: `["sh", "-c", "…"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    cwd: Option<Vec<u8>>,
    stdin: Option<Bytes>,
    timeout: Option<Duration>,
    output_limit: usize,
}

impl Command {
    /// The most output that is collected in memory unless it is said otherwise.
    pub const OUTPUT_LIMIT: usize = 64 << 20;

    /// Program and arguments; nothing on standard input, no time limit, in the box's working directory.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            cwd: None,
            stdin: None,
            timeout: None,
            output_limit: Self::OUTPUT_LIMIT,
        }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Runs it in this directory.
    #[must_use]
    pub fn with_cwd(self, cwd: impl AsRef<[u8]>) -> Self {
        Self { cwd: Some(cwd.as_ref().to_vec()), ..self }
    }

    /// Gives it these bytes on standard input, then the end.
    #[must_use]
    pub fn with_stdin(self, stdin: impl Into<Bytes>) -> Self {
        Self { stdin: Some(stdin.into()), ..self }
    }

    /// Kills it, with all it started, after this time.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Collects at most so many bytes of output; beyond, the program is killed.
    #[must_use]
    pub fn with_output_limit(self, output_limit: usize) -> Self {
        Self { output_limit, ..self }
    }
}

/// What a program said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its standard output.
    pub stdout: Bytes,
    /// Its standard error.
    pub stderr: Bytes,
    /// How it ended.
    pub status: ExitStatus,
}

impl Sandbox {
    /// Runs a program to its end and collects what it says. That it fails is no error: look at `status`.
    ///
    /// # Errors
    /// `OutputTooLarge` beyond the limit of the command, and those of every call.
    ///
    /// # Cancel safety
    /// Dropping the future kills the program and all it started.
    pub async fn run(&self, command: Command) -> Result<Output, ClientError> {
        let limit = command.output_limit;
        let mut events = self.stream(command).await?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(event) = events.next().await {
            match event? {
                ProcessEvent::Started { .. } => {}
                ProcessEvent::Stdout(bytes) => stdout.extend_from_slice(&bytes),
                ProcessEvent::Stderr(bytes) => stderr.extend_from_slice(&bytes),
                ProcessEvent::Exited(status) => {
                    return Ok(Output { stdout: stdout.into(), stderr: stderr.into(), status });
                }
            }
            if stdout.len() + stderr.len() > limit {
                return Err(ClientError::OutputTooLarge { limit_bytes: limit });
            }
        }
        Err(ended_early())
    }

    /// Runs a program and hands out what it says as it comes. Dropping the stream before its end kills the program.
    pub async fn stream(&self, command: Command) -> Result<EventStream, ClientError> {
        let (source, input) = match command.stdin.clone() {
            Some(bytes) => (StdinSource::Frames, stream::iter([ProcessInput::Stdin(bytes)]).boxed()),
            None => (StdinSource::Null, stream::empty().boxed()),
        };
        let request = self.request_of(command, source)?;
        Ok(self.guest.run(&self.grant, request, input).await?)
    }

    /// Runs a program with input that comes as a stream: bytes for its standard input, and signals.
    ///
    /// What `command` says of standard input is ignored.
    pub async fn spawn(&self, command: Command, input: InputStream) -> Result<EventStream, ClientError> {
        let request = self.request_of(command, StdinSource::Frames)?;
        Ok(self.guest.run(&self.grant, request, input).await?)
    }

    /// The processes that were started over the API and run still, oldest first.
    pub async fn processes(&self) -> Result<Vec<ProcessSummary>, ClientError> {
        Ok(self.guest.processes(&self.grant).await?)
    }

    /// Sends a signal to a process, or with `tree` to all that it started too.
    pub async fn signal(&self, id: ProcessId, request: SignalRequest) -> Result<(), ClientError> {
        Ok(self.guest.signal(&self.grant, id, request).await?)
    }

    fn request_of(&self, command: Command, stdin: StdinSource) -> Result<ProcessRequest, ClientError> {
        let cwd = match command.cwd {
            Some(cwd) => self.resolve(cwd)?,
            None => self.workdir.clone(),
        };
        let timeout_ms =
            command.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        Ok(ProcessRequest { argv: command.argv, env: command.env, cwd: Some(cwd), stdin, timeout_ms })
    }
}

fn ended_early() -> ClientError {
    Problem::new(ErrorCode::Interrupted, "the stream of output ended before the program did").into()
}
