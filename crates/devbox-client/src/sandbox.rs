//! One box: its files and its processes, with paths resolved against its working directory.

mod changes;
mod files;
mod once;
mod run;

use std::sync::Arc;

use devbox_guest::Guest;
use devbox_types::devbox::Devbox;
use devbox_types::{ActingUser, BoxId, BoxPath, Grant};

use crate::client::Client;
use crate::error::ClientError;

pub use run::{Command, Output};

/// A handle on one box. Cheap to clone; dropping it does nothing to the box.
///
/// Paths that do not begin with `/` start from the box's working directory. `~` is not expanded, `..` is refused.
#[derive(Clone)]
pub struct Sandbox {
    client: Client,
    devbox: Devbox,
    workdir: BoxPath,
    grant: Grant,
    guest: Arc<dyn Guest>,
}

impl Sandbox {
    /// A handle on a box that is known already.
    ///
    /// # Errors
    /// `NoApiKey`; `BadPath` if the server gave the box a working directory that is no path.
    pub fn new(client: Client, devbox: Devbox) -> Result<Self, ClientError> {
        let workdir = parse(devbox.workdir.as_bytes())?;
        let guest = client.guest(&devbox.id)?;
        Ok(Self { client, devbox, workdir, grant: Grant::whole_box(), guest })
    }

    /// The same box, with every call made as another of its users.
    #[must_use]
    pub fn as_user(&self, user: ActingUser) -> Self {
        Self { grant: self.grant.clone().with_user(user), ..self.clone() }
    }

    /// The id of the box.
    #[must_use]
    pub fn id(&self) -> &BoxId {
        &self.devbox.id
    }

    /// The box as it was when it was last looked at.
    #[must_use]
    pub fn devbox(&self) -> &Devbox {
        &self.devbox
    }

    /// The folder that relative paths start from.
    #[must_use]
    pub fn workdir(&self) -> &BoxPath {
        &self.workdir
    }

    /// The plain contract below this handle, for what the handle has no word for.
    #[must_use]
    pub fn guest(&self) -> &Arc<dyn Guest> {
        &self.guest
    }

    /// The grant that this handle passes with its calls: it names the acting user.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The client that this handle came from.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The path that `path` means in this box.
    ///
    /// # Errors
    /// `BadPath`.
    pub fn resolve(&self, path: impl AsRef<[u8]>) -> Result<BoxPath, ClientError> {
        let path = path.as_ref();
        if path.starts_with(b"/") {
            return parse(path);
        }
        let mut whole = self.workdir.as_bytes().to_vec();
        whole.push(b'/');
        whole.extend_from_slice(path);
        parse(&whole)
    }

    /// Looks at the box again.
    pub async fn refresh(&mut self) -> Result<&Devbox, ClientError> {
        self.devbox = self.client.get(self.devbox.id.as_str()).await?;
        Ok(&self.devbox)
    }

    /// Starts the box if it is stopped or failed.
    pub async fn start(&mut self) -> Result<&Devbox, ClientError> {
        self.devbox = self.client.start(&self.devbox.id).await?;
        Ok(&self.devbox)
    }

    /// Ends every process of the box and keeps its files.
    pub async fn stop(&mut self) -> Result<&Devbox, ClientError> {
        self.devbox = self.client.stop(&self.devbox.id).await?;
        Ok(&self.devbox)
    }

    /// Deletes the box and all it holds.
    pub async fn destroy(self) -> Result<(), ClientError> {
        self.client.delete(&self.devbox.id).await
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Sandbox")
            .field("devbox", &self.devbox)
            .field("grant", &self.grant)
            .finish_non_exhaustive()
    }
}

fn parse(path: &[u8]) -> Result<BoxPath, ClientError> {
    BoxPath::parse(path)
        .map_err(|source| ClientError::BadPath { path: String::from_utf8_lossy(path).into_owned(), source })
}
