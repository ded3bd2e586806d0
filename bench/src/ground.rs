//! The file system that floors and agent stand on: the same as a box's, or a given folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::machine::file_system;

/// Sparse; large files are written three times over and a replace keeps the old one until the end.
const IMAGE_BYTES: u64 = 8 << 30;

/// A folder to work in, its file system's name, and what has to be taken down again.
#[derive(Debug)]
pub(crate) struct Ground {
    /// Where to work.
    pub(crate) folder: PathBuf,
    /// What it is on.
    pub(crate) file_system: String,
    mounts: Vec<PathBuf>,
    /// Holds image, mount points and sockets.
    pub(crate) scratch: TempDir,
}

impl Ground {
    /// An overlay over an empty layer, its upper on a btrfs in a sparse file: what a box's root is made of.
    pub(crate) fn overlay_on_btrfs() -> Result<Self> {
        let scratch = TempDir::with_prefix("devbox-bench-")?;
        let folder = scratch.path().join("overlay");
        let mut ground =
            Self { folder: folder.clone(), file_system: String::new(), mounts: Vec::new(), scratch };
        let inside = |name: &str| -> Result<PathBuf> {
            let folder = ground.scratch.path().join(name);
            std::fs::create_dir(&folder)?;
            Ok(folder)
        };
        let (disk, lower) = (inside("disk")?, inside("lower")?);
        inside("overlay")?;
        let image = ground.scratch.path().join("image");
        std::fs::File::create(&image)?.set_len(IMAGE_BYTES)?;
        run(Command::new("mkfs.btrfs").arg("-q").arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&disk))?;
        ground.mounts.push(disk.clone());
        let (upper, work) = (disk.join("upper"), disk.join("work"));
        std::fs::create_dir(&upper)?;
        std::fs::create_dir(&work)?;
        let layers =
            format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        run(Command::new("mount").args(["-t", "overlay", "-o", &layers, "overlay"]).arg(&folder))?;
        ground.mounts.push(folder);
        let (top, bottom) = (file_system(&ground.folder)?, file_system(&disk)?);
        ground.file_system = format!("{top} on {bottom} on a loop device");
        Ok(ground)
    }

    /// This folder, or rather a new one in it.
    pub(crate) fn in_folder(parent: &Path) -> Result<Self> {
        let scratch = TempDir::with_prefix_in("devbox-bench-", parent)?;
        let folder = scratch.path().join("files");
        std::fs::create_dir(&folder)?;
        let file_system = file_system(&folder)?;
        Ok(Self { folder, file_system, mounts: Vec::new(), scratch })
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        while let Some(mount) = self.mounts.pop() {
            if let Err(error) = run(Command::new("umount").arg(&mount)) {
                eprintln!("{error:#}");
            }
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("start {:?}", command.get_program()))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{:?}: {complaint}", command.get_program());
    Ok(())
}
