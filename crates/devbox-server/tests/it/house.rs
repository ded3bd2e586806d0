//! A server on a port of its own, with its first key.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use devbox_backend::Backend;
use devbox_backend::memory::{MemoryBackend, MemoryGuest};
use devbox_server::{Server, ServerConfig, ServerError};
use devbox_store::Store;
use devbox_types::devbox::Template;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::wire::{Answer, call};

/// A running server and what is around it.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    pub(crate) backend: Arc<MemoryBackend>,
    pub(crate) directory: Arc<TempDir>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), ServerError>>,
}

/// Two templates, as a machine with Python and Node has them.
pub(crate) fn memory_backend() -> Arc<MemoryBackend> {
    memory_backend_of(MemoryGuest::default)
}

/// The same, with guests that are made so.
pub(crate) fn memory_backend_of(guest: fn() -> MemoryGuest) -> Arc<MemoryBackend> {
    let template = |name: &str, runtimes: &[&str]| Template {
        name: name.to_owned(),
        runtimes: runtimes.iter().map(|&runtime| runtime.to_owned()).collect(),
        workdir: "/workspace".to_owned(),
    };
    let templates = vec![template("host", &["python:3.11.2", "node:20.20.2"]), template("empty", &[])];
    Arc::new(MemoryBackend::new(templates, move |_| Arc::new(guest())))
}

/// The names of files in a data directory that have this text in them.
pub(crate) fn files_that_hold(directory: &Path, text: &str) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    let holds = |entry: &std::fs::DirEntry| match std::fs::read(entry.path()) {
        Ok(bytes) => bytes.windows(text.len()).any(|window| window == text.as_bytes()),
        // SQLite removes its journal when the last connection closes, which may be just now.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => panic!("cannot read {entry:?}: {error}"),
    };
    entries.filter(holds).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(ServerConfig::default()).await
    }

    pub(crate) async fn with(config: ServerConfig) -> Self {
        let directory = Arc::new(tempfile::tempdir().expect("a directory"));
        Self::open(config, memory_backend(), directory).await
    }

    /// Starts a server over a backend and a data directory, which may have served before.
    pub(crate) async fn open(
        config: ServerConfig,
        backend: Arc<MemoryBackend>,
        directory: Arc<TempDir>,
    ) -> Self {
        let store = Store::open(directory.path()).await.expect("a store");
        store.ensure_first_key(directory.path()).await.expect("a first key");
        let key = std::fs::read_to_string(directory.path().join("first.key")).expect("first.key");
        let server = Server::new(config, Arc::clone(&backend) as Arc<dyn Backend>, store).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(server.expect("a server").serve(listener, async {
            let _ = stopped.await;
        }));
        let key = key.trim_end().to_owned();
        Self { address, key, backend, directory, stop: Some(stop), served }
    }

    /// Calls with the first key and a JSON body.
    pub(crate) async fn call(&self, method: &str, target: &str, body: Value) -> Answer {
        self.call_as(&self.key, method, target, body).await
    }

    /// Calls with any key.
    pub(crate) async fn call_as(&self, key: &str, method: &str, target: &str, body: Value) -> Answer {
        let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).expect("json") };
        self.send(key, method, target, &[], bytes).await
    }

    /// Calls with headers and bytes.
    pub(crate) async fn send(
        &self,
        key: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let bearer = format!("Bearer {key}");
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        call(self.address, method, target, &all, body).await
    }

    /// Makes a box; returns its id.
    pub(crate) async fn make(&self) -> String {
        let answer = self.call("POST", "/v1/devboxes", json!({})).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].as_str().expect("an id").to_owned()
    }

    /// Makes a key of a project; returns its secret.
    pub(crate) async fn make_key(&self, project: &str, role: &str) -> String {
        let answer = self.call("POST", "/v1/keys", json!({ "project": project, "role": role })).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["secret"].as_str().expect("a secret").to_owned()
    }

    /// The records of the audit, oldest first, as `operation path outcome`.
    pub(crate) async fn audit(&self) -> Vec<Value> {
        let answer = self.call("GET", "/v1/audit", Value::Null).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut records = answer.json()["records"].as_array().expect("records").clone();
        records.reverse();
        records
    }

    /// Tells the server to stop, without waiting.
    pub(crate) fn tell_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits until the server has stopped.
    pub(crate) async fn stopped(self) {
        self.served.await.expect("no panic").expect("a clean stop");
    }

    /// Stops, and keeps what outlives a server.
    pub(crate) async fn close(mut self) -> (Arc<MemoryBackend>, Arc<TempDir>) {
        self.tell_to_stop();
        let (backend, directory) = (Arc::clone(&self.backend), Arc::clone(&self.directory));
        self.stopped().await;
        (backend, directory)
    }
}
