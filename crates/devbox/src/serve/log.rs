//! The log of the server: events with fields, on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::settings::{Environment as _, LogFormat, ProcessEnvironment, SettingsError};

/// Starts logging. `DEVBOX_LOG` filters (`info`, `debug`, `devbox_server=trace,info`, …), `DEVBOX_LOG_FORMAT` chooses
/// between `text` and `json`.
pub(super) fn start() -> Result<(), SettingsError> {
    let environment = ProcessEnvironment;
    let wanted = environment.text("DEVBOX_LOG")?.unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(&wanted).map_err(|_| SettingsError::BadValue {
        name: "DEVBOX_LOG".to_owned(),
        value: wanted,
        wanted: "a filter such as info, debug or devbox_server=trace,info",
    })?;
    let is_terminal = std::io::stderr().is_terminal();
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal);
    match LogFormat::of(&environment)? {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
