//! Taking one step of a call over many names back.
//!
//! Every step can be taken back whether it was done or not: each looks first whether what is there is what the call put
//! there, by its inode. What a process in the box put there meanwhile stays.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Gid, RenameFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::confine::open_entry;
use crate::directory_table::{DirectoryTable, Spot};
use crate::journal::WrittenSpot;
use crate::publish::exchange;
use crate::reserved;
use crate::root::Engine;
use crate::tree::remove_tree;
use crate::xattrs;

/// One step back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Undo {
    /// Removes what the call made. A directory that others filled meanwhile stays, unless the call copied it.
    Remove {
        #[serde(with = "WrittenSpot")]
        at: Spot,
        inode: u64,
        tree: bool,
    },
    /// Moves what the call moved away back to where it was.
    MoveBack {
        #[serde(with = "WrittenSpot")]
        was: Spot,
        #[serde(with = "WrittenSpot")]
        is: Spot,
        inode: u64,
        /// The original was left in its place, and may be half removed: it goes first.
        replace: bool,
    },
    /// Exchanges a target and a reserved name of its directory back.
    ExchangeBack {
        #[serde(with = "WrittenSpot")]
        target: Spot,
        #[serde(with = "crate::journal::bytes")]
        staged: Vec<u8>,
        inode: u64,
    },
    /// Gives an entry its mode, owner, times or an extended attribute back.
    Restore {
        #[serde(with = "WrittenSpot")]
        at: Spot,
        inode: u64,
        saved: Saved,
    },
}

/// Metadata as it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Saved {
    Mode(u32),
    /// Changing the owner takes set-user-ID and set-group-ID bits away, so the mode belongs to it.
    Owner {
        uid: u32,
        gid: u32,
        mode: u32,
    },
    Times {
        accessed: i64,
        modified: i64,
    },
    Xattr {
        #[serde(with = "crate::journal::bytes")]
        name: Vec<u8>,
        #[serde(with = "crate::journal::bytes")]
        value: Vec<u8>,
    },
    /// There was no attribute of this name.
    NoXattr {
        #[serde(with = "crate::journal::bytes")]
        name: Vec<u8>,
    },
}

/// Takes steps back, the last first. `sweep` removes the reserved names; what stood in their way, such as a directory that
/// was not empty because of them, is tried once more after it. Returns what could not be taken back, in the order of the
/// steps, and whether all was swept.
///
/// What cannot come back, because a process in the box took its place, is rubbish by then: that process's entry stays.
pub(crate) fn roll_back<'u>(
    undos: &'u [Undo],
    engine: &Engine,
    table: &mut DirectoryTable,
    sweep: impl FnOnce(&mut DirectoryTable) -> bool,
) -> (Vec<&'u Undo>, bool) {
    let mut failed: Vec<&Undo> = Vec::new();
    for undo in undos.iter().rev() {
        if undo.run(engine, table).is_err() {
            failed.push(undo);
        }
    }
    let swept = sweep(table);
    failed.retain(|undo| undo.run(engine, table).is_err());
    failed.reverse();
    (failed, swept)
}

impl Undo {
    /// Whether all its names are single names: a journal is read back as hostile input.
    pub(crate) fn is_well_formed(&self) -> bool {
        let single = |name: &[u8]| !name.is_empty() && name != b".." && !name.contains(&b'/');
        match self {
            Self::Remove { at, .. } => single(&at.name),
            Self::Restore { at, saved, .. } => single(&at.name) && saved.is_well_formed(),
            Self::MoveBack { was, is, .. } => single(&was.name) && single(&is.name),
            Self::ExchangeBack { target, staged, .. } => single(&target.name) && single(staged),
        }
    }

