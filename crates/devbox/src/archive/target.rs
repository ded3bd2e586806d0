//! Where a packed archive goes.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use super::ArchiveCommandError;
use crate::output;

/// Where an archive is written. A file appears when it is whole; dropped before that, nothing of it stays.
#[derive(Debug)]
pub(super) enum Target {
    Output,
    File(Staged),
}

/// A file under a name of its own, until it takes its place.
#[derive(Debug)]
pub(super) struct Staged {
    file: File,
    staging: PathBuf,
    path: PathBuf,
    published: bool,
}

/// Whether what was typed means standard output.
pub(super) fn is_standard_output(path: &Path) -> bool {
    path == Path::new("-")
}

impl Target {
    pub(super) fn open(path: &Path) -> Result<Self, ArchiveCommandError> {
        if is_standard_output(path) {
            return match std::io::stdout().is_terminal() {
                true => Err(ArchiveCommandError::Terminal),
                false => Ok(Self::Output),
            };
        }
        // A device or pipe that the person names has no other place to take.
        if path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let file = File::options().write(true).open(path).map_err(unwritable(path))?;
            return Ok(Self::File(Staged {
                file,
                staging: path.to_owned(),
                path: path.to_owned(),
                published: true,
            }));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let staging = path.with_file_name(format!(".{name}.devbox-{}", std::process::id()));
        let file = File::options().write(true).create_new(true).open(&staging).map_err(unwritable(path))?;
        Ok(Self::File(Staged { file, staging, path: path.to_owned(), published: false }))
    }

    pub(super) fn write(&mut self, chunk: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Output => output::bytes(chunk),
            Self::File(staged) => Ok(staged.file.write_all(chunk).map_err(unwritable(&staged.path))?),
        }
    }

    pub(super) fn publish(&mut self) -> anyhow::Result<()> {
        let Self::File(staged) = self else { return Ok(()) };
        if !staged.published {
            std::fs::rename(&staged.staging, &staged.path).map_err(unwritable(&staged.path))?;
            staged.published = true;
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            // Left behind, it is a hidden file that says whose it is.
            let _ = std::fs::remove_file(&self.staging);
        }
    }
}

fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> ArchiveCommandError {
    let path = path.to_owned();
    move |source| ArchiveCommandError::Unwritable { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.tar");
        std::fs::write(&path, "old").expect("written");
        let mut target = Target::open(&path).expect("a target");
        target.write(b"new").expect("written");
        assert_eq!(std::fs::read(&path).expect("read"), b"old");
        drop(target);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a list").count(), 1, "nothing is left");
        let mut target = Target::open(&path).expect("a target");
        target.write(b"new").expect("written");
        target.publish().expect("published");
        drop(target);
        assert_eq!(std::fs::read(&path).expect("read"), b"new");
        assert!(Target::open(&folder.path().join("missing/a.tar")).is_err());
    }
}
