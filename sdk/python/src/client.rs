//! Boxes of one server. Records cross to Python as JSON, as the API has them.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devbox_client::{Client as RustClient, ClientConfig, ClientError, ListQuery, Sandbox};
use devbox_guest::ContentCoding;
use devbox_types::devbox::{CreateRequest, Devbox};
use devbox_types::{BoxId, ErrorCode, Problem};
use pyo3::prelude::*;
use serde::Serialize;

use crate::failure::Failure;
use crate::guest::Guest;
use crate::runtime::{PerProcess, wait};

/// See `_native.pyi`.
#[pyclass(frozen, module = "sealos_devbox._native")]
pub(crate) struct Client {
    connector: Arc<Connector>,
}

/// A configuration, and the client that this process made of it.
pub(crate) struct Connector {
    config: ClientConfig,
    client: PerProcess<RustClient>,
}

impl Connector {
    pub(crate) fn client(&self, py: Python<'_>) -> Result<RustClient, Failure> {
        Ok(self.client.get(py, || RustClient::connect(self.config.clone()))?)
    }

    pub(crate) fn sandbox(&self, py: Python<'_>, devbox: &Devbox) -> Result<Sandbox, Failure> {
        Ok(Sandbox::new(self.client(py)?, devbox.clone())?)
    }
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (*, api_url, api_key, ca_file, connect_timeout, request_timeout, compress))]
    fn new(
        py: Python<'_>,
        api_url: Option<String>,
        api_key: Option<String>,
        ca_file: Option<PathBuf>,
        connect_timeout: f64,
        request_timeout: f64,
        compress: Option<&str>,
    ) -> PyResult<Self> {
        let mut config = ClientConfig::from_env().map_err(Failure::from)?;
        config.url = api_url.unwrap_or(config.url);
        config.api_key = match api_key.or(config.api_key) {
            Some(key) => Some(key),
            None => key_from_file()?,
        };
        config.ca_file = ca_file.or(config.ca_file);
        config.connect_timeout = seconds("connect_timeout", connect_timeout)?;
        config.request_timeout = seconds("request_timeout", request_timeout)?;
        config.compress = compress.map(coding).transpose()?;
        config.user_agent = concat!("sealos-devbox-python/", env!("CARGO_PKG_VERSION")).to_owned();
        if config.api_key.is_none() {
            return Err(Failure::from(ClientError::NoApiKey).into());
        }
        let connector = Connector { config, client: PerProcess::new() };
        connector.client(py)?;
        Ok(Self { connector: Arc::new(connector) })
    }

    #[getter]
    fn url(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.connector.client(py)?.url())
    }

    fn create(&self, py: Python<'_>, request: &str) -> PyResult<String> {
        let request: CreateRequest = serde_json::from_str(request).map_err(|error| bad_request(&error))?;
        let client = self.connector.client(py)?;
        wait(py, async { Ok(json(&client.create(&request).await?)) }, None)
    }

    fn get(&self, py: Python<'_>, reference: &str) -> PyResult<String> {
        let client = self.connector.client(py)?;
        wait(py, async { Ok(json(&client.get(reference).await?)) }, None)
    }

    fn list(&self, py: Python<'_>, labels: BTreeMap<String, String>) -> PyResult<String> {
        let client = self.connector.client(py)?;
        let query = ListQuery { labels, ..ListQuery::default() };
        wait(py, async { Ok(json(&client.list_all(query).await?)) }, None)
    }

    fn templates(&self, py: Python<'_>) -> PyResult<String> {
        let client = self.connector.client(py)?;
        wait(py, async { Ok(json(&client.templates().await?)) }, None)
    }

    fn start(&self, py: Python<'_>, id: &str) -> PyResult<String> {
        let (client, id) = (self.connector.client(py)?, box_id(id)?);
        wait(py, async { Ok(json(&client.start(&id).await?)) }, None)
    }

    fn stop(&self, py: Python<'_>, id: &str) -> PyResult<String> {
        let (client, id) = (self.connector.client(py)?, box_id(id)?);
        wait(py, async { Ok(json(&client.stop(&id).await?)) }, None)
    }

    fn delete(&self, py: Python<'_>, id: &str) -> PyResult<()> {
        let (client, id) = (self.connector.client(py)?, box_id(id)?);
        wait(py, async { Ok(client.delete(&id).await?) }, None)
    }

    fn guest(&self, record: &str) -> PyResult<Guest> {
        let devbox: Devbox = serde_json::from_str(record).map_err(|error| bad_request(&error))?;
        Ok(Guest::new(Arc::clone(&self.connector), devbox))
    }
}

/// The key in the file that the environment names, as the command line has it.
fn key_from_file() -> Result<Option<String>, Failure> {
    let Some(path) = env::var_os("DEVBOX_API_KEY_FILE").filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(path);
    let key = fs::read_to_string(&path).map_err(Failure::local(&path))?;
    Ok(Some(key.trim().to_owned()).filter(|key| !key.is_empty()))
}

/// A number of seconds as Python has it.
pub(crate) fn seconds(name: &str, value: f64) -> Result<Duration, Failure> {
    let invalid =
        |_| Problem::new(ErrorCode::InvalidRequest, format!("{name} is no number of seconds: {value}"));
    Ok(Duration::try_from_secs_f64(value).map_err(invalid)?)
}

fn coding(name: &str) -> Result<ContentCoding, Failure> {
    let unknown =
        || Problem::new(ErrorCode::InvalidRequest, format!("compress is \"zstd\" or \"gzip\", not {name:?}"));
    Ok(ContentCoding::from_wire(name).ok_or_else(unknown)?)
}

fn box_id(text: &str) -> Result<BoxId, Failure> {
    Ok(text
        .parse()
        .map_err(|_| Problem::new(ErrorCode::DevboxNotFound, format!("{text:?} is no id of a box")))?)
}

fn bad_request(error: &serde_json::Error) -> Failure {
    Problem::new(ErrorCode::InvalidRequest, format!("the request is malformed: {error}")).into()
}

/// Records of ours always have a JSON form: text, numbers, and maps of text.
fn json(record: &impl Serialize) -> String {
    serde_json::to_string(record).expect("records of the API have string keys")
}