    pub(crate) fn run(&self, engine: &Engine, table: &mut DirectoryTable) -> Result<(), Errno> {
        match self {
            Self::Remove { at, inode, tree } => {
                let directory = table.get(at.directory, engine.anchor())?;
                if !is_inode(directory.as_fd(), &at.name, *inode)? {
                    return Ok(());
                }
                remove(directory.as_fd(), &at.name, *tree)
            }
            Self::MoveBack { was, is, inode, replace } => {
                let from = table.get(is.directory, engine.anchor())?;
                if !is_inode(from.as_fd(), &is.name, *inode)? {
                    return Ok(());
                }
                let to = table.get(was.directory, engine.anchor())?;
                if *replace {
                    remove_tree(to.as_fd(), &was.name, &|| Ok::<(), Errno>(()))?;
                }
                rustix::fs::renameat_with(&from, &is.name[..], &to, &was.name[..], RenameFlags::NOREPLACE)
            }
            Self::ExchangeBack { target, staged, inode } => {
                let directory = table.get(target.directory, engine.anchor())?;
                if !reserved::is_reserved(staged) || !is_inode(directory.as_fd(), &target.name, *inode)? {
                    return Ok(());
                }
                exchange(directory.as_fd(), staged, &target.name)
            }
            Self::Restore { at, inode, saved } => {
                let directory = table.get(at.directory, engine.anchor())?;
                let entry = match open_entry(directory.as_fd(), &at.name) {
                    // A process in the box removed it: there is nothing to give anything back to.
                    Err(Errno::NOENT) => return Ok(()),
                    entry => entry?,
                };
                let now = Attributes::of(entry.as_fd())?;
                if now.id().inode != *inode {
                    return Ok(());
                }
                saved.restore(engine, entry.as_fd(), &now)
            }
        }
    }
}

impl Saved {
    fn is_well_formed(&self) -> bool {
        match self {
            Self::Xattr { name, .. } | Self::NoXattr { name } => xattrs::is_settable(name),
            Self::Mode(_) | Self::Owner { .. } | Self::Times { .. } => true,
        }
    }

    fn restore(&self, engine: &Engine, entry: BorrowedFd<'_>, now: &Attributes) -> Result<(), Errno> {
        let set_mode = |mode| match now.is_symlink() {
            true => Ok(()),
            false => engine.descriptors.chmod(entry, mode),
        };
        let set_xattr = |name: &[u8], value: Option<&[u8]>| {
            let here = engine.descriptors.path_of(entry).ok_or(Errno::NOSYS)?;
            // On a full disk, writing what is there already may fail, and the journal would wait for nothing.
            match xattrs::read_one(&here, name)?.as_deref() == value {
                true => Ok(()),
                false => xattrs::write_one(&here, name, value),
            }
        };
        match self {
            Self::Mode(mode) => set_mode(*mode),
            Self::Owner { uid, gid, mode } => {
                let (uid, gid) = (Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)));
                rustix::fs::chownat(entry, "", uid, gid, AtFlags::EMPTY_PATH)?;
                set_mode(*mode)
            }
            Self::Times { accessed, modified } => {
                let times =
                    Timestamps { last_access: timespec(*accessed), last_modification: timespec(*modified) };
                rustix::fs::utimensat(entry, "", &times, AtFlags::EMPTY_PATH)
            }
            Self::Xattr { name, value } => set_xattr(name, Some(value)),
            Self::NoXattr { name } => set_xattr(name, None),
        }
    }
}

fn timespec(nanoseconds: i64) -> Timespec {
    let (seconds, nanoseconds) = devbox_types::Timestamp::from_nanoseconds(nanoseconds).parts();
    Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() }
}

pub(crate) fn is_inode(directory: BorrowedFd<'_>, name: &[u8], inode: u64) -> Result<bool, Errno> {
    Ok(Attributes::find(directory, name)?.is_some_and(|now| now.id().inode == inode))
}

fn remove(directory: BorrowedFd<'_>, name: &[u8], tree: bool) -> Result<(), Errno> {
    if tree {
        remove_tree(directory, name, &|| Ok::<(), Errno>(()))?;
        return Ok(());
    }
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR),
        result => result,
    }
}
