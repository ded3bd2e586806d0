//! The whole path: a real server with one box, key, limits, audit, agent, disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use devbox_client::{Client, ClientConfig, Command, CreateRequest, Sandbox};
use devbox_testkit::{LiveServer, ServerOptions};
use tokio::runtime::Runtime;

use crate::guest::{GuestSubject, runtime};

/// A server, and the box that is measured.
pub(crate) struct WholePath {
    server: LiveServer,
    runtime: Arc<Runtime>,
    client: Client,
    sandbox: Sandbox,
}

impl WholePath {
    /// Starts a server: with its default pool in a new place, or with a plain pool in this folder.
    pub(crate) fn start(devbox: &Path, plain_in: Option<&Path>) -> Result<Self> {
        let devbox: PathBuf = std::fs::canonicalize(devbox)?;
        let options = ServerOptions::default().with_binary(&devbox);
        let server = LiveServer::start_with(match plain_in {
            Some(folder) => options.with_data_dir(folder).with_arguments(&["--pool", "plain"]),
            None => options,
        })?;
        let client = Client::connect(ClientConfig::new(server.url(), Some(server.key().to_owned())))?;
        let runtime = Arc::new(runtime()?);
        let sandbox = runtime.block_on(client.create_sandbox(&CreateRequest::default()))?;
        Ok(Self { server, runtime, client, sandbox })
    }

    /// The box to measure; `local` is a folder for local files.
    pub(crate) fn subject(&self, local: &Path) -> Result<GuestSubject> {
        let asked = self.runtime.block_on(self.sandbox.run(Command::new(["stat", "-f", "-c", "%T", "."])))?;
        let file_system = String::from_utf8_lossy(&asked.stdout).trim().replace("overlayfs", "overlay");
        let pool = self.server.log();
        let pool = pool.split("pool=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("unknown");
        let box_on = format!("{file_system}, pool {pool}");
        GuestSubject::in_box(Arc::clone(&self.runtime), self.sandbox.clone(), local.to_owned(), &box_on)
    }

    /// What its rows are called by.
    pub(crate) fn name(&self) -> &'static str {
        GuestSubject::IN_BOX
    }

    /// The server, for who looks at its processes.
    pub(crate) fn server(&self) -> &LiveServer {
        &self.server
    }

    /// The box that is measured.
    pub(crate) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// From asking for a box until its first file is written.
    pub(crate) fn first_byte(&self) -> Result<Duration> {
        let content = Bytes::from_static(b"first");
        self.runtime.block_on(async {
            let begin = Instant::now();
            let sandbox = self.client.create_sandbox(&CreateRequest::default()).await?;
            sandbox.write("first", content.clone()).await?;
            let took = begin.elapsed();
            ensure!(sandbox.read("first").await? == content, "other bytes came back");
            sandbox.destroy().await?;
            Ok(took)
        })
    }

    /// Deletes the box and ends the server.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.runtime.block_on(self.client.delete(self.sandbox.id()))?;
        ensure!(self.server.stop()?.success(), "the server did not end well\n{}", self.server.log());
        Ok(())
    }
}
