//! The plain pool: a directory per box.

mod remove;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, StatVfs};

use super::{Pool, directory_names, make_layers, open_below};
use crate::error::{Step, StepError};
use crate::rootfs::make_directory;
use crate::sys::clone::Child;

#[derive(Debug)]
pub(super) struct PlainPool {
    boxes: OwnedFd,
    /// What has lost its name and is being removed.
    doomed: OwnedFd,
}

/// Opens the pool.
pub(super) fn open(data: &Path) -> Result<PlainPool, StepError> {
    let folder = data.join("plain");
    let directory = |name: &str| {
        let path = folder.join(name);
        make_directory(&path, 0o700)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok::<_, io::Error>(rustix::fs::open(&path, flags, Mode::empty())?)
    };
    make_directory(&folder, 0o700).step("make the pool's directory")?;
    let boxes = directory("boxes").step("open the pool's directory of boxes")?;
    let doomed = directory("doomed").step("open the pool's directory of removed boxes")?;
    Ok(PlainPool { boxes, doomed })
}

impl Pool for PlainPool {
    fn kind(&self) -> &'static str {
        "plain"
    }

    fn make(&self, name: &str) -> io::Result<OwnedFd> {
        rustix::fs::mkdirat(&self.boxes, name, Mode::from_raw_mode(0o700))?;
        let made = self.open(name).and_then(|directory| make_layers(&directory).map(|()| directory));
        if made.is_err() {
            for layer in super::LAYERS {
                // Those that were not made are not there to be removed.
                let _absent =
                    rustix::fs::unlinkat(&self.boxes, format!("{name}/{layer}"), AtFlags::REMOVEDIR);
            }
            rustix::fs::unlinkat(&self.boxes, name, AtFlags::REMOVEDIR)?;
        }
        made
    }

    fn open(&self, name: &str) -> io::Result<OwnedFd> {
        open_below(&self.boxes, name)
    }

    fn remove(&self, name: &str) -> io::Result<Option<Child>> {
        match rustix::fs::renameat(&self.boxes, name, &self.doomed, name) {
            Ok(()) => remove::in_child(open_below(&self.doomed, name)?, self.doomed.as_fd(), name).map(Some),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        directory_names(&self.boxes)
    }

    fn sweep(&self) -> io::Result<Option<Child>> {
        for name in directory_names(&self.doomed)? {
            remove::in_child(open_below(&self.doomed, &name)?, self.doomed.as_fd(), &name)?.wait()?;
        }
        Ok(None)
    }

    /// Boxes write to the host's disk itself, where they and everybody else see how full it is.
    fn keep_reserve(&self) -> io::Result<()> {
        Ok(())
    }

    fn space(&self) -> io::Result<StatVfs> {
        Ok(rustix::fs::fstatvfs(&self.boxes)?)
    }
}
