//! Setting permission bits, owners and times.

use std::os::fd::{AsFd, OwnedFd};

use devbox_types::{ActingUser, BoxPath, Timestamp};
use rustix::fs::{AtFlags, Gid, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid};

use crate::apply::{Applying, check_mode};
use crate::attributes::Attributes;
use crate::confine::open_entry;
use crate::directory_table::Spot;
use crate::error::{At as _, FsError};
use crate::stage;
use crate::undo::{Saved, Undo};
use crate::view::Place;

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
