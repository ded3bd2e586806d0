//! Making changes to names, one or many, all or none.

use std::os::fd::AsFd;
use std::sync::Arc;

use devbox_types::file::WriteRequest;
use devbox_types::operation::{Operation, Operations, Report};
use devbox_types::{BoxPath, Right};
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::directories;
use crate::directory_table::Spot;
use crate::error::{At as _, FsError};
use crate::fingerprint::Fingerprint;
use crate::inline;
use crate::outcomes::Attempt;
use crate::removable::only_dots;
use crate::state::Announced;
use crate::transaction::Transaction;
use crate::tree::{Stopped, remove_tree};
use crate::undo::Undo;
use crate::view::{Place, View};

/// A call at work.
pub(crate) struct Applying<'v> {
    pub(crate) view: &'v View,
    /// How to undo it. One operation alone is one step of the kernel's, or removes what it began, and needs none.
    pub(crate) transaction: Option<Transaction>,
    pub(crate) report: Report,
}

impl View {
    /// Makes changes to names, in order: all of them, or none.
    ///
    /// A single operation takes effect as one step of the kernel's wherever the file system allows; where it cannot (a
    /// directory from a lower overlay layer, another file system, a delete on a full disk) the report says `atomic: false`. Of several, the first that
    /// fails ends the call, and those before it are undone in reverse: what was deleted or overwritten had only been moved to a
    /// reserved name, modes, owners and times are set back. Only ctime, and mtime of
    /// directories, tell. What a process in the box put in the way of an
    /// undo stays. A kill undoes them at the next start. In a list, a tree that is moved or deleted counts as one entry.
    ///
    /// With a key, a repeat is answered and not done. A list and its outcome outlive the death of this process together; a
    /// single operation has no journal, so of one that dies between effect and record, the repeat finds the effect.
    ///
    /// # Errors
    /// That of the first operation that failed.
    pub fn apply(&self, operations: &[Operation]) -> Result<Report, FsError> {
        self.need(Right::Write)?;
        if operations.len() > Operations::MAX {
            let limit = u64::try_from(Operations::MAX).unwrap_or(u64::MAX);
            return Err(FsError::TooManyEntries { limit });
        }
        let here = BoxPath::root();
        let count = u64::try_from(operations.len()).unwrap_or(u64::MAX);
        self.limits.check_entries(count)?;
        let (ticket, content) = match self.attempt_of(operations)? {
            (Attempt::First(ticket), content) => (ticket, content),
            (Attempt::Repeat(repeat), content) => return repeat.answer(content),
        };
        inline::check_sizes(operations)?;
        let many = count > 1 || operations.iter().any(needs_several_steps);
        // A limit may show itself only after the fact, so it needs what a list needs.
        let transaction = match many || self.limits.entries < u64::MAX {
            true => Some(Transaction::begin(Arc::clone(&self.engine)).at("write the journal of", &here)?),
            false => None,
        };
        // Declared before the transaction moves into `applying`, so that undoing acts as the user too.
        let _acting = self.act()?;
        let report = Report { atomic: !many, ..Report::default() };
        let mut applying = Applying { view: self, transaction, report };
        for operation in operations {
            self.limits.check_time()?;
            applying.run(operation)?;
            self.limits.check_entries(applying.report.entries)?;
        }
        if count > 1 {
            applying.report.entry = None;
        }
        let outcome = ticket.as_ref().map(|ticket| ticket.outcome(content, &applying.report));
        match applying.transaction.take() {
            Some(transaction) => transaction.commit(false, outcome).at("write the journal of", &here)?,
            None => {
                if let Some(outcome) = outcome {
                    // It is done: where it cannot be written down, this process at least knows it.
                    let _ = self.engine.outcomes.record(&self.engine, outcome, false);
                }
            }
        }
        Ok(applying.report)
    }

    fn attempt_of(&self, operations: &[Operation]) -> Result<(Attempt, Fingerprint), FsError> {
        if self.keyed.is_none() {
            return Ok((Attempt::First(None), Fingerprint::of(&[])));
        }
        let unwritable = |_| FsError::Invalid { reason: "an operation has no JSON form" };
        let content = Fingerprint::of(&[&serde_json::to_vec(operations).map_err(unwritable)?]);
        Ok((self.attempt(&[b"entries"])?, content))
    }
}

