//! Many small files: what they hold, as parts of a batch and as an archive.

use anyhow::{Result, ensure};
use bytes::Bytes;
use devbox_archive::{EntryHead, Member, MemberKind, Sink, TarWriter, unpack_tar};
use devbox_types::archive::ArchiveFormat;
use devbox_types::{Problem, Timestamp};

use crate::content;
use crate::subject::{Listing, Packed};

/// So many files of 1 KiB, each with content of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tree {
    /// How many.
    pub(crate) files: usize,
}

/// The size of each file.
pub(crate) const FILE_SIZE: usize = 1024;

impl Tree {
    /// Names and contents, in order.
    pub(crate) fn iter(self) -> impl Iterator<Item = (String, Bytes)> + Send + 'static {
        (0..self.files).map(|index| (Self::name(index), Self::content(index)))
    }

    /// The name of a file.
    pub(crate) fn name(index: usize) -> String {
        format!("file-{index:05}.txt")
    }

    /// The content of a file.
    pub(crate) fn content(index: usize) -> Bytes {
        content::small(index as u64).slice(..FILE_SIZE)
    }

    /// What a listing of it should be.
    pub(crate) fn listing(self) -> Listing {
        (0..self.files).map(|index| (Self::name(index), FILE_SIZE as u64)).collect()
    }

    /// It as a tar, its files at the top.
    pub(crate) fn tar(self) -> Result<Bytes> {
        let mut writer = TarWriter::new(Vec::new());
        for (name, content) in self.iter() {
            let head = EntryHead {
                name: name.as_bytes(),
                mode: 0o644,
                modified: Timestamp::from_nanoseconds(0),
                uid: 0,
                gid: 0,
                attributes: &[],
            };
            writer.add_file(&head, FILE_SIZE as u64, &content[..])?;
        }
        Ok(Bytes::from(writer.finish()?))
    }

    /// Compares what came with these files, whatever folder they are in.
    pub(crate) fn check(self, packed: Packed) -> Result<()> {
        let mut files = match packed {
            Packed::Files(files) => files,
            Packed::Tar(archive) => {
                let mut found = Found::default();
                unpack_tar(ArchiveFormat::Tar, Chunks(archive.into()), 0, &mut found)
                    .map_err(|problem| anyhow::anyhow!("the archive cannot be read: {problem}"))?;
                found.files
            }
        };
        ensure!(files.len() == self.files, "{} files of {} came", files.len(), self.files);
        files.sort_unstable();
        for ((name, content), (expected_name, expected)) in files.iter().zip(self.iter()) {
            ensure!(*name == expected_name, "{name} came, not {expected_name}");
            ensure!(*content == expected, "{name} holds other bytes");
        }
        Ok(())
    }
}

/// Chunks, read one after the other.
struct Chunks(std::collections::VecDeque<Bytes>);

impl std::io::Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.0.front().is_some_and(Bytes::is_empty) {
            self.0.pop_front();
        }
        let Some(chunk) = self.0.front_mut() else { return Ok(0) };
        let length = chunk.len().min(buffer.len());
        buffer[..length].copy_from_slice(&chunk.split_to(length));
        Ok(length)
    }
}

#[derive(Default)]
struct Found {
    files: Vec<(String, Vec<u8>)>,
}

impl Sink for Found {
    fn begin(&mut self, member: Member) -> Result<(), Problem> {
        if let MemberKind::File { .. } = member.kind {
            let path = String::from_utf8_lossy(member.path.as_bytes()).into_owned();
            let name = path.rsplit('/').next().unwrap_or_default();
            self.files.push((name.to_owned(), Vec::with_capacity(FILE_SIZE)));
        }
        Ok(())
    }

    fn content(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        if let Some((_, content)) = self.files.last_mut() {
            content.extend_from_slice(chunk);
        }
        Ok(())
    }

    fn hole(&mut self, length: u64) -> Result<(), Problem> {
        if let Some((_, content)) = self.files.last_mut() {
            content.resize(content.len() + usize::try_from(length).unwrap_or(usize::MAX), 0);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tar_of_other_files_is_found_out() {
        let tree = Tree { files: 20 };
        let tar = tree.tar().expect("a tar");
        tree.check(Packed::Tar(vec![tar.slice(..700), tar.slice(700..)])).expect("the same");
        Tree { files: 21 }.check(Packed::Tar(vec![tar.clone()])).expect_err("one is missing");
        let mut other = tar.to_vec();
        other[512 + 100] ^= 1;
        tree.check(Packed::Tar(vec![Bytes::from(other)])).expect_err("one bit differs");
    }
}
