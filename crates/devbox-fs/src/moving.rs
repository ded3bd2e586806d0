//! Moving and copying entries to another name.

use std::os::fd::AsFd;
use std::sync::Arc;

use devbox_types::BoxPath;
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::apply::{Applying, is_empty};
use crate::attributes::Attributes;
use crate::copy::Copier;
use crate::directory_table::Spot;
use crate::error::{At as _, FsError};
use crate::transaction::Transaction;
use crate::tree::remove_tree;
use crate::undo::Undo;
use crate::view::Place;

impl Applying<'_> {
    pub(crate) fn rename(&mut self, from: &BoxPath, to: &BoxPath, overwrite: bool) -> Result<(), FsError> {
        let (old, existing) = self.source(from)?;
        let new = self.view.place(to)?;
        check_slash(&existing, to)?;
        let replaced = new.find().at("look at", to)?;
        self.report.entries += 1;
        match replaced {
            Some(_) if !overwrite => return Err(FsError::Exists { path: to.clone() }),
            // Two names of one file: rename(2) does nothing, and so do we.
            Some(replaced) if replaced.id() == existing.id() => return Ok(()),
            Some(replaced) => check_kinds(&existing, &replaced, &new, to)?,
            None => {}
        }
        let renamed = match &self.transaction {
            None => {
                let flags = if overwrite { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
                rustix::fs::renameat_with(&old.directory, &old.name[..], &new.directory, &new.name[..], flags)
            }
            Some(_) => {
                if let Some(replaced) = &replaced {
                    self.trash(&new, replaced, to)?;
                }
                self.plan_move(&old, &new, existing.id().inode).at("remember", from)?;
                rustix::fs::renameat_with(
                    &old.directory,
                    &old.name[..],
                    &new.directory,
                    &new.name[..],
                    RenameFlags::NOREPLACE,
                )
            }
        };
        match renamed {
            Ok(()) => Ok(()),
            Err(Errno::INVAL) => Err(FsError::IntoItself { path: from.clone() }),
            Err(Errno::XDEV) => self.move_by_copy(from, &old, &existing, to, &new, overwrite),
            Err(Errno::EXIST) => Err(FsError::Exists { path: to.clone() }),
            Err(Errno::NOTEMPTY) => Err(FsError::DirectoryNotEmpty { path: to.clone() }),
            Err(errno) => Err(FsError::at("move", from, errno)),
        }
    }

    /// Across file systems, and for directories of lower overlay layers: a copy, published by one rename, then the original
    /// is removed.
    fn move_by_copy(
        &mut self,
        from: &BoxPath,
        old: &Place,
        existing: &Attributes,
        to: &BoxPath,
        new: &Place,
        overwrite: bool,
    ) -> Result<(), FsError> {
        if to.is_within(from) {
            return Err(FsError::IntoItself { path: from.clone() });
        }
        self.report.atomic = false;
        self.view.check_removable(old, from)?;
        let alone = self.transaction.is_none();
        if alone {
            // Two steps from here on, so it needs a journal after all.
            let transaction = Transaction::begin(Arc::clone(&self.view.engine));
            self.transaction = Some(transaction.at("write the journal of", from)?);
        }
        self.copy_to(from, old, to, new, overwrite, true)?;
        match &mut self.transaction {
            // Nothing follows that could expect the original gone.
            Some(transaction) if alone => {
                let number = transaction.directory(&old.directory);
                let at = Spot { directory: number.at("remember", from)?, name: old.name.clone() };
                transaction.doom(at, existing.id().inode).at("remember", from)
            }
            _ => self.trash(old, existing, from),
        }
    }

    pub(crate) fn copy(
        &mut self,
        from: &BoxPath,
        to: &BoxPath,
        recursive: bool,
        overwrite: bool,
    ) -> Result<(), FsError> {
        let (old, existing) = self.source(from)?;
        if existing.is_directory() && !recursive {
            return Err(FsError::IsADirectory { path: from.clone() });
        }
        if existing.is_directory() && to.is_within(from) {
            return Err(FsError::IntoItself { path: from.clone() });
        }
        let new = self.view.place(to)?;
        check_slash(&existing, to)?;
        match new.find().at("look at", to)? {
            Some(_) if !overwrite => return Err(FsError::Exists { path: to.clone() }),
            Some(replaced) if replaced.is_directory() => {
                return Err(FsError::IsADirectory { path: to.clone() });
            }
            Some(_) if existing.is_directory() => {
                return Err(FsError::NotADirectory { path: to.clone() });
            }
            Some(replaced) if replaced.id() == existing.id() => {
                return Err(FsError::IntoItself { path: from.clone() });
            }
            _ => {}
        }
        let (entries, bytes) = self.copy_to(from, &old, to, &new, overwrite, false)?;
        self.report.entries += entries;
        self.report.bytes += bytes;
        Ok(())
    }

    /// Copies under a reserved name beside the target, then publishes it.
    fn copy_to(
        &mut self,
        from: &BoxPath,
        old: &Place,
        to: &BoxPath,
        new: &Place,
        overwrite: bool,
        keep_owner: bool,
    ) -> Result<(u64, u64), FsError> {
        let view = self.view;
        let staged = self.reserve(new).at("remember", to)?;
        let directory = new.directory.as_fd();
        let _announced = match &self.transaction {
            None => view.announce(new, &staged).at("remember", to)?,
            Some(_) => None,
        };
        let mut copier = Copier::new(view, from, keep_owner);
        let copied = copier.copy(old.directory.as_fd(), &old.name, directory, &staged);
        let (entries, bytes) = (copier.entries, copier.bytes);
        let published = copied.and_then(|()| self.publish(new, &staged, overwrite, to));
        if published.is_err() && self.transaction.is_none() {
            let _ = remove_tree(directory, &staged, &|| Ok::<(), Errno>(()));
        }
        published.map(|()| (entries, bytes))
    }

    pub(crate) fn source(&self, from: &BoxPath) -> Result<(Place, Attributes), FsError> {
        let place = self.view.place(from)?;
        let existing = place.find().at("look at", from)?;
        let existing = existing.ok_or_else(|| FsError::NotFound { path: from.clone() })?;
        check_slash(&existing, from)?;
        Ok((place, existing))
    }

    fn plan_move(&mut self, old: &Place, new: &Place, inode: u64) -> Result<(), Errno> {
        let Some(transaction) = &mut self.transaction else { return Ok(()) };
        let was = transaction.directory(&old.directory)?;
        let is = transaction.directory(&new.directory)?;
        transaction.plan(Undo::MoveBack {
            was: Spot { directory: was, name: old.name.clone() },
            is: Spot { directory: is, name: new.name.clone() },
            inode,
            replace: false,
        })?;
        transaction.flush()
    }
}

/// A path with a slash at its end is for directories only.
fn check_slash(existing: &Attributes, path: &BoxPath) -> Result<(), FsError> {
    if path.wants_directory() && !existing.is_directory() {
        return Err(FsError::NotADirectory { path: path.clone() });
    }
    Ok(())
}

/// What rename(2) lets replace what.
fn check_kinds(
    existing: &Attributes,
    replaced: &Attributes,
    new: &Place,
    to: &BoxPath,
) -> Result<(), FsError> {
    let path = to.clone();
    match (existing.is_directory(), replaced.is_directory()) {
        (false, true) => Err(FsError::IsADirectory { path }),
        (true, false) => Err(FsError::NotADirectory { path }),
        (true, true) if !is_empty(new).at("read", to)? => Err(FsError::DirectoryNotEmpty { path }),
        _ => Ok(()),
    }
}