impl Applying<'_> {
    fn run(&mut self, operation: &Operation) -> Result<(), FsError> {
        match operation {
            Operation::Mkdir { path, mode, parents } => self.mkdir(path, *mode, *parents),
            Operation::Move { from, to, overwrite } => self.rename(from, to, *overwrite),
            Operation::Copy { from, to, recursive, overwrite } => self.copy(from, to, *recursive, *overwrite),
            Operation::Symlink { path, target } => self.symlink(path, target),
            Operation::Link { from, to } => self.link(from, to),
            Operation::Write { path, content, mode, parents, overwrite, nofollow } => {
                let request = WriteRequest {
                    mode: *mode,
                    make_parents: *parents,
                    nofollow: *nofollow,
                    ..WriteRequest::to(path.clone())
                };
                self.write(request, content, *overwrite)
            }
            Operation::SetMetadata { path, set } => self.set_metadata(path, set),
            Operation::Chmod { path, mode } => self.chmod(path, *mode),
            Operation::Chown { path, owner, gid, nofollow } => {
                self.chown(path, owner.as_ref(), *gid, *nofollow)
            }
            Operation::Utime { path, modified, nofollow } => self.utime(path, *modified, *nofollow),
            Operation::Delete { path, recursive, missing_ok } => self.delete(path, *recursive, *missing_ok),
        }
    }

    fn mkdir(&mut self, path: &BoxPath, mode: Option<u32>, parents: bool) -> Result<(), FsError> {
        let mode = mode.unwrap_or(directories::DIRECTORY_MODE);
        check_mode(mode)?;
        if path.is_root() {
            return if parents { Ok(()) } else { Err(FsError::Exists { path: path.clone() }) };
        }
        if parents {
            let parent = path.parent().unwrap_or_default();
            let transaction =
                Transaction::begun(&mut self.transaction, &self.view.engine).at("remember", path)?;
            let made = self.view.make_missing(&parent, transaction)?;
            self.count_made(&made);
        }
        let place = self.view.place(path)?;
        if parents && place.find().at("look at", path)?.is_some() {
            // It exists already; a link to a directory is one.
            return self.view.anchor().open_directory(path.as_bytes()).map(drop).map_err(
                |errno| match errno {
                    Errno::NOENT => FsError::NotADirectory { path: path.clone() },
                    errno => FsError::resolving(path, errno),
                },
            );
        }
        self.make(&place, path, |name| {
            directories::make(place.directory.as_fd(), name, mode)?;
            Ok(())
        })
    }

    /// Counts the directories that were made on the way.
    pub(crate) fn count_made(&mut self, made: &[Spot]) {
        self.report.atomic &= made.is_empty();
        self.report.entries += u64::try_from(made.len()).unwrap_or(u64::MAX);
    }

    fn symlink(&mut self, path: &BoxPath, target: &[u8]) -> Result<(), FsError> {
        if path.wants_directory() {
            return Err(FsError::Invalid { reason: "the path of a symbolic link may not end in a slash" });
        }
        if target.is_empty() || target.contains(&0) || target.len() > BoxPath::MAX_LENGTH {
            return Err(FsError::Invalid {
                reason: "the target of a symbolic link has 1 to 4095 bytes and no NUL",
            });
        }
        let place = self.view.place(path)?;
        self.make(&place, path, |name| rustix::fs::symlinkat(target, &place.directory, name))
    }

    /// Makes an entry under a name that must be free.
    pub(crate) fn make(
        &mut self,
        place: &Place,
        path: &BoxPath,
        make: impl Fn(&[u8]) -> Result<(), Errno>,
    ) -> Result<(), FsError> {
        self.report.entries += 1;
        if self.transaction.is_none() {
            return make(&place.name).at("make", path);
        }
        let staged = self.reserve(place).at("remember", path)?;
        make(&staged).at("make", path)?;
        self.publish(place, &staged, false, path)
    }

    /// Gives what was made under a reserved name its own. What it replaces is kept until the end, or gone at once where
    /// nothing can need it any more.
    pub(crate) fn publish(
        &mut self,
        place: &Place,
        staged: &[u8],
        overwrite: bool,
        path: &BoxPath,
    ) -> Result<(), FsError> {
        let directory = place.directory.as_fd();
        let inode = Attributes::at(directory, staged).at("look at", path)?.id().inode;
        let existing = place.find().at("look at", path)?;
        let target = place.name.clone();
        if existing.is_some() && overwrite {
            if self.transaction.is_none() {
                return rustix::fs::renameat(directory, staged, directory, &target[..]).at("publish", path);
            }
            let kept = staged.to_vec();
            self.plan_at(place, |number| Undo::ExchangeBack {
                target: Spot { directory: number, name: target },
                staged: kept,
                inode,
            })
            .at("remember", path)?;
            return crate::publish::exchange(directory, staged, &place.name).at("publish", path);
        }
        // An undo knows what it may remove by its inode number, which is not new where it is one more name of a file.
        if existing.is_some() {
            return Err(FsError::Exists { path: path.clone() });
        }
        self.plan_at(place, |number| Undo::Remove {
            at: Spot { directory: number, name: target },
            inode,
            tree: true,
        })
        .at("remember", path)?;
        rustix::fs::renameat_with(directory, staged, directory, &place.name[..], RenameFlags::NOREPLACE)
            .at("publish", path)
    }

    fn delete(&mut self, path: &BoxPath, recursive: bool, missing_ok: bool) -> Result<(), FsError> {
        let place = match self.view.place(path) {
            Err(FsError::NotFound { .. }) if missing_ok => return Ok(()),
            place => place?,
        };
        let Some(existing) = place.find().at("look at", path)? else {
            return if missing_ok { Ok(()) } else { Err(FsError::NotFound { path: path.clone() }) };
        };
        if path.wants_directory() && !existing.is_directory() {
            return Err(FsError::NotADirectory { path: path.clone() });
        }
        if existing.is_directory() && recursive {
            self.view.check_removable(&place, path)?;
            return self.delete_tree(&place, &existing, path);
        }
        self.report.entries += 1;
        if self.transaction.is_some() {
            if existing.is_directory() && !is_empty(&place).at("read", path)? {
                return Err(FsError::DirectoryNotEmpty { path: path.clone() });
            }
            return self.trash(&place, &existing, path);
        }
        let flags = if existing.is_directory() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(&place.directory, &place.name[..], flags) {
            Err(Errno::NOENT) if missing_ok => Ok(()),
            result => result.at("delete", path),
        }
    }

    fn delete_tree(&mut self, place: &Place, existing: &Attributes, path: &BoxPath) -> Result<(), FsError> {
        if self.transaction.is_some() {
            self.report.entries += 1;
            return self.trash(place, existing, path);
        }
        let view = self.view;
        let directory = place.directory.as_fd();
        let trash = view.engine.names.fresh();
        let announced = match view.announce(place, &trash) {
            // On a full disk, deleting is what makes room.
            Err(Errno::NOSPC | Errno::DQUOT) => return self.delete_in_place(place, path),
            announced => announced.at("delete", path)?,
        };
        match rustix::fs::renameat_with(
            directory,
            &place.name[..],
            directory,
            &trash[..],
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => {
                // It has taken effect by now, and is brought to its end whatever the deadline.
                match remove_tree(directory, &trash, &|| Ok::<(), Errno>(())).map_err(Errno::from) {
                    Ok(removed) => self.report.entries += removed,
                    // What the acting user may not delete goes back to where it was.
                    Err(errno @ (Errno::ACCESS | Errno::PERM)) => {
                        let _ = rustix::fs::renameat_with(
                            directory,
                            &trash[..],
                            directory,
                            &place.name[..],
                            RenameFlags::NOREPLACE,
                        );
                        return Err(FsError::at("delete", path, errno));
                    }
                    // Half a tree is not what was there before. What is left is hidden, and goes at the next start.
                    Err(_) => {
                        self.report.entries += 1;
                        announced.into_iter().for_each(Announced::keep);
                    }
                }
            }
            // A directory from a lower overlay layer cannot be renamed, nor may anything be where the disk is full.
            Err(Errno::XDEV | Errno::NOSPC | Errno::DQUOT) => return self.delete_in_place(place, path),
            Err(errno) => return Err(FsError::at("delete", path, errno)),
        }
        Ok(())
    }

    fn delete_in_place(&mut self, place: &Place, path: &BoxPath) -> Result<(), FsError> {
        let view = self.view;
        self.report.atomic = false;
        let proceed = || view.limits.check_time();
        let removed = remove_tree(place.directory.as_fd(), &place.name, &proceed);
        self.report.entries += removed.map_err(|stopped| match stopped {
            Stopped::Kernel(errno) => FsError::at("delete", path, errno),
            Stopped::Caller(error) => error,
        })?;
        Ok(())
    }

    /// Moves an entry to a reserved name beside it, from where it can come back until the call ends.
    pub(crate) fn trash(
        &mut self,
        place: &Place,
        existing: &Attributes,
        path: &BoxPath,
    ) -> Result<(), FsError> {
        let trash = self.reserve(place).at("remember", path)?;
        let directory = place.directory.as_fd();
        let plan = |inode, replace| {
            let (name, trash) = (place.name.clone(), trash.clone());
            move |number| Undo::MoveBack {
                was: Spot { directory: number, name },
                is: Spot { directory: number, name: trash },
                inode,
                replace,
            }
        };
        self.plan_at(place, plan(existing.id().inode, false)).at("remember", path)?;
        match rustix::fs::renameat(directory, &place.name[..], directory, &trash[..]) {
            Err(Errno::XDEV) => {}
            result => return result.at("delete", path),
        }
        // A directory from a lower overlay layer cannot be renamed: a copy is what can come back.
        let mut copier = crate::copy::Copier::new(self.view, path, true);
        copier.copy(directory, &place.name, directory, &trash)?;
        let copy = Attributes::at(directory, &trash).at("look at", path)?;
        self.plan_at(place, plan(copy.id().inode, true)).at("remember", path)?;
        remove_tree(directory, &place.name, &|| Ok::<(), Errno>(()))
            .map_err(Errno::from)
            .at("delete", path)?;
        Ok(())
    }

    /// A reserved name of the transaction in a directory.
    pub(crate) fn reserve(&mut self, place: &Place) -> Result<Vec<u8>, Errno> {
        let Some(transaction) = &mut self.transaction else { return Ok(self.view.engine.names.fresh()) };
        let number = transaction.directory(&place.directory)?;
        Ok(transaction.reserve(number))
    }

    /// Writes down how to take the next step back, if the call has a transaction.
    pub(crate) fn plan_at(&mut self, place: &Place, undo: impl FnOnce(usize) -> Undo) -> Result<(), Errno> {
        if self.transaction.is_none() {
            return Ok(());
        }
        self.plan(&place.directory, undo)
    }

    fn plan(
        &mut self,
        directory: &std::os::fd::OwnedFd,
        undo: impl FnOnce(usize) -> Undo,
    ) -> Result<(), Errno> {
        let Some(transaction) = &mut self.transaction else { return Ok(()) };
        let number = transaction.directory(directory)?;
        transaction.plan(undo(number))?;
        transaction.flush()
    }
}

/// Whether one operation needs what a list needs, to be all or nothing.
fn needs_several_steps(operation: &Operation) -> bool {
    match operation {
        Operation::SetMetadata { set, .. } => set.steps() > 1,
        Operation::Write { parents, .. } | Operation::Mkdir { parents, .. } => *parents,
        Operation::Move { .. }
        | Operation::Copy { .. }
        | Operation::Symlink { .. }
        | Operation::Link { .. }
        | Operation::Chmod { .. }
        | Operation::Chown { .. }
        | Operation::Utime { .. }
        | Operation::Delete { .. } => false,
    }
}

pub(crate) fn check_mode(mode: u32) -> Result<(), FsError> {
    if mode > 0o7777 {
        return Err(FsError::Invalid { reason: "permission bits are 0 to 0o7777" });
    }
    Ok(())
}

/// Whether a directory holds nothing.
pub(crate) fn is_empty(place: &Place) -> Result<bool, Errno> {
    let listing = crate::confine::open_listing(place.directory.as_fd(), &place.name)?;
    only_dots(listing)
}
