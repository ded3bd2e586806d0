//! Us: whatever keeps the guest contract. The agent alone is made here, the whole path in `path`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use devbox_client::{LargeOptions, Sandbox};
use devbox_guest::{Body, Guest, GuestClient, UnixTransport, UploadPart};
use devbox_types::agent::{AgentConfig, AgentListen};
use devbox_types::archive::{ArchiveFormat, ArchiveRequest, UnpackRequest};
use devbox_types::file::{Durability, ReadRequest, WriteRequest};
use devbox_types::operation::Operation;
use devbox_types::process::{ExitStatus, ProcessEvent, ProcessRequest};
use devbox_types::upload::{ChunkRequest, UploadRequest, UploadRole};
use devbox_types::{ActingUser, BoxPath, Digests, Entry, Grant, ListRequest, WirePath};
use futures_util::stream::{self, StreamExt as _};
use tokio::runtime::Runtime;

use crate::content::{Check, Content};
use crate::process::{OwnProcess, wait_for_socket};
use crate::result::{Role, SubjectFacts};
use crate::row::Row;
use crate::subject::{Listing, Manner, Move, Packed, Subject};
use crate::tree::Tree;

/// Something that keeps the guest contract, over one connection.
pub(crate) struct GuestSubject {
    facts: SubjectFacts,
    runtime: Arc<Runtime>,
    guest: Arc<dyn Guest>,
    folder: BoxPath,
    /// Behind the client's own functions for large files: a box, and the folder with the local files.
    large: Option<(Sandbox, PathBuf)>,
    _agent: Option<OwnProcess>,
}

/// One thread, as an SDK's caller has it.
pub(crate) fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

impl GuestSubject {
    /// The name of the whole path.
    pub(crate) const IN_BOX: &str = "whole path";

    fn facts_of(name: &str, hops: usize, file_system: &str) -> SubjectFacts {
        SubjectFacts {
            name: name.to_owned(),
            role: Role::Ours,
            hops,
            file_system: file_system.to_owned(),
            publishing: "atomic; a batch all or nothing".to_owned(),
        }
    }

    /// The agent on a unix socket over a plain folder, without server, key or audit.
    pub(crate) fn agent_alone(
        agent: &Path,
        sockets: &Path,
        folder: &Path,
        file_system: &str,
    ) -> Result<Self> {
        let socket = sockets.join("agent");
        let config = AgentConfig {
            listen: AgentListen::Unix(socket.to_string_lossy().into_owned()),
            default_user: ActingUser::root(),
            workdir: folder.to_string_lossy().into_owned(),
            env: BTreeMap::new(),
            payload_cgroups: Vec::new(),
            init: false,
        };
        let mut command = Command::new(agent);
        command.env(AgentConfig::VARIABLE, serde_json::to_string(&config)?).stdin(Stdio::null());
        let process = OwnProcess(command.spawn().with_context(|| format!("start {}", agent.display()))?);
        wait_for_socket(&socket)?;
        let guest = GuestClient::to_agent(Arc::new(UnixTransport::new(socket)));
        Ok(Self {
            facts: Self::facts_of("agent alone", 1, file_system),
            runtime: Arc::new(runtime()?),
            guest: Arc::new(guest),
            folder: BoxPath::parse(folder.as_os_str().as_encoded_bytes())?,
            large: None,
            _agent: Some(process),
        })
    }

    /// A box behind a server. `local` is a folder for the files that the client's own functions read and write.
    pub(crate) fn in_box(
        runtime: Arc<Runtime>,
        sandbox: Sandbox,
        local: PathBuf,
        file_system: &str,
    ) -> Result<Self> {
        Ok(Self {
            facts: Self::facts_of(Self::IN_BOX, 2, file_system),
            runtime,
            guest: Arc::clone(sandbox.guest()),
            folder: sandbox.workdir().clone(),
            large: Some((sandbox, local)),
            _agent: None,
        })
    }

    fn path(&self, file: &str) -> Result<BoxPath> {
        let mut path = self.folder.clone();
        for name in file.split('/') {
            path = path.join(name.as_bytes())?;
        }
        Ok(path)
    }

