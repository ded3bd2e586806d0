//! An archive of whichever format.

use std::io::{Read, Write};

use devbox_types::archive::ArchiveFormat;

use crate::compression::Encoder;
use crate::error::ArchiveError;
use crate::tar::TarWriter;
use crate::zip::{EntryHead, ZipWriter};

/// An archive that is being written, in the format that was asked for.
#[derive(Debug)]
pub enum ArchiveWriter<W: Write> {
    /// A zip.
    Zip(Box<ZipWriter<W>>),
    /// A tar, compressed or not.
    Tar(Box<TarWriter<Encoder<W>>>),
}

impl<W: Write> ArchiveWriter<W> {
    /// An archive without entries.
    pub fn new(format: ArchiveFormat, output: W) -> Result<Self, ArchiveError> {
        let encoder = match format {
            ArchiveFormat::Zip => return Ok(Self::Zip(Box::new(ZipWriter::new(output)))),
            ArchiveFormat::Tar => Encoder::Plain(output),
            ArchiveFormat::TarGz => Encoder::gzip(output),
            ArchiveFormat::TarZst => {
                Encoder::zstd(output).map_err(|source| ArchiveError::Write { source })?
            }
        };
        Ok(Self::Tar(Box::new(TarWriter::new(encoder))))
    }

    /// Whether several names of one file, and extended attributes, can be told.
    #[must_use]
    pub fn is_rich(&self) -> bool {
        matches!(self, Self::Tar(_))
    }

    /// Adds a directory.
    pub fn add_directory(&mut self, head: &EntryHead<'_>) -> Result<(), ArchiveError> {
        match self {
            Self::Zip(zip) => zip.add_directory(head),
            Self::Tar(tar) => tar.add_directory(head),
        }
    }

    /// Adds a symlink.
    pub fn add_symlink(&mut self, head: &EntryHead<'_>, target: &[u8]) -> Result<(), ArchiveError> {
        match self {
            Self::Zip(zip) => zip.add_symlink(head, target),
            Self::Tar(tar) => tar.add_symlink(head, target),
        }
    }

    /// Adds a file of `size` bytes.
    pub fn add_file(
        &mut self,
        head: &EntryHead<'_>,
        size: u64,
        content: impl Read,
    ) -> Result<(), ArchiveError> {
        match self {
            Self::Zip(zip) => zip.add_file(head, size, content),
            Self::Tar(tar) => tar.add_file(head, size, content),
        }
    }

    /// Writes the end, and returns what it was written to.
    pub fn finish(self) -> Result<W, ArchiveError> {
        match self {
            Self::Zip(zip) => zip.finish(),
            Self::Tar(tar) => tar.finish()?.finish().map_err(|source| ArchiveError::Write { source }),
        }
    }
}
