//! What is measured: something that stores files and gives them back.

use anyhow::Result;
use bytes::Bytes;

use crate::content::Content;

/// Something that stores files. Calls are made one after the other, over one connection.
///
/// # Contract
/// A write replaces the file atomically. With a `digest`, whoever receives the bytes computes
/// their SHA-256 and compares.
pub(crate) trait Subject {
    /// How it is called in the table.
    fn name(&self) -> &'static str;

    /// How many sockets a byte passes, which is whose floor it is compared with.
    fn hops(&self) -> usize;

    /// Whether it keeps what it is given: an echo does not.
    fn stores(&self) -> bool;

    /// Replaces a small file.
    fn write(&mut self, file: &str, content: Bytes) -> Result<()>;

    /// Reads a small file.
    fn read(&mut self, file: &str) -> Result<Bytes>;

    /// Replaces a large file.
    fn upload(&mut self, file: &str, content: Content, digest: Option<[u8; 32]>) -> Result<()>;

    /// Reads a large file and compares it as it comes.
    fn download(&mut self, file: &str, content: Content, digest: Option<[u8; 32]>) -> Result<()>;
}
