//! Running programs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use devbox_client::{Command, Sandbox};
use devbox_guest::contract::{EventStream, InputStream};
use devbox_types::process::{ExitStatus, ProcessEvent, ProcessInput};
use devbox_types::{ErrorCode, Problem};
use futures_util::stream::{self, StreamExt as _};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use tokio::sync::mpsc;

use crate::client::seconds;
use crate::failure::Failure;
use crate::runtime::wait;

/// How much input may wait to be sent, in pieces: whoever sends more waits for the program to read.
const INPUT_AHEAD: usize = 4;

/// What to run, and how.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Spec {
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    cwd: Option<PyBackedBytes>,
    timeout: Option<f64>,
    /// All of its standard input, if that is known already.
    stdin: Option<PyBackedBytes>,
    /// Whether standard input, and signals, follow.
    interactive: bool,
}

/// Standard output or standard error of a program, as Python sees it.
const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";

/// See `_native.pyi`.
#[pyclass(frozen, module = "sealos_devbox._native")]
pub(crate) struct Process {
    #[pyo3(get)]
    id: u64,
    #[pyo3(get)]
    pid: u32,
    /// Taken while somebody waits for it.
    events: Mutex<Option<EventStream>>,
    input: Mutex<Option<mpsc::Sender<ProcessInput<Bytes>>>>,
    exit: Mutex<Option<ExitStatus>>,
}

impl Process {
    pub(crate) fn spawn(py: Python<'_>, sandbox: Arc<Sandbox>, spec: Spec) -> PyResult<Self> {
        let (sender, input) =
            if spec.interactive { interactive_input() } else { (None, stream::empty().boxed()) };
        let interactive = spec.interactive;
        let command = spec.command()?;
        let start = async move {
            let mut events = match interactive {
                true => sandbox.spawn(command, input).await?,
                false => sandbox.stream(command).await?,
            };
            match events.next().await.transpose()? {
                Some(ProcessEvent::Started { id, pid }) => Ok((id, pid, events)),
                _ => {
                    Err(Problem::new(ErrorCode::BadAgentAnswer, "the program did not say that it started")
                        .into())
                }
            }
        };
        let (id, pid, events) = wait(py, start, None)?;
        Ok(Self {
            id: id.0,
            pid,
            events: Mutex::new(Some(events)),
            input: Mutex::new(sender),
            exit: Mutex::new(None),
        })
    }
}

#[pymethods]
impl Process {
    /// The next output, or nothing when the program has ended.
    fn next_output<'py>(&self, py: Python<'py>) -> PyResult<Option<(&'static str, Bound<'py, PyBytes>)>> {
        if locked(&self.exit).is_some() {
            return Ok(None);
        }
        let mut events = locked(&self.events).take().ok_or_else(busy)?;
        let event = wait(py, async { Ok(events.next().await.transpose()?) }, None);
        *locked(&self.events) = Some(events);
        match event? {
            Some(ProcessEvent::Stdout(bytes)) => Ok(Some((STDOUT, PyBytes::new(py, &bytes)))),
            Some(ProcessEvent::Stderr(bytes)) => Ok(Some((STDERR, PyBytes::new(py, &bytes)))),
            Some(ProcessEvent::Exited(status)) => {
                *locked(&self.exit) = Some(status);
                self.close();
                Ok(None)
            }
            Some(ProcessEvent::Started { .. }) => {
                Err(Failure::from(Problem::new(ErrorCode::BadAgentAnswer, "the program started twice"))
                    .into())
            }
            None => Err(Failure::from(Problem::new(
                ErrorCode::Interrupted,
                "the stream of output ended before the program did",
            ))
            .into()),
        }
    }

    /// Exit code as a shell has it, signal, whether its time was up, and how long it ran in milliseconds.
    fn exit(&self) -> Option<(i32, Option<i32>, bool, u64)> {
        let exit = locked(&self.exit);
        exit.as_ref().map(|status| (status.shell_code(), status.signal, status.timed_out, status.duration_ms))
    }

    fn send(&self, py: Python<'_>, bytes: PyBackedBytes) -> PyResult<()> {
        self.put(py, ProcessInput::Stdin(Bytes::from_owner(bytes)))
    }

    fn close_stdin(&self, py: Python<'_>) -> PyResult<()> {
        self.put(py, ProcessInput::EndOfStdin)
    }

    fn signal(&self, py: Python<'_>, number: u8) -> PyResult<()> {
        self.put(py, ProcessInput::Signal(number))
    }

    /// Lets go of it: a program that still runs is killed, with all it started.
    fn close(&self) {
        drop(locked(&self.input).take());
        drop(locked(&self.events).take());
    }
}

impl Process {
    fn put(&self, py: Python<'_>, input: ProcessInput<Bytes>) -> PyResult<()> {
        let sender = locked(&self.input).clone();
        let ended = || Failure::from(Problem::new(ErrorCode::ProcessNotFound, "the program has ended"));
        let Some(sender) = sender else { return Err(ended().into()) };
        wait(py, async move { sender.send(input).await.map_err(|_| ended()) }, None)
    }
}

impl Spec {
    fn command(self) -> Result<Command, Failure> {
        let mut command = Command::new(self.argv);
        for (name, value) in self.env {
            command = command.with_env(name, value);
        }
        if let Some(cwd) = self.cwd {
            command = command.with_cwd(cwd);
        }
        if let Some(timeout) = self.timeout {
            command = command.with_timeout(seconds("timeout", timeout)?);
        }
        Ok(match self.stdin {
            Some(bytes) => command.with_stdin(Bytes::from_owner(bytes)),
            None => command,
        })
    }
}

fn interactive_input() -> (Option<mpsc::Sender<ProcessInput<Bytes>>>, InputStream) {
    let (sender, receiver) = mpsc::channel(INPUT_AHEAD);
    let input = stream::unfold(receiver, |mut receiver| async move {
        let input = receiver.recv().await?;
        Some((input, receiver))
    });
    (Some(sender), input.boxed())
}

/// The value, whatever happened to a thread that held it: each is replaced whole.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two threads cannot wait for one stream.
pub(crate) fn busy() -> PyErr {
    PyRuntimeError::new_err("it was closed, or another thread is waiting for it")
}
