//! Changing a part of a file: in its place, or in a copy that replaces it.

use std::os::fd::AsFd;

use devbox_types::file::{WriteRequest, Written};
use devbox_types::patch::PatchRequest;
use devbox_types::problem::Stands;
use devbox_types::{BoxPath, DigestHasher, Digests, Right, WriteCondition};
use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::condition::guards_a_version;
use crate::confine::open_entry;
use crate::content::{self, Stop};
use crate::error::{At as _, FsError};
use crate::inplace::{Change, InPlace};
use crate::publish::Base;
use crate::read::{check_kind, is_generated};
use crate::stage::{Draft, Staged, Target};
use crate::view::{Place, View};

/// How often a small change of a copy is made anew, because something else changed the file meanwhile.
const MAX_ATTEMPTS: usize = 16;

/// A write under way: aside, to be published, or in the file itself.
#[derive(Debug)]
pub enum Writer {
    /// Nothing shows before [`Writer::finish`].
    Aside(Box<Staged>),
    /// What is written shows.
    InPlace(Box<InPlace>),
}

impl Writer {
    /// Writes the next bytes.
    ///
    /// # Errors
    /// As [`Staged::write`] and [`InPlace::write`].
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), FsError> {
        match self {
            Self::Aside(staged) => staged.write(chunk),
            Self::InPlace(file) => file.write(chunk),
        }
    }

    /// Ends the write.
    ///
    /// # Errors
    /// As [`Staged::publish`] and [`InPlace::finish`].
    pub fn finish(self) -> Result<Written, FsError> {
        match self {
            Self::Aside(staged) => staged.publish(),
            Self::InPlace(file) => file.finish(),
        }
    }

    /// What is left in the file if it ends here; `None`: nothing happened to it.
    #[must_use]
    pub fn stands(&self) -> Option<Stands> {
        match self {
            Self::Aside(_) => None,
            Self::InPlace(file) => file.stands(),
        }
    }
}

impl View {
    /// Begins to write a whole file: aside, or with `in_place` into the one that is there, if there is one.
    ///
    /// # Errors
    /// As [`View::stage`]; [`FsError::Invalid`] for what cannot be had together with `in_place`.
    pub fn begin_write(&self, request: WriteRequest) -> Result<Writer, FsError> {
        if !request.in_place {
            return Ok(Writer::Aside(Box::new(self.stage(request)?)));
        }
        check_in_place(&request)?;
        match self.open_in_place(request.clone(), Change::WHOLE, false) {
            // There is no inode to keep.
            Err(FsError::NotFound { .. }) => Ok(Writer::Aside(Box::new(self.stage(request)?))),
            file => Ok(Writer::InPlace(Box::new(file?))),
        }
    }

    /// Begins to change a part of a file.
    ///
    /// # Errors
    /// [`FsError::NotFound`] unless `create`; [`FsError::PreconditionFailed`], [`FsError::TooLarge`] and what else would keep
    /// the file from being changed, as far as it is known now.
    pub fn begin_patch(&self, patch: &PatchRequest) -> Result<Writer, FsError> {
        check_patch(patch)?;
        let change = Change { place: patch.place, truncate: patch.truncate, size_after: patch.size_after };
        let request = WriteRequest {
            condition: patch.condition.clone(),
            nofollow: patch.nofollow,
            verify: patch.verify,
            durability: patch.durability,
            length: patch.length,
            digests: patch.digests,
            ..WriteRequest::to(patch.path.clone())
        };
        if patch.atomic {
            return Ok(Writer::Aside(Box::new(self.stage_change(request, change, patch.create)?)));
        }
        Ok(Writer::InPlace(Box::new(self.open_in_place(request, change, patch.create)?)))
    }

    /// Writes a whole file that is in memory into the one that is there. The content is checked before anything is written.
    pub(crate) fn write_in_place(&self, request: WriteRequest, content: &[u8]) -> Result<Written, FsError> {
        check_content(&request.path, request.length, &request.digests, content)?;
        let mut writer = self.begin_write(request)?;
        writer.write(content)?;
        writer.finish()
    }

    /// Changes a part of a file, with content that is in memory, which is checked before anything is written. With `atomic`
    /// it is done anew if something else changed the file meanwhile.
    ///
    /// # Errors
    /// As [`View::begin_patch`], [`Writer::write`] and [`Writer::finish`].
    pub fn patch_file(&self, patch: &PatchRequest, content: &[u8]) -> Result<Written, FsError> {
        check_content(&patch.path, patch.length, &patch.digests, content)?;
        let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let patch = PatchRequest { length: Some(length), ..patch.clone() };
        let attempt = || {
            let mut writer = self.begin_patch(&patch)?;
            if !content.is_empty() {
                writer.write(content)?;
            }
            writer.finish()
        };
        let again = patch.atomic && !guards_a_version(&patch.condition);
        for _ in 1..MAX_ATTEMPTS {
            match attempt() {
                Err(FsError::Conflict { .. }) if again => self.limits.check_time()?,
                done => return done,
            }
        }
        attempt()
    }