    fn put(&self, request: WriteRequest, body: Body) -> Result<()> {
        let length = body.length();
        let request = WriteRequest { length, ..request };
        let written = self.runtime.block_on(self.guest.write(&Grant::whole_box(), request, body))?;
        let size = written.entry.size_bytes;
        ensure!(Some(size) == length, "{size} bytes were written");
        Ok(())
    }

    fn upload_in_pieces(&self, write: WriteRequest, content: Content) -> Result<()> {
        let grant = Grant::whole_box();
        self.runtime.block_on(async {
            let request = UploadRequest {
                write,
                digest_follows: false,
                metadata: String::new(),
                role: UploadRole::File,
            };
            let mut status = self.guest.create_upload(&grant, request).await?;
            while !status.is_complete() {
                let offset = status.offset_bytes;
                let length = LargeOptions::PIECE_BYTES.min(content.length - offset);
                let chunk = ChunkRequest {
                    id: status.id.clone(),
                    offset,
                    length: Some(length),
                    checksum: None,
                    digests: Digests::default(),
                };
                let pieces = stream::iter(content.part(offset, length).map(Ok));
                let body = Body::from_stream(pieces, Some(length));
                status = self.guest.append_upload(&grant, chunk, body).await?;
                ensure!(status.offset_bytes == offset + length, "a piece did not count");
            }
            let size = status.entry.map(|entry| entry.size_bytes);
            ensure!(size == Some(content.length), "the file has {size:?} bytes");
            Ok(())
        })
    }

    fn local(&self) -> Result<(&Sandbox, &Path)> {
        let (sandbox, local) = self.large.as_ref().context("it has no client for large files")?;
        Ok((sandbox, local))
    }

    fn upload_local_file(&self, request: WriteRequest, content: Content) -> Result<()> {
        let (sandbox, local) = self.local()?;
        let options = LargeOptions { resumable: false, ..LargeOptions::default() };
        let source = local.join("large-source");
        let mut goes_on = |_| std::ops::ControlFlow::Continue(());
        let sent = sandbox.upload_large_file(&source, request, &options, &mut goes_on);
        let entry = self.runtime.block_on(sent)?;
        ensure!(entry.size_bytes == content.length, "{} bytes were written", entry.size_bytes);
        Ok(())
    }

    fn download_local_file(&self, file: &str) -> Result<()> {
        let (sandbox, local) = self.local()?;
        let options = LargeOptions { resumable: false, ..LargeOptions::default() };
        let mut goes_on = |_| std::ops::ControlFlow::Continue(());
        let target = local.join("large-target");
        let came = sandbox.download_large_file(file, &target, &options, &mut goes_on);
        self.runtime.block_on(came)?;
        Ok(())
    }

    async fn list_pages(&self, path: BoxPath) -> Result<Listing> {
        let mut request = ListRequest::of(path);
        let mut listing = Listing::new();
        loop {
            let page = self.guest.list(&Grant::whole_box(), request.clone()).await?;
            listing.extend(page.entries.iter().map(listed));
            // What comes next begins after the last name; the cursor says whether there is more.
            match (page.next_cursor, page.entries.last()) {
                (Some(_), Some(last)) => request.cursor = Some(name_of(last).to_vec()),
                _ => return Ok(listing),
            }
        }
    }

    async fn list_stream(&self, path: BoxPath) -> Result<Listing> {
        let mut entries = self.guest.walk(&Grant::whole_box(), ListRequest::of(path)).await?;
        let mut listing = Listing::new();
        while let Some(entry) = entries.next().await {
            listing.extend([listed(&entry?)]);
        }
        Ok(listing)
    }
}

