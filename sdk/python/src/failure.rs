//! What can fail, and the Python exception that it is.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use devbox_client::ClientError;
use devbox_guest::BodyError;
use devbox_types::{BoxPathError, Problem};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server, or the way to it.
    #[error("{0}")]
    Client(ClientError),
    /// A file of this machine.
    #[error("cannot use the local file {}", path.display())]
    Local {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The caller's own code.
    #[error("{0}")]
    Python(PyErr),
}

impl Failure {
    /// What a system call on the local file `path` said.
    pub(crate) fn local(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Local { path, source }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Client(problem.into())
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        Self::Client(error.into())
    }
}

impl From<BoxPathError> for Failure {
    fn from(error: BoxPathError) -> Self {
        Problem::of(&error).into()
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Python(error) => error,
            Failure::Local { path, source } => local_error(&path, &source),
            Failure::Client(error) => client_error(&error),
        }
    }
}

const EISDIR: i32 = 21;

/// Python makes `FileNotFoundError` and its like from the number.
fn local_error(path: &Path, source: &io::Error) -> PyErr {
    // What we refuse ourselves has no number.
    let number = source.raw_os_error().or((source.kind() == io::ErrorKind::IsADirectory).then_some(EISDIR));
    match number {
        Some(number) => PyOSError::new_err((number, io_text(source), path.as_os_str().to_owned())),
        None => PyOSError::new_err(format!("{source}: {}", path.display())),
    }
}

/// The text of a system error, without the number that Rust adds.
fn io_text(source: &io::Error) -> String {
    let text = source.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(text, _)| text.to_owned())
}

fn client_error(error: &ClientError) -> PyErr {
    let problem = error.problem();
    let code = match error {
        ClientError::Connect { .. } | ClientError::Broken { .. } => "connection_failed",
        ClientError::BadUrl { .. }
        | ClientError::BadVariable { .. }
        | ClientError::CaFile { .. }
        | ClientError::NoTrustedCertificates
        | ClientError::Tls { .. } => "invalid_config",
        _ => problem.code.as_str(),
    };
    let request_id = problem.request_id.as_ref().map(ToString::to_string);
    let stands = problem.stands.map(|stands| (stands.written_bytes, stands.size_bytes));
    let (path, hint, retryable) = (problem.path, problem.hint, problem.retryable);
    let arguments = (code, chain(error), path, hint, retryable, request_id, problem.conflicts, stands);
    Python::attach(|py| match from_problem(py).and_then(|make| make.call1(arguments)) {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    })
}

/// What happened, and why, and why that.
fn chain(error: &ClientError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn from_problem(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static FUNCTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    FUNCTION.import(py, "sealos_devbox.errors", "from_problem")
}
