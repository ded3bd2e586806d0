//! The native half of the Python package `sealos-devbox`: the Rust client behind blocking calls.
//!
//! Transport, streams, digests and local files are here; idioms, defaults and text are in `python/sealos_devbox`.
//! Every call releases the interpreter lock while it waits, runs the caller's own code (iterators that it reads from)
//! on the calling thread, and can be interrupted by a signal.
//!
//! | module | subject |
//! |---|---|
//! | [`runtime`] | one tokio runtime a process, and waiting for it |
//! | [`failure`] | what can fail, as Python exceptions |
//! | [`client`] | boxes of one server |
//! | [`guest`] | the inside of one box, as Python calls it |
//! | [`content`] | contents from Python objects and local files |
//! | [`batch`] | many files in one request |
//! | [`save`] | contents into local files |
//! | [`entry`] | what is known of one name in a box |
//! | [`process`] | running programs |

mod batch;
mod client;
mod content;
mod entry;
mod failure;
mod guest;
mod large;
mod process;
mod runtime;
mod save;

/// See `_native.pyi`.
#[pyo3::pymodule]
mod _native {
    use devbox_types::{BoxPath, ErrorCode};
    use pyo3::PyResult;

    use super::failure::Failure;

    #[pymodule_export]
    use super::client::Client;
    #[pymodule_export]
    use super::entry::{Entry, EntryIterator};
    #[pymodule_export]
    use super::guest::Guest;
    #[pymodule_export]
    use super::process::Process;

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// Every error code, and whether the same request may succeed later.
    #[pyo3::pyfunction]
    fn error_codes() -> Vec<(&'static str, bool)> {
        ErrorCode::ALL.iter().map(|code| (code.as_str(), code.is_retryable())).collect()
    }

    /// Refuses what is no path inside a box.
    #[pyo3::pyfunction]
    fn check_path(path: &[u8]) -> PyResult<()> {
        BoxPath::parse(path).map_err(Failure::from)?;
        Ok(())
    }
}
