//! Removing a tree that a box filled.
//!
//! The tree is hostile, so three things stand between it and the host. Nothing runs in it any more, so nothing can be
//! swapped under the walk. The walk opens directories by single names below an open descriptor and follows no link. And
//! it happens in a child process that is locked into the tree (chroot) and keeps only the two capabilities that removing
//! needs: a name that the walk followed wrongly would still be a name inside. Beside the tree the child uses one descriptor,
//! that of the directory above, and only to remove the emptied tree itself.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::sys::clone::{self, Child};

/// Empties `tree` in a child, which then removes it from `parent`.
pub(super) fn in_child(tree: OwnedFd, parent: BorrowedFd<'_>, name: &str) -> io::Result<Child> {
    clone::child(0, None, || {
        let removed = lock_in(&tree).and_then(|()| empty(tree.as_fd())).and_then(|()| {
            rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
            Ok(())
        });
        match removed {
            Ok(()) => 0,
            Err(error) => {
                tracing::error!(%error, name, "cannot remove the files of a box; the next start tries again");
                1
            }
        }
    })
}

fn lock_in(tree: &OwnedFd) -> io::Result<()> {
    rustix::process::fchdir(tree)?;
    rustix::process::chroot(".")?;
    let kept = CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_no_new_privs(true)?;
    rustix::thread::set_capabilities(None, sets)?;
    Ok(())
}

/// Removes everything below `tree`.
///
/// A box may nest directories deeper than this process may open files, or than its stack; so nothing is descended into:
/// the subdirectories of a directory are moved up into `tree`, and the directory is then removed. Each entry is touched
/// a constant number of times, and two directories are open at any time.
fn empty(tree: BorrowedFd<'_>) -> io::Result<()> {
    let mut moved = 0_u64;
    loop {
        let names = names(tree)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if !is_removed(tree, &name)? {
                dissolve(tree, &name, &mut moved)?;
            }
        }
    }
}

/// Removes a directory after moving its subdirectories up.
fn dissolve(tree: BorrowedFd<'_>, name: &CString, moved: &mut u64) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(tree, name, flags, Mode::empty())?;
    for inner in names(directory.as_fd())? {
        if !is_removed(directory.as_fd(), &inner)? {
            move_up(directory.as_fd(), &inner, tree, moved)?;
        }
    }
    Ok(rustix::fs::unlinkat(tree, name, AtFlags::REMOVEDIR)?)
}

/// Gives a directory a name of its own in `tree`.
fn move_up(from: BorrowedFd<'_>, name: &CString, tree: BorrowedFd<'_>, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        // An empty directory that has this name already is replaced, which is what we want of it; others are stepped over.
        match rustix::fs::renameat(from, name, tree, format!("~{moved}")) {
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            answer => return Ok(answer?),
        }
    }
}

/// Removes what is no directory; answers whether it was none.
fn is_removed(directory: BorrowedFd<'_>, name: &CString) -> io::Result<bool> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The names in a directory. They are held at once, because removing while reading may skip some: 10 million empty
/// files make this a gigabyte, in a child that ends afterwards.
fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nest_deeper_than_any_descriptor_table_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let outside = directory.path().join("outside");
        std::fs::write(&outside, "kept").expect("a file");
        let tree = directory.path().join("tree");
        std::fs::create_dir(&tree).expect("a directory");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let top = rustix::fs::open(&tree, flags, Mode::empty()).expect("open");
        let mut bottom = rustix::fs::openat(&top, ".", flags, Mode::empty()).expect("open");
        // More than the 1,024 descriptors that a process usually may have.
        for _ in 0..1500 {
            rustix::fs::mkdirat(&bottom, "d", Mode::RWXU).expect("mkdir");
            rustix::fs::symlinkat(&outside, &bottom, "link").expect("symlink");
            rustix::fs::mkdirat(&bottom, "~7", Mode::RWXU).expect("mkdir");
            bottom = rustix::fs::openat(&bottom, "d", flags, Mode::empty()).expect("open");
        }
        empty(top.as_fd()).expect("emptied");
        assert_eq!(std::fs::read_dir(&tree).expect("read").count(), 0);
        assert_eq!(std::fs::read_to_string(&outside).expect("read"), "kept");
    }
}
