//! Setting permission bits, owners, times and extended attributes.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};

use devbox_types::metadata::{MetadataChange, XattrChange};
use devbox_types::{ActingUser, BoxPath, Timestamp, WriteCondition};
use rustix::fs::{AtFlags, Gid, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid};

use crate::apply::{Applying, check_mode};
use crate::attributes::Attributes;
use crate::condition;
use crate::confine::open_entry;
use crate::directory_table::Spot;
use crate::error::{At as _, FsError};
use crate::stage;
use crate::undo::{Saved, Undo};
use crate::view::Place;
use crate::xattrs;

impl Applying<'_> {
    pub(crate) fn chmod(&mut self, path: &BoxPath, mode: u32) -> Result<(), FsError> {
        check_mode(mode)?;
        let (place, entry, before) = self.object(path, true)?;
        self.remember(&place, &before, Saved::Mode(before.mode()), path)?;
        self.view.engine.descriptors.chmod(entry.as_fd(), mode).at("set the mode of", path)
    }

    pub(crate) fn chown(
        &mut self,
        path: &BoxPath,
        owner: Option<&ActingUser>,
        gid: Option<u32>,
        nofollow: bool,
    ) -> Result<(), FsError> {
        if owner.is_none() && gid.is_none() {
            return Err(FsError::Invalid { reason: "give an owner, a group, or both" });
        }
        if gid == Some(u32::MAX) {
            return Err(FsError::Invalid { reason: "a group is a number below 4294967295" });
        }
        let uid = owner.map(|owner| self.view.engine.account(owner)).transpose()?.map(|account| account.uid);
        let (place, entry, before) = self.object(path, !nofollow)?;
        let saved = Saved::Owner { uid: before.uid(), gid: before.gid(), mode: before.mode() };
        self.remember(&place, &before, saved, path)?;
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        rustix::fs::chownat(&entry, "", uid, gid, AtFlags::EMPTY_PATH).at("set the owner of", path)
    }

    pub(crate) fn utime(
        &mut self,
        path: &BoxPath,
        modified: Option<Timestamp>,
        nofollow: bool,
    ) -> Result<(), FsError> {
        let (place, entry, before) = self.object(path, !nofollow)?;
        let saved = Saved::Times {
            accessed: before.accessed().nanoseconds(),
            modified: before.modified().nanoseconds(),
        };
        self.remember(&place, &before, saved, path)?;
        let times = match modified {
            Some(modified) => stage::times(modified),
            None => Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
                last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
            },
        };
        rustix::fs::utimensat(&entry, "", &times, AtFlags::EMPTY_PATH).at("set the time of", path)
    }

    /// Sets all that is asked for; the caller takes it back if a part of it fails.
    pub(crate) fn set_metadata(&mut self, path: &BoxPath, set: &MetadataChange) -> Result<(), FsError> {
        check_change(set)?;
        let view = self.view;
        let uid = set.owner.as_ref().map(|owner| view.engine.account(owner)).transpose()?;
        let gid = set.group.as_ref().map(|group| view.engine.group(group)).transpose()?;
        let (place, entry, looked) = self.object(path, !set.nofollow)?;
        let directory = Attributes::of(place.directory.as_fd()).at("look at", path)?;
        let names = [(directory.id(), &place.name[..]), (looked.id(), &b""[..])];
        let _turn = view.engine.locks.lock_all(names.into_iter());
        let before = Attributes::of(entry.as_fd()).at("look at", path)?;
        self.check_version(set, &place, &before, path)?;
        if uid.is_some() || gid.is_some() {
            let saved = Saved::Owner { uid: before.uid(), gid: before.gid(), mode: before.mode() };
            self.remember(&place, &before, saved, path)?;
            let (uid, gid) = (uid.map(|account| Uid::from_raw(account.uid)), gid.map(Gid::from_raw));
            rustix::fs::chownat(&entry, "", uid, gid, AtFlags::EMPTY_PATH).at("set the owner of", path)?;
        }
        if let Some(mode) = set.mode {
            self.remember(&place, &before, Saved::Mode(before.mode()), path)?;
            view.engine.descriptors.chmod(entry.as_fd(), mode).at("set the mode of", path)?;
        }
        self.set_xattrs(&set.xattrs, &place, &entry, &before, path)?;
        if set.modified.is_some() || set.accessed.is_some() {
            let saved = Saved::Times {
                accessed: before.accessed().nanoseconds(),
                modified: before.modified().nanoseconds(),
            };
            self.remember(&place, &before, saved, path)?;
            let times = Timestamps {
                last_access: time_or_omit(set.accessed),
                last_modification: time_or_omit(set.modified),
            };
            rustix::fs::utimensat(&entry, "", &times, AtFlags::EMPTY_PATH).at("set the times of", path)?;
        }
        // What may be told is bounded, what may be there is not: that the attributes are too many is no failure of the change.
        let told = view.describe(&entry, path, !set.xattrs.is_empty());
        let told = told.or_else(|_| view.describe(&entry, path, false))?;
        self.report.entry = Some(Box::new(told));
        Ok(())
    }

    /// Whether the entry is a version that is asked for, and still the one of its name.
    fn check_version(
        &self,
        set: &MetadataChange,
        place: &Place,
        before: &Attributes,
        path: &BoxPath,
    ) -> Result<(), FsError> {
        if set.if_match.is_empty() {
            return Ok(());
        }
        let condition = WriteCondition::Matches(set.if_match.clone());
        condition::check(&condition, Some(before), self.view.engine.clock, path)?;
        let named = place.find().at("look at", path)?;
        if named.is_some_and(|named| named.id() == before.id()) {
            return Ok(());
        }
        Err(FsError::PreconditionFailed { path: path.clone() })
    }

    fn set_xattrs(
        &mut self,
        changes: &[XattrChange],
        place: &Place,
        entry: &OwnedFd,
        before: &Attributes,
        path: &BoxPath,
    ) -> Result<(), FsError> {
        const STEP: &str = "set the extended attributes of";
        if changes.is_empty() {
            return Ok(());
        }
        let here = self.view.engine.descriptors.path_of(entry.as_fd());
        let here = here.ok_or_else(|| FsError::Unsupported { step: STEP, path: path.clone() })?;
        for XattrChange { name, value } in changes {
            let saved = match xattrs::read_one(&here, name).at(STEP, path)? {
                Some(value) => Saved::Xattr { name: name.clone(), value },
                None => Saved::NoXattr { name: name.clone() },
            };
            self.remember(place, before, saved, path)?;
            xattrs::write_one(&here, name, value.as_deref()).at(STEP, path)?;
        }
        Ok(())
    }

    /// The entry whose metadata is meant, by its own name: past final links if `follow`.
    fn object(&mut self, path: &BoxPath, follow: bool) -> Result<(Place, OwnedFd, Attributes), FsError> {
        self.report.entries += 1;
        let place = match path.is_root() {
            true => Place {
                directory: self.view.anchor().open_directory(b"").at("reach", path)?,
                name: b".".to_vec(),
                directory_path: Vec::new(),
            },
            false => self.view.place(path)?,
        };
        let is_link = place.find().at("look at", path)?.is_some_and(|entry| entry.is_symlink());
        if is_link && (follow || path.wants_directory()) {
            let entry = self.view.open(path, true)?;
            let attributes = Attributes::of(entry.as_fd()).at("look at", path)?;
            if attributes.is_directory() {
                // A link may end in `..`: then the directory itself is the place.
                let place = Place { directory: entry, name: b".".to_vec(), directory_path: Vec::new() };
                let entry = open_entry(place.directory.as_fd(), b".").at("reach", path)?;
                return Ok((place, entry, attributes));
            }
            let place = self.view.follow(place, path)?;
            return Ok((place, entry, attributes));
        }
        let entry = open_entry(place.directory.as_fd(), &place.name).at("reach", path)?;
        let attributes = Attributes::of(entry.as_fd()).at("look at", path)?;
        if path.wants_directory() && !attributes.is_directory() {
            return Err(FsError::NotADirectory { path: path.clone() });
        }
        if attributes.is_symlink() && follow {
            // It became one after it was looked at.
            return Err(FsError::Busy { path: path.clone() });
        }
        Ok((place, entry, attributes))
    }

    fn remember(
        &mut self,
        place: &Place,
        before: &Attributes,
        saved: Saved,
        path: &BoxPath,
    ) -> Result<(), FsError> {
        let (name, inode) = (place.name.clone(), before.id().inode);
        let undo = |number| Undo::Restore { at: Spot { directory: number, name }, inode, saved };
        self.plan_at(place, undo).at("remember", path)
    }
}

/// Checks what needs no look at the entry.
fn check_change(set: &MetadataChange) -> Result<(), FsError> {
    if set.steps() == 0 {
        return Err(FsError::Invalid { reason: "give a mode, an owner, a time, or an extended attribute" });
    }
    if let Some(mode) = set.mode {
        check_mode(mode)?;
    }
    let mut seen = HashSet::new();
    for XattrChange { name, value } in &set.xattrs {
        if !xattrs::is_settable(name) {
            return Err(FsError::Invalid {
                reason: "the name of an extended attribute begins with `user.` and has at most 255 bytes, no NUL",
            });
        }
        if !seen.insert(name) {
            return Err(FsError::Invalid { reason: "an extended attribute is given twice" });
        }
        if value.as_ref().is_some_and(|value| value.len() > xattrs::MAX_BYTES) {
            let limit_bytes = u64::try_from(xattrs::MAX_BYTES).unwrap_or(u64::MAX);
            return Err(FsError::TooLarge { limit_bytes });
        }
    }
    Ok(())
}

fn time_or_omit(time: Option<Timestamp>) -> Timespec {
    match time {
        Some(time) => {
            let (seconds, nanoseconds) = time.parts();
            Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() }
        }
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    }
}