fn name_of(entry: &Entry) -> &[u8] {
    entry.path.0.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

fn listed(entry: &Entry) -> (String, u64) {
    (String::from_utf8_lossy(name_of(entry)).into_owned(), entry.size_bytes)
}

impl Subject for GuestSubject {
    fn facts(&self) -> &SubjectFacts {
        &self.facts
    }

    fn can(&self, row: Row) -> bool {
        match row {
            Row::FirstByte => false,
            Row::UploadLargeFile | Row::DownloadLargeFile => self.large.is_some(),
            _ => true,
        }
    }

    fn write(&mut self, file: &str, content: Bytes) -> Result<()> {
        self.put(WriteRequest::to(self.path(file)?), Body::from_bytes(content))
    }

    fn write_synced(&mut self, file: &str, content: Bytes) -> Result<()> {
        let request = WriteRequest { durability: Durability::Power, ..WriteRequest::to(self.path(file)?) };
        self.put(request, Body::from_bytes(content))
    }

    fn read(&mut self, file: &str) -> Result<Bytes> {
        let (path, grant) = (self.path(file)?, Grant::whole_box());
        self.runtime.block_on(async {
            let content = self.guest.read(&grant, ReadRequest::whole(path)).await?;
            Ok(content.body.collect(1 << 20).await?)
        })
    }

    fn upload(&mut self, file: &str, what: Move) -> Result<()> {
        let Move { content, manner, digest } = what;
        let length = Some(content.length);
        let request = WriteRequest {
            length,
            digests: digest.map(Digests::of_sha256).unwrap_or_default(),
            ..WriteRequest::to(self.path(file)?)
        };
        match manner {
            Manner::Whole => {
                self.put(request, Body::from_stream(stream::iter(content.chunks().map(Ok)), length))
            }
            Manner::Pieces => self.upload_in_pieces(request, content),
            Manner::LargeFile => self.upload_local_file(request, content),
        }
    }

    fn download(&mut self, file: &str, what: Move) -> Result<()> {
        let (path, grant) = (self.path(file)?, Grant::whole_box());
        match what.manner {
            Manner::Whole => self.runtime.block_on(async {
                let content = self.guest.read(&grant, ReadRequest::whole(path)).await?;
                Check::new(what.content, what.digest).whole(content.body).await
            }),
            Manner::LargeFile => self.download_local_file(file),
            Manner::Pieces => bail!("it is not fetched in pieces"),
        }
    }

    fn write_many(&mut self, folder: &str, tree: &Tree) -> Result<()> {
        let folder = self.path(folder)?;
        let parts = tree.iter().map(move |(name, content)| {
            let path = folder.join(name.as_bytes()).expect("a name without a slash is a path");
            let length = Some(content.len() as u64);
            let request = WriteRequest { make_parents: true, length, ..WriteRequest::to(path) };
            Ok(UploadPart { request, body: Body::from_bytes(content) })
        });
        let parts = stream::iter(parts).boxed();
        self.runtime.block_on(self.guest.write_many(&Grant::whole_box(), parts))?;
        Ok(())
    }

    fn unpack(&mut self, folder: &str, archive: Bytes) -> Result<()> {
        let request = UnpackRequest {
            make_parents: true,
            ..UnpackRequest::into(self.path(folder)?, ArchiveFormat::Tar)
        };
        let body = Body::from_bytes(archive);
        self.runtime.block_on(self.guest.unpack(&Grant::whole_box(), request, body))?;
        Ok(())
    }

    fn pack(&mut self, folder: &str) -> Result<Packed> {
        let request = ArchiveRequest::of(vec![WirePath(self.path(folder)?)], ArchiveFormat::Tar);
        self.runtime.block_on(async {
            let mut body = self.guest.pack(&Grant::whole_box(), request).await?;
            let mut chunks = Vec::new();
            while let Some(chunk) = body.next().await {
                chunks.push(chunk?);
            }
            Ok(Packed::Tar(chunks))
        })
    }

    fn list(&mut self, folder: &str, row: Row) -> Result<Listing> {
        let path = self.path(folder)?;
        match row {
            Row::ListPages => self.runtime.block_on(self.list_pages(path)),
            _ => self.runtime.block_on(self.list_stream(path)),
        }
    }

    fn run(&mut self) -> Result<()> {
        let request: ProcessRequest = serde_json::from_value(serde_json::json!({ "argv": ["true"] }))?;
        self.runtime.block_on(async {
            let mut events = self.guest.run(&Grant::whole_box(), request, stream::empty().boxed()).await?;
            let mut ended = None;
            while let Some(event) = events.next().await {
                if let ProcessEvent::Exited(status) = event? {
                    ended = Some(status);
                }
            }
            ensure!(matches!(ended, Some(ExitStatus { code: Some(0), .. })), "`true` ended so: {ended:?}");
            Ok(())
        })
    }

    fn remove(&mut self, folder: &str) -> Result<()> {
        let removal = Operation::Delete { path: self.path(folder)?, recursive: true, missing_ok: true };
        self.runtime.block_on(self.guest.apply(&Grant::whole_box(), vec![removal]))?;
        Ok(())
    }
}
