//! Us: the agent alone, and the whole path.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use devbox_client::{Client, ClientConfig, Command as Run, CreateRequest};
use devbox_guest::{Body, Guest, GuestClient, UnixTransport};
use devbox_testkit::{LiveServer, ServerOptions};
use devbox_types::agent::{AgentConfig, AgentListen};
use devbox_types::file::{ReadRequest, WriteRequest};
use devbox_types::{ActingUser, BoxId, BoxPath, Digests, Grant};
use futures_util::stream::{self, StreamExt as _};
use tokio::runtime::Runtime;

use crate::content::{Check, Content};
use crate::floor::client::{OwnProcess, wait_for_socket};
use crate::subject::Subject;

/// Something that keeps the guest contract, over one connection.
pub(crate) struct GuestSubject {
    name: &'static str,
    hops: usize,
    runtime: Arc<Runtime>,
    guest: Arc<dyn Guest>,
    folder: BoxPath,
    _agent: Option<OwnProcess>,
}

/// The agent on a unix socket over a plain folder, without server, key or audit.
pub(crate) fn agent_alone(agent: &Path, sockets: &Path, folder: &Path) -> Result<GuestSubject> {
    let socket = sockets.join("agent");
    let config = AgentConfig {
        listen: AgentListen::Unix(socket.to_string_lossy().into_owned()),
        default_user: ActingUser::root(),
        workdir: folder.to_string_lossy().into_owned(),
        env: std::collections::BTreeMap::new(),
        payload_cgroups: Vec::new(),
        init: false,
    };
    let mut command = Command::new(agent);
    command.env(AgentConfig::VARIABLE, serde_json::to_string(&config)?).stdin(Stdio::null());
    let process = OwnProcess(command.spawn().with_context(|| format!("start {}", agent.display()))?);
    wait_for_socket(&socket)?;
    let guest = GuestClient::to_agent(Arc::new(UnixTransport::new(socket)));
    Ok(GuestSubject {
        name: "agent alone",
        hops: 1,
        runtime: Arc::new(runtime()?),
        guest: Arc::new(guest),
        folder: BoxPath::parse(folder.as_os_str().as_encoded_bytes())?,
        _agent: Some(process),
    })
}

/// One thread, as an SDK's caller has it.
fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

impl GuestSubject {
    fn path(&self, file: &str) -> Result<BoxPath> {
        Ok(self.folder.join(file.as_bytes())?)
    }
}

impl Subject for GuestSubject {
    fn name(&self) -> &'static str {
        self.name
    }

    fn hops(&self) -> usize {
        self.hops
    }

    fn stores(&self) -> bool {
        true
    }

    fn write(&mut self, file: &str, content: Bytes) -> Result<()> {
        let length = content.len() as u64;
        let request = WriteRequest { length: Some(length), ..WriteRequest::to(self.path(file)?) };
        let grant = Grant::whole_box();
        let written = self.runtime.block_on(self.guest.write(&grant, request, Body::from_bytes(content)))?;
        ensure!(written.entry.size_bytes == length, "{} bytes were written", written.entry.size_bytes);
        Ok(())
    }

    fn read(&mut self, file: &str) -> Result<Bytes> {
        let (path, grant) = (self.path(file)?, Grant::whole_box());
        self.runtime.block_on(async {
            let content = self.guest.read(&grant, ReadRequest::whole(path)).await?;
            Ok(content.body.collect(1 << 20).await?)
        })
    }

    fn upload(&mut self, file: &str, content: Content, digest: Option<[u8; 32]>) -> Result<()> {
        let request = WriteRequest {
            length: Some(content.length),
            digests: digest.map(Digests::of_sha256).unwrap_or_default(),
            ..WriteRequest::to(self.path(file)?)
        };
        let body = Body::from_stream(stream::iter(content.chunks().map(Ok)), Some(content.length));
        let written = self.runtime.block_on(self.guest.write(&Grant::whole_box(), request, body))?;
        ensure!(
            written.entry.size_bytes == content.length,
            "{} bytes were written",
            written.entry.size_bytes
        );
        Ok(())
    }

    fn download(&mut self, file: &str, content: Content, digest: Option<[u8; 32]>) -> Result<()> {
        let (path, grant) = (self.path(file)?, Grant::whole_box());
        self.runtime.block_on(async {
            let mut body = self.guest.read(&grant, ReadRequest::whole(path)).await?.body;
            let mut check = Check::new(content, digest);
            while let Some(chunk) = body.next().await {
                check.take(&chunk?)?;
            }
            check.finish()
        })
    }
}

/// A real server with one box: key, audit, agent, disk.
pub(crate) struct WholePath {
    server: LiveServer,
    runtime: Arc<Runtime>,
    client: Client,
    boxes: Vec<BoxId>,
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
        Ok(Self { server, runtime: Arc::new(runtime()?), client, boxes: Vec::new() })
    }

    /// A box to measure, and what its files are on.
    pub(crate) fn subject(&mut self) -> Result<(GuestSubject, String)> {
        let sandbox = self.runtime.block_on(self.client.create_sandbox(&CreateRequest::default()))?;
        let devbox = sandbox.devbox();
        self.boxes.push(devbox.id.clone());
        let asked = self.runtime.block_on(sandbox.run(Run::new(["stat", "-f", "-c", "%T", "."])))?;
        let file_system = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        let pool = self.server.log();
        let pool = pool.split("pool=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("unknown");
        let box_on = format!("{file_system}, pool {pool}");
        let subject = GuestSubject {
            name: "whole path: client, server, agent",
            hops: 2,
            runtime: Arc::clone(&self.runtime),
            guest: self.client.guest(&devbox.id)?,
            folder: BoxPath::parse(devbox.workdir.as_bytes())?,
            _agent: None,
        };
        Ok((subject, box_on))
    }

    /// From asking for a box until its first file is written, for so many boxes, one after the other.
    pub(crate) fn first_bytes(&mut self, boxes: usize) -> Result<Vec<Duration>> {
        (0..boxes).map(|_| self.first_byte()).collect()
    }

    fn first_byte(&mut self) -> Result<Duration> {
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

    /// Deletes the boxes and ends the server.
    pub(crate) fn stop(mut self) -> Result<()> {
        for id in self.boxes.drain(..) {
            self.runtime.block_on(self.client.delete(&id))?;
        }
        ensure!(self.server.stop()?.success(), "the server did not end well\n{}", self.server.log());
        Ok(())
    }
}
