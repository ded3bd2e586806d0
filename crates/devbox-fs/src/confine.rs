//! Resolving paths below one descriptor: with openat2, or by hand, component by component.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::attributes::Attributes;

/// Linux's MAXSYMLINKS.
const MAX_LINKS: usize = 40;
/// openat2 answers EAGAIN when a rename anywhere on the machine races a `..`; who renames without pause could keep others from
/// their files, so beyond this many the way is gone by hand.
const MAX_RACES: usize = 16;

/// How paths are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// By the kernel, with `openat2` (Linux 5.6).
    OpenAt2,
    /// By hand, one O_NOFOLLOW open per component; for kernels and seccomp filters without openat2.
    Descriptors,
}

impl Confinement {
    /// Finds out what works here.
    pub(crate) fn probe(directory: BorrowedFd<'_>) -> Self {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match rustix::fs::openat2(directory, ".", flags, Mode::empty(), ResolveFlags::IN_ROOT) {
            Ok(_) => Self::OpenAt2,
            Err(_) => Self::Descriptors,
        }
    }
}

/// A directory below which paths are resolved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Anchor<'a> {
    pub(crate) directory: BorrowedFd<'a>,
    /// Whether a link or `..` that leads out is an error (EXDEV); else it ends at the anchor, as at `/`.
    pub(crate) strict: bool,
    pub(crate) confinement: Confinement,
}

impl Anchor<'_> {
    /// Opens what `path` leads to with O_PATH. `path` may hold `..` and a leading `/`, because links do.
    ///
    /// EXDEV means that it leads out of a strict anchor.
    pub(crate) fn open(&self, path: &[u8], follow: bool) -> Result<OwnedFd, Errno> {
        let flags = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        match self.confinement {
            Confinement::OpenAt2 => match self.open_by_kernel(path, flags) {
                Err(Errno::AGAIN) => self.open_by_hand(path, follow),
                opened => opened,
            },
            Confinement::Descriptors => self.open_by_hand(path, follow),
        }
    }

    /// The same for a directory, or a link to one.
    pub(crate) fn open_directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        if self.confinement == Confinement::OpenAt2 {
            match self.open_by_kernel(path, OFlags::DIRECTORY) {
                Err(Errno::AGAIN) => {}
                opened => return opened,
            }
        }
        let fd = self.open_by_hand(path, true)?;
        if Attributes::of(fd.as_fd())?.is_directory() { Ok(fd) } else { Err(Errno::NOTDIR) }
    }

    /// The same for a directory by the path that the kernel gave for it: a link on the way (ELOOP) was put there since.
    pub(crate) fn reopen_directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        if self.confinement == Confinement::OpenAt2 {
            return self.resolve(path, OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS);
        }
        let mut here = step_into(self.directory, b".")?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            if name == b".." {
                return Err(Errno::INVAL);
            }
            here = step_into(here.as_fd(), name)?;
        }
        Ok(here)
    }

    fn open_by_kernel(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        self.resolve(path, flags, ResolveFlags::NO_MAGICLINKS)
    }

    fn resolve(&self, path: &[u8], flags: OFlags, links: ResolveFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
        let scope = if self.strict { ResolveFlags::BENEATH } else { ResolveFlags::IN_ROOT };
        let path = if path.is_empty() { b"." } else { path };
        for _ in 0..MAX_RACES {
            let resolve = scope | links;
            match rustix::fs::openat2(self.directory, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Holds a descriptor for every directory that it went through, so that `..` goes back to where it came from however
    /// the tree is changed meanwhile.
    fn open_by_hand(&self, path: &[u8], follow: bool) -> Result<OwnedFd, Errno> {
        let mut way: Vec<OwnedFd> = Vec::new();
        let mut pending = Vec::new();
        self.push(path, &mut pending, &mut way)?;
        let mut links = 0;
        while let Some(component) = pending.pop() {
            match &component[..] {
                b"" | b"." => continue,
                b".." if way.pop().is_none() && self.strict => return Err(Errno::XDEV),
                b".." => continue,
                _ => {}
            }
            let here = way.last().map_or(self.directory, AsFd::as_fd);
            let entry = open_entry(here, &component)?;
            let kind = Attributes::of(entry.as_fd())?.file_type();
            let is_last = pending.is_empty();
            if kind == FileType::Symlink && (follow || !is_last) {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                self.push(&link_target(entry.as_fd())?, &mut pending, &mut way)?;
            } else if kind != FileType::Directory && !is_last {
                return Err(Errno::NOTDIR);
            } else {
                way.push(entry);
            }
        }
        match way.pop() {
            Some(fd) => Ok(fd),
            None => open_entry(self.directory, b"."),
        }
    }

    /// Puts the components of a path, or of a link's target, before those that are still to come.
    fn push(&self, path: &[u8], pending: &mut Vec<Vec<u8>>, way: &mut Vec<OwnedFd>) -> Result<(), Errno> {
        if path.first() == Some(&b'/') {
            if self.strict {
                return Err(Errno::XDEV);
            }
            way.clear();
        }
        pending.extend(path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
        Ok(())
    }
}

/// Opens one name in a directory with O_PATH, whatever it is, without following it.
pub(crate) fn open_entry(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

/// What a link that is held open with O_PATH says; ELOOP for one that procfs makes up.
///
/// Such a link (`/proc/self/fd/0`, `/proc/1/root`) leads to what was opened, wherever that is. Its text is the path of another
/// namespace, or none, and the kernel refuses it under RESOLVE_NO_MAGICLINKS. All others of procfs (`self`, `mounts`) are relative.
pub(crate) fn link_target(link: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let target = rustix::fs::readlinkat(link, "", Vec::new())?.into_bytes();
    let is_made_up =
        target.first() == Some(&b'/') && rustix::fs::fstatfs(link)?.f_type == rustix::fs::PROC_SUPER_MAGIC;
    if is_made_up { Err(Errno::LOOP) } else { Ok(target) }
}

/// Opens a directory in a directory with O_PATH, never through a link.
fn step_into(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

/// Opens a directory in a directory for reading its names; ENOTDIR or ELOOP if it is something else by now.
pub(crate) fn open_listing(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}
