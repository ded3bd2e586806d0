//! What is measured: something that stores files and gives them back.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use bytes::Bytes;

use crate::content::Content;
use crate::result::{Role, SubjectFacts};
use crate::row::Row;
use crate::tree::Tree;

/// How a large file travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// In one request.
    Whole,
    /// In pieces of 10 MiB, each a request, as tus has it.
    Pieces,
    /// As the client's own `upload_large_file` and `download_large_file` do it, from and to a local file.
    LargeFile,
}

/// A large file to move.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move {
    /// What is in it.
    pub(crate) content: Content,
    /// How it travels.
    pub(crate) manner: Manner,
    /// With it, whoever receives the bytes computes their SHA-256 and compares.
    pub(crate) digest: Option<[u8; 32]>,
}

/// A folder as it came in one stream; it is compared after the time was taken.
#[derive(Debug)]
pub(crate) enum Packed {
    /// As a tar.
    Tar(Vec<Bytes>),
    /// As names and contents.
    Files(Vec<(String, Vec<u8>)>),
}

/// The names in a directory, and how large each file is.
pub(crate) type Listing = BTreeMap<String, u64>;

/// Something that stores files. Calls are made one after the other, over one connection. Paths are relative: a name, or
/// a folder and a name.
///
/// # Contract
/// [`Subject::can`] says which rows it takes part in; what no row asks for keeps its default, which fails. Nothing is checked
/// here but what the answers say: whoever measures compares what comes back.
pub(crate) trait Subject {
    /// What stands about it in tables and files.
    fn facts(&self) -> &SubjectFacts;

    /// Whether it takes part in a row.
    fn can(&self, row: Row) -> bool;

    /// Replaces a small file.
    fn write(&mut self, file: &str, content: Bytes) -> Result<()>;

    /// Reads a small file.
    fn read(&mut self, file: &str) -> Result<Bytes>;

    /// Replaces a small file, safe against power loss.
    fn write_synced(&mut self, _file: &str, _content: Bytes) -> Result<()> {
        bail!("it has no synced writes")
    }

    /// Replaces a large file.
    fn upload(&mut self, file: &str, what: Move) -> Result<()>;

    /// Reads a large file and compares it as it comes.
    fn download(&mut self, file: &str, what: Move) -> Result<()>;

    /// Writes many small files into a folder that is not there yet.
    fn write_many(&mut self, _folder: &str, _tree: &Tree) -> Result<()> {
        bail!("it has no batches")
    }

    /// Unpacks a tar into a folder that is not there yet.
    fn unpack(&mut self, _folder: &str, _archive: Bytes) -> Result<()> {
        bail!("it unpacks nothing")
    }

    /// Sends a folder as one stream.
    fn pack(&mut self, _folder: &str) -> Result<Packed> {
        bail!("it packs nothing")
    }

    /// Lists a folder; `row` says in which form.
    fn list(&mut self, _folder: &str, _row: Row) -> Result<Listing> {
        bail!("it lists nothing")
    }

    /// Starts `true` and waits for its end.
    fn run(&mut self) -> Result<()> {
        bail!("it runs nothing")
    }

    /// Removes a folder with all it holds, if it is there. Never timed.
    fn remove(&mut self, _folder: &str) -> Result<()> {
        bail!("it removes nothing")
    }

    /// Gives up what was replaced and is still kept. Never timed.
    fn tidy(&mut self) -> Result<()> {
        Ok(())
    }

    /// Whether it keeps what it is given: an echo does not.
    fn stores(&self) -> bool {
        self.facts().role != Role::Echo
    }
}
