//! Parts of a file on its way: bytes without a target, kept in the state directory until they are joined.

use std::os::fd::AsFd;

use devbox_types::{BoxPath, Right};
use rustix::fs::{Mode, OFlags};

use super::{Fresh, Keeper, Parked, Resting, check_name, open_unnamed};
use crate::attributes::Attributes;
use crate::content::{self, Stop};
use crate::error::{At as _, FsError};
use crate::stage::reserve_space;
use crate::state::StateDirectory;
use crate::view::View;

impl View {
    /// Begins a part of `length` bytes, and asks for the disk space.
    ///
    /// # Errors
    /// [`FsError::TooLarge`], [`FsError::NoSpace`]; [`FsError::Unsupported`] where this process has no state directory.
    pub fn park_part(&self, length: u64) -> Result<(Parked, Resting), FsError> {
        self.need(Right::Write)?;
        if length > self.limits.bytes {
            return Err(FsError::TooLarge { limit_bytes: self.limits.bytes });
        }
        let path = BoxPath::root();
        let state = self.parts_directory()?;
        let directory = state.directory().try_clone().map_err(|source| unopened(&source))?;
        let whereabouts = state.path_of(&self.engine, directory.as_fd());
        let whereabouts = whereabouts.at("find the directory of parts below", &path)?;
        let file = open_unnamed(&directory).at("keep a part below", &path)?;
        reserve_space(&file, length, &path)?;
        let inode = Attributes::of(file.as_fd()).at("look at a part below", &path)?.id().inode;
        let name = self.engine.names.fresh();
        let resting = Resting { directory: whereabouts, name: name.clone(), inode, made_directories: 0 };
        let (view, keeper, made) = (self.clone(), Keeper::Process, (Vec::new(), 0));
        let fresh = Some(Fresh(None));
        Ok((Parked { view, keeper, directory, name, file, stored: 0, path, made, fresh }, resting))
    }

    /// Finds a part again. Where it lies is not believed: only its name and inode are looked at.
    ///
    /// # Errors
    /// [`FsError::NotFound`] if what lies there is not it.
    pub fn unpark_part(&self, resting: &Resting) -> Result<Parked, FsError> {
        self.need(Right::Write)?;
        let path = BoxPath::root();
        check_name(&resting.name, &path)?;
        let directory =
            self.parts_directory()?.directory().try_clone().map_err(|source| unopened(&source))?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, &resting.name[..], flags, Mode::empty());
        let file = file.at("open a part below", &path)?;
        let attributes = Attributes::of(file.as_fd()).at("look at a part below", &path)?;
        let is_it = attributes.is_file() && attributes.links() == 1 && attributes.id().inode == resting.inode;
        if !is_it || attributes.uid() != self.engine.own().uid {
            return Err(FsError::NotFound { path });
        }
        let (view, keeper, name) = (self.clone(), Keeper::Process, resting.name.clone());
        let (stored, made) = (attributes.size(), (Vec::new(), 0));
        Ok(Parked { view, keeper, directory, name, file, stored, path, made, fresh: None })
    }

    fn parts_directory(&self) -> Result<&StateDirectory, FsError> {
        let unsupported = || FsError::Unsupported { step: "keep parts of uploads at", path: BoxPath::root() };
        self.engine.state.as_ref().ok_or_else(unsupported)
    }
}

impl Parked {
    /// Stores all bytes of a part behind those that are stored: shared blocks where the file system can, and never through
    /// the memory of this process unless it must.
    ///
    /// # Errors
    /// [`FsError::NoSpace`] and others, and [`FsError::Conflict`] if the part has become shorter. Some of the bytes may be
    /// stored.
    pub fn append_part(&mut self, part: &Self) -> Result<(), FsError> {
        let limits = self.view.limits;
        let proceed = || limits.check_time().map_err(Stop::Engine);
        let (from, to) = (part.file.as_fd(), self.file.as_fd());
        let copied = content::append(from, part.stored, to, self.stored, &proceed);
        copied.map_err(|stop| stop.at("join the parts of", &self.path))?;
        let size = Attributes::of(to).at("look at", &self.path)?.size();
        if size != self.stored + part.stored {
            return Err(FsError::Conflict { paths: vec![self.path.clone()] });
        }
        self.stored = size;
        Ok(())
    }
}

fn unopened(source: &std::io::Error) -> FsError {
    let errno = rustix::io::Errno::from_io_error(source).unwrap_or(rustix::io::Errno::MFILE);
    FsError::at("open the directory of parts below", &BoxPath::root(), errno)
}
