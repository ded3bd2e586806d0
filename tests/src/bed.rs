//! A live server and a client of it.

use anyhow::Result;
use devbox_client::{Client, ClientConfig, ClientError, Command, CreateRequest, Output, Sandbox};
use devbox_testkit::{LiveServer, ServerOptions};
use devbox_types::ErrorCode;
use devbox_types::devbox::CreateKeyRequest;

/// A live server and a client with its first key. Dropping it ends the server and fails if anything is left.
#[derive(Debug)]
pub struct Bed {
    /// The client.
    pub client: Client,
    /// The server.
    pub server: LiveServer,
}

impl Bed {
    /// Starts a server with default options.
    pub fn start() -> Result<Self> {
        Self::start_with(ServerOptions::default())
    }

    /// Starts a server so.
    pub fn start_with(options: ServerOptions) -> Result<Self> {
        let server = LiveServer::start_with(options)?;
        Ok(Self { client: client(&server, server.key())?, server })
    }

    /// Makes a box of the default template.
    pub async fn sandbox(&self) -> Result<Sandbox> {
        Ok(self.client.create_sandbox(&CreateRequest::default()).await?)
    }

    /// Makes a box in which `python3` runs.
    pub async fn python(&self) -> Result<Sandbox> {
        let request = CreateRequest { language: Some("python".to_owned()), ..CreateRequest::default() };
        Ok(self.client.create_sandbox(&request).await?)
    }

    /// A client with a new key of another project.
    pub async fn stranger(&self) -> Result<Client> {
        let mut request: CreateKeyRequest = serde_json::from_str("{}")?;
        request.project = Some("other".to_owned());
        let key = self.client.create_key(&request).await?;
        client(&self.server, key.secret.as_deref().unwrap_or_default())
    }

    /// Starts the server again after it ended, and reconnects.
    pub fn restart(&mut self) -> Result<()> {
        self.server.launch()?;
        self.client = client(&self.server, self.server.key())?;
        Ok(())
    }
}

fn client(server: &LiveServer, key: &str) -> Result<Client> {
    Ok(Client::connect(ClientConfig::new(server.url(), Some(key.to_owned())))?)
}

/// Runs a line of shell in a box.
pub async fn shell(sandbox: &Sandbox, line: &str) -> Result<Output, ClientError> {
    sandbox.run(Command::new(["sh", "-c", line])).await
}

/// Runs a line of shell in a box, expects success and returns what it printed, trimmed.
pub async fn printed(sandbox: &Sandbox, line: &str) -> Result<String> {
    let output = shell(sandbox, line).await?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.is_success(), "`{line}` ended with {:?}: {complaint}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The code with which a call failed.
///
/// # Panics
/// If it did not fail, or not with a problem.
#[track_caller]
pub fn code_of<T>(answer: Result<T, ClientError>) -> ErrorCode {
    match answer {
        Ok(_) => panic!("the call succeeded"),
        Err(error) => error.problem().code,
    }
}