    /// Copies the file aside, shared where the file system can, and makes it ready for the bytes to come.
    fn stage_change(&self, request: WriteRequest, change: Change, create: bool) -> Result<Staged, FsError> {
        self.need(Right::Write)?;
        let _acting = self.act()?;
        let mut made = None;
        let Target { place, seen, .. } = self.target(&request, &mut made)?;
        let (draft, base) = self.copy_and_change(&place, seen.as_ref(), request, change, create)?;
        Ok(Staged::over(self.clone(), place, draft, seen, base).in_made(made))
    }

    fn copy_and_change(
        &self,
        place: &Place,
        seen: Option<&Attributes>,
        request: WriteRequest,
        change: Change,
        create: bool,
    ) -> Result<(Draft, Base), FsError> {
        let path = request.path.clone();
        let Some(seen) = seen else {
            if !create {
                return Err(FsError::NotFound { path });
            }
            let first = change.first_byte(0, request.length, self.limits.bytes, &path)?;
            let draft = self.draft_of(place, request, change.truncate.unwrap_or(0), first)?;
            return Ok((draft, Base::Nothing));
        };
        check_kind(seen, &path)?;
        let conflict = || FsError::Conflict { paths: vec![path.clone()] };
        let named = match open_entry(place.directory.as_fd(), &place.name) {
            Err(Errno::NOENT) => return Err(conflict()),
            named => named.at("read", &path)?,
        };
        let before = Attributes::of(named.as_fd()).at("look at", &path)?;
        if !before.is_same_version(seen) {
            return Err(conflict());
        }
        if is_generated(named.as_fd()).at("look at", &path)? {
            return Err(FsError::KernelFile { path });
        }
        let first = change.first_byte(before.size(), request.length, self.limits.bytes, &path)?;
        let size = change.truncate.unwrap_or(before.size());
        if size > self.limits.bytes {
            return Err(FsError::TooLarge { limit_bytes: self.limits.bytes });
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let original = self.engine.descriptors.reopen(named.as_fd(), flags).at("read", &path)?;
        let draft = Draft::open_over(place, request, first, self.limits.bytes)?;
        let proceed = || self.limits.check_time().map_err(Stop::Engine);
        let wanted = size.min(before.size());
        let copied = content::copy(original.as_fd(), draft.file.as_fd(), wanted, &proceed);
        copied.map_err(|stop| stop.at("copy", &path))?;
        ready(&draft, size, first).at("set the size of the copy of", &path)?;
        Ok((draft, Base::Version(before)))
    }

    fn draft_of(
        &self,
        place: &Place,
        request: WriteRequest,
        size: u64,
        first: u64,
    ) -> Result<Draft, FsError> {
        let path = request.path.clone();
        let draft = Draft::open_over(place, request, first, self.limits.bytes)?;
        ready(&draft, size, first).at("set the size of", &path)?;
        Ok(draft)
    }
}

/// Gives the copy its size, and goes to where the first byte will be.
fn ready(draft: &Draft, size: u64, first: u64) -> Result<(), Errno> {
    rustix::fs::ftruncate(&draft.file, size)?;
    rustix::fs::seek(&draft.file, SeekFrom::Start(first)).map(drop)
}

fn check_in_place(request: &WriteRequest) -> Result<(), FsError> {
    if request.verify {
        return Err(FsError::Invalid {
            reason: "`verify` is checked before a file is published, and `inplace` publishes nothing",
        });
    }
    if request.condition == WriteCondition::Absent {
        return Err(FsError::Invalid {
            reason: "`inplace` writes into the file that is there, and `If-None-Match: *` asks for none",
        });
    }
    Ok(())
}

fn check_patch(patch: &PatchRequest) -> Result<(), FsError> {
    if patch.verify && !patch.atomic {
        return Err(FsError::Invalid {
            reason: "`verify` is checked before a file is published: it needs `atomic`",
        });
    }
    if patch.size_after.is_some() && patch.length.is_none() {
        return Err(FsError::Invalid { reason: "a size for the whole needs content of a known length" });
    }
    Ok(())
}

/// Checks content that is in memory against what was announced of it.
fn check_content(
    path: &BoxPath,
    length: Option<u64>,
    digests: &Digests,
    content: &[u8],
) -> Result<(), FsError> {
    let received = u64::try_from(content.len()).unwrap_or(u64::MAX);
    match length {
        Some(expected) if received < expected => {
            return Err(FsError::ShortBody { path: path.clone(), expected, received });
        }
        Some(expected) if received > expected => {
            return Err(FsError::LongBody { path: path.clone(), expected });
        }
        _ => {}
    }
    let mut hasher = DigestHasher::new(digests.algorithms());
    if !digests.is_empty() {
        hasher.update(content);
    }
    if digests.are_met_by(&hasher.finish()) {
        Ok(())
    } else {
        Err(FsError::DigestMismatch { path: path.clone() })
    }
}
