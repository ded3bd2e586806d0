//! Where the server is and how to speak to it.

use std::env;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use devbox_guest::ContentCoding;

use crate::error::ClientError;
use crate::retry::RetryPolicy;

/// Where the server is and how to speak to it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// The address of the server, such as `https://devbox.example.com`.
    pub url: String,
    /// The API key. Without one only [`Client::health`](crate::Client::health) works.
    pub api_key: Option<String>,
    /// A PEM file with the certificates that are trusted for `https`, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long a call on boxes or keys may take, from its first attempt to its answer. Calls on files and processes
    /// take as long as they take.
    pub request_timeout: Duration,
    /// When a call is sent again.
    pub retry: RetryPolicy,
    /// Under which coding the contents of single files travel, both ways; `None`: as they are. Pieces of large uploads, batches
    /// and archives always travel as they are.
    pub compress: Option<ContentCoding>,
    /// What this program calls itself.
    pub user_agent: String,
}

impl ClientConfig {
    /// Where `devbox serve` listens unless told otherwise.
    pub const DEFAULT_URL: &'static str = "http://127.0.0.1:8080";
    /// The environment variable that names the server.
    pub const URL_VARIABLE: &'static str = "DEVBOX_URL";
    /// The environment variable that holds the key.
    pub const KEY_VARIABLE: &'static str = "DEVBOX_API_KEY";
    /// The environment variable that names a PEM file of trusted certificates.
    pub const CA_VARIABLE: &'static str = "DEVBOX_CA_FILE";

    /// A configuration for this server and key, with every other setting at its default.
    #[must_use]
    pub fn new(url: impl Into<String>, api_key: Option<String>) -> Self {
        Self {
            url: url.into(),
            api_key,
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(120),
            retry: RetryPolicy::default(),
            compress: None,
            user_agent: concat!("devbox-client/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// Takes `DEVBOX_URL`, `DEVBOX_API_KEY` and `DEVBOX_CA_FILE` from the environment; empty is as good as absent.
    ///
    /// # Errors
    /// `BadVariable` if one of them is not UTF-8.
    pub fn from_env() -> Result<Self, ClientError> {
        let url = variable(Self::URL_VARIABLE)?.unwrap_or_else(|| Self::DEFAULT_URL.to_owned());
        let mut config = Self::new(url, variable(Self::KEY_VARIABLE)?);
        config.ca_file = env::var_os(Self::CA_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(config)
    }
}

/// The key is never shown.
impl fmt::Debug for ClientConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientConfig")
            .field("url", &self.url)
            .field("api_key", &self.api_key.as_ref().map(|_| "…"))
            .field("ca_file", &self.ca_file)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("retry", &self.retry)
            .field("user_agent", &self.user_agent)
            .finish()
    }
}

fn variable(name: &'static str) -> Result<Option<String>, ClientError> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(ClientError::BadVariable { name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_show_in_debug_output() {
        let config = ClientConfig::new("http://localhost", Some("secret-key".to_owned()));
        assert!(!format!("{config:?}").contains("secret-key"));
    }
}
