//! Writing a file aside, chunk by chunk, until it is whole and may be published.

use std::os::fd::{AsFd, OwnedFd};

use devbox_types::file::{Durability, WriteRequest, Written};
use devbox_types::{Algorithms, BoxPath, DigestHasher, Right};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, SeekFrom, Timespec, Timestamps};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::condition;
use crate::directory_table::Spot;
use crate::error::{At as _, FsError};
use crate::publish::Base;
use crate::read::check_kind;
use crate::state::Announced;
use crate::transaction::Transaction;
use crate::verify::read_back;
use crate::view::{Place, View};
use crate::xattrs;

/// 0o666 less the umask 022, whatever the umask of this process.
const FILE_MODE: u32 = 0o644;
/// Until it is published, only its owner may see it.
const STAGING_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Files longer than this ask for their disk space first; for shorter ones the write itself says soon enough.
const PREALLOCATE_ABOVE: u64 = 1 << 20;

/// The content of a file on its way: an unnamed file in the target's directory, and what is known of it.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) file: OwnedFd,
    /// The reserved name of a file that could not be, or was not to stay, unnamed.
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) request: WriteRequest,
    hasher: Option<DigestHasher>,
    /// Where in the file the content begins: behind what was copied of another.
    base: u64,
    pub(crate) written: u64,
    limit: u64,
}

/// Where a write goes.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) seen: Option<Attributes>,
    /// The directories that were made on the way.
    pub(crate) made: Vec<Spot>,
}

/// A file that is being written and does not show yet. Made by [`View::stage`].
///
/// Dropping it leaves everything as it was, and so does the death of the process.
#[derive(Debug)]
pub struct Staged {
    pub(crate) view: View,
    pub(crate) place: Place,
    pub(crate) draft: Draft,
    /// What was there when it was begun.
    pub(crate) seen: Option<Attributes>,
    /// What its content was made of.
    pub(crate) from: Base,
    /// What takes back, unless it is committed, the directories that were made on the way, and the file in them.
    pub(crate) made: Option<Transaction>,
    /// What has the reserved name removed if this process dies.
    pub(crate) announced: Option<Announced>,
    /// The reserved name under which it waited, and waits again if it cannot be published now.
    pub(crate) parked: Option<Vec<u8>>,
}

impl View {
    /// Begins to write a file: checks the target and the condition, makes missing parents if asked to, and asks for disk space.
    ///
    /// # Errors
    /// What would keep the file from being published, as far as it is known now: [`FsError::PreconditionFailed`],
    /// [`FsError::IsADirectory`], [`FsError::NotARegularFile`], [`FsError::PermissionDenied`], [`FsError::NoSpace`] and others.
    pub fn stage(&self, request: WriteRequest) -> Result<Staged, FsError> {
        self.need(Right::Write)?;
        let _acting = self.act()?;
        let mut made = None;
        let Target { place, seen, .. } = self.target(&request, &mut made)?;
        let draft = Draft::open(&place, request, self.limits.bytes)?;
        Ok(Staged::over(self.clone(), place, draft, seen, Base::Any).in_made(made))
    }

    /// Writes a whole file that is in memory: [`View::stage`], [`Staged::write`] and [`Staged::publish`] in one.
    ///
    /// # Errors
    /// As theirs.
    pub fn write_file(&self, request: WriteRequest, content: &[u8]) -> Result<Written, FsError> {
        let _acting = self.act()?;
        if request.in_place {
            return self.write_in_place(request, content);
        }
        let mut staged = self.stage(request)?;
        staged.write(content)?;
        staged.publish()
    }

    /// Finds the directory and name that a write goes to, past final links, and checks what is there. Directories that it
    /// makes on the way are steps of the transaction, which is begun if there is none.
    pub(crate) fn target(
        &self,
        request: &WriteRequest,
        transaction: &mut Option<Transaction>,
    ) -> Result<Target, FsError> {
        let path = &request.path;
        if path.wants_directory() || path.is_root() {
            return match self.open(path, true) {
                Ok(_) | Err(FsError::NotFound { .. }) => Err(FsError::IsADirectory { path: path.clone() }),
                Err(error) => Err(error),
            };
        }
        let mut made = Vec::new();
        let place = match self.place(path) {
            Err(FsError::NotFound { .. }) if request.make_parents => {
                let transaction = Transaction::begun(transaction, &self.engine).at("remember", path)?;
                made = self.make_missing(&path.parent().unwrap_or_default(), transaction)?;
                self.place(path)
            }
            place => place,
        };
        let (place, seen) = self.look_at_target(place?, request)?;
        Ok(Target { place, seen, made })
    }

    fn look_at_target(
        &self,
        mut place: Place,
        request: &WriteRequest,
    ) -> Result<(Place, Option<Attributes>), FsError> {
        let path = &request.path;
        let mut seen = place.find().at("look at", path)?;
        if !request.nofollow && seen.is_some_and(|seen| seen.is_symlink()) {
            place = self.follow(place, path)?;
            seen = place.find().at("look at", path)?;
        }
        self.check_existing(seen.as_ref(), request)?;
        Ok((place, seen))
    }

    /// Whether what is at the target may be replaced, and is what the condition asks for.
    pub(crate) fn check_existing(
        &self,
        existing: Option<&Attributes>,
        request: &WriteRequest,
    ) -> Result<(), FsError> {
        let path = &request.path;
        condition::check(&request.condition, existing, self.engine.clock, path)?;
        let Some(existing) = existing else { return Ok(()) };
        if existing.is_symlink() && request.nofollow {
            return Ok(());
        }
        if existing.is_symlink() {
            // It became one after it was looked at.
            return Err(FsError::Busy { path: path.clone() });
        }
        check_kind(existing, path)?;
        self.check_writable(existing, path)
    }

    /// A rename asks only for the directory's permission; a replace asks for the file's too, as writing to it would.
    fn check_writable(&self, existing: &Attributes, path: &BoxPath) -> Result<(), FsError> {
        const OWNER_WRITES: u32 = 0o200;
        if self.identity.is_root() {
            return Ok(());
        }
        if existing.uid() != self.identity.uid {
            return Err(FsError::OwnerWouldChange { path: path.clone() });
        }
        if existing.mode() & OWNER_WRITES == 0 {
            return Err(FsError::PermissionDenied { step: "write to", path: path.clone() });
        }
        Ok(())
    }
}

impl Draft {
    /// Opens an unnamed file in the target's directory.
    pub(crate) fn open(place: &Place, request: WriteRequest, limit: u64) -> Result<Self, FsError> {
        let length = request.length.unwrap_or(0);
        let draft = Self::over(open_unnamed(place, &request)?, None, request, limit)?;
        reserve_space(&draft.file, length, &draft.request.path)?;
        Ok(draft)
    }

    /// The same for content that is to begin at an offset, behind what the caller copies there. The limit is the file's.
    pub(crate) fn open_over(
        place: &Place,
        request: WriteRequest,
        base: u64,
        limit: u64,
    ) -> Result<Self, FsError> {
        let file = open_unnamed(place, &request)?;
        Ok(Self { base, ..Self::over(file, None, request, limit.saturating_sub(base))? })
    }

    /// Makes a file with a reserved name, which the caller has announced, in the target's directory.
    pub(crate) fn create(
        directory: &OwnedFd,
        name: Vec<u8>,
        request: WriteRequest,
        limit: u64,
    ) -> Result<Self, FsError> {
        let flags = OFlags::CREATE | OFlags::EXCL | access(&request) | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, &name[..], flags, STAGING_MODE);
        let file = file.at("write in the directory of", &request.path)?;
        let length = request.length.unwrap_or(0);
        let draft = Self::over(file, Some(name), request, limit)?;
        reserve_space(&draft.file, length, &draft.request.path)?;
        Ok(draft)
    }

    fn over(
        file: OwnedFd,
        name: Option<Vec<u8>>,
        request: WriteRequest,
        limit: u64,
    ) -> Result<Self, FsError> {
        let length = request.length.unwrap_or(0);
        if length > limit {
            return Err(FsError::TooLarge { limit_bytes: limit });
        }
        let mut wanted = request.digests.algorithms();
        if request.verify && wanted.is_empty() {
            wanted = Algorithms::SHA_256;
        }
        let hasher = (!wanted.is_empty()).then(|| DigestHasher::new(wanted));
        Ok(Self { file, name, request, hasher, base: 0, written: 0, limit })
    }

    /// A file of which everything was written, and its digest compared, before.
    pub(crate) fn resumed(file: OwnedFd, name: Vec<u8>, request: WriteRequest, written: u64) -> Self {
        Self { file, name: Some(name), request, hasher: None, base: 0, written, limit: u64::MAX }
    }

    pub(crate) fn write(&mut self, mut chunk: &[u8]) -> Result<(), FsError> {
        let path = &self.request.path;
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        let total = self.written.saturating_add(length);
        if total > self.limit {
            return Err(FsError::TooLarge { limit_bytes: self.limit });
        }
        if let Some(expected) = self.request.length.filter(|expected| total > *expected) {
            return Err(FsError::LongBody { path: path.clone(), expected });
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(chunk);
        }
        while !chunk.is_empty() {
            match rustix::io::write(&self.file, chunk) {
                Ok(0) => return Err(FsError::NoSpace),
                Ok(count) => chunk = &chunk[count..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(FsError::at("write", path, errno)),
            }
        }
        self.written = total;
        Ok(())
    }

    /// Leaves a hole of so many bytes. To a digest they are zeros, which are written then.
    pub(crate) fn skip(&mut self, mut length: u64) -> Result<(), FsError> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while self.hasher.is_some() && length > 0 {
            let zeros = usize::try_from(length).unwrap_or(ZEROS.len()).min(ZEROS.len());
            self.write(&ZEROS[..zeros])?;
            length -= u64::try_from(zeros).unwrap_or(length);
        }
        let path = &self.request.path;
        let total = self.written.saturating_add(length);
        if total > self.limit {
            return Err(FsError::TooLarge { limit_bytes: self.limit });
        }
        if let Some(expected) = self.request.length.filter(|expected| total > *expected) {
            return Err(FsError::LongBody { path: path.clone(), expected });
        }
        // What is beyond the end of a file that grows is a hole.
        rustix::fs::ftruncate(&self.file, total).at("write", path)?;
        rustix::fs::seek(&self.file, SeekFrom::Start(total)).at("write", path)?;
        self.written = total;
        Ok(())
    }

    /// Checks that all has come that was announced, and safely if asked for.
    pub(crate) fn complete(&mut self) -> Result<(), FsError> {
        let path = &self.request.path;
        if let Some(expected) = self.request.length.filter(|expected| *expected != self.written) {
            return Err(FsError::ShortBody { path: path.clone(), expected, received: self.written });
        }
        if let Some(hasher) = self.hasher.take() {
            let sent = hasher.finish();
            if !self.request.digests.are_met_by(&sent) {
                return Err(FsError::DigestMismatch { path: path.clone() });
            }
            if self.request.verify {
                let stored = read_back(&self.file, self.base, self.written, sent.algorithms(), path)?;
                if stored != sent {
                    return Err(FsError::NotAsWritten { path: path.clone() });
                }
            }
        }
        if self.request.durability == Durability::Power {
            rustix::fs::fsync(&self.file).at("sync", path)?;
        }
        Ok(())
    }

    /// Gives the file the mode, time and, of the file that it replaces, owner and extended attributes.
    pub(crate) fn dress(
        &self,
        view: &View,
        place: &Place,
        existing: Option<&Attributes>,
    ) -> Result<(), FsError> {
        let path = &self.request.path;
        let kept = existing.filter(|existing| existing.is_file());
        if let Some(kept) = kept {
            let old = view.engine.descriptors.path_at(place.directory.as_fd(), &place.name);
            xattrs::keep(old, &self.file).at("keep the extended attributes of", path)?;
            self.keep_owner(view, kept)?;
        }
        let mode = self.request.mode.or(kept.map(Attributes::mode)).unwrap_or(FILE_MODE);
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode & 0o7777)).at("set the mode of", path)?;
        if let Some(modified) = self.request.modified {
            let times = times(modified);
            rustix::fs::futimens(&self.file, &times).at("set the time of", path)?;
        }
        Ok(())
    }

    /// A file that was made in a set-group-id directory has that group, not the acting user's: looked at, not guessed.
    fn keep_owner(&self, view: &View, kept: &Attributes) -> Result<(), FsError> {
        let path = &self.request.path;
        let ours = Attributes::of(self.file.as_fd()).at("look at", path)?;
        let uid = (ours.uid() != kept.uid()).then(|| rustix::fs::Uid::from_raw(kept.uid()));
        let gid = (ours.gid() != kept.gid()).then(|| rustix::fs::Gid::from_raw(kept.gid()));
        if uid.is_none() && gid.is_none() {
            return Ok(());
        }
        match rustix::fs::fchown(&self.file, uid, gid) {
            Err(Errno::PERM) if !view.identity.is_in_group(kept.gid()) => {
                Err(FsError::OwnerWouldChange { path: path.clone() })
            }
            result => result.at("keep the owner of", path),
        }
    }
}

/// How a file is opened that is written aside: what is to be verified is read, too.
fn access(request: &WriteRequest) -> OFlags {
    if request.verify { OFlags::RDWR } else { OFlags::WRONLY }
}

fn open_unnamed(place: &Place, request: &WriteRequest) -> Result<OwnedFd, FsError> {
    let flags = OFlags::TMPFILE | access(request) | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&place.directory, ".", flags, STAGING_MODE);
    file.at("write in the directory of", &request.path)
}

/// Asks for the disk space of a long file, where the file system can be asked.
pub(crate) fn reserve_space(file: &OwnedFd, length: u64, path: &BoxPath) -> Result<(), FsError> {
    if length > PREALLOCATE_ABOVE {
        match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, length) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => {}
            Err(errno) => return Err(FsError::at("ask for the space of", path, errno)),
        }
    }
    Ok(())
}

/// The access time stays, the modification time is set.
pub(crate) fn times(modified: devbox_types::Timestamp) -> Timestamps {
    let (seconds, nanoseconds) = modified.parts();
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    }
}

impl Staged {
    /// One that was written before, for a target that was looked at now.
    pub(crate) fn resumed(view: View, place: Place, draft: Draft, seen: Option<Attributes>) -> Self {
        let parked = draft.name.clone();
        let mut staged = Self::over(view, place, draft, seen, Base::Any);
        staged.parked = parked;
        staged
    }

    /// One whose content was made of what was there.
    pub(crate) fn over(view: View, place: Place, draft: Draft, seen: Option<Attributes>, from: Base) -> Self {
        Self { view, place, draft, seen, from, made: None, announced: None, parked: None }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`FsError::TooLarge`], [`FsError::LongBody`], [`FsError::NoSpace`]; the target is as it was.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), FsError> {
        self.draft.write(chunk)
    }

    /// How many bytes have been written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.draft.written
    }

    /// The same in directories that were made for it.
    pub(crate) fn in_made(mut self, made: Option<Transaction>) -> Self {
        self.made = made;
        self
    }

    /// The directories that were made for it, and the file in them, stay.
    pub(crate) fn keep_directories(&mut self) -> Result<(), FsError> {
        let power = self.draft.request.durability == Durability::Power;
        match self.made.take() {
            Some(made) => made.commit(power, None).at("write the journal of", &self.draft.request.path),
            None => Ok(()),
        }
    }

    /// Removes the reserved name: that of a file that was not published, or of the old one that was exchanged for it. What
    /// cannot be removed now is removed at the next start.
    pub(crate) fn sweep(&mut self) {
        let announced = self.announced.take();
        let Some(name) = self.draft.name.take() else { return };
        match rustix::fs::unlinkat(&self.place.directory, &name[..], AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(_) => {
                let announced = announced.or_else(|| self.view.announce(&self.place, &name).ok().flatten());
                announced.into_iter().for_each(Announced::keep);
            }
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.made.is_none() && self.draft.name.is_none() {
            return;
        }
        let view = self.view.clone();
        // Without the acting user nothing may be touched; what stays is empty directories and a hidden name.
        let Ok(_acting) = view.act() else {
            self.announced.take().into_iter().for_each(Announced::keep);
            return;
        };
        self.sweep();
        self.made = None;
    }
}

#[cfg(test)]
mod tests {
    use devbox_types::{Coded as _, Digests, ErrorCode, Grant};
    use tempfile::TempDir;

    use super::*;
    use crate::{BoxRoot, RootOptions};

    type Spoil = fn(&OwnedFd);

    /// Stages a new version of a file, lets `spoil` work on what was stored of it, and publishes it.
    fn publish_spoilt(
        request: WriteRequest,
        spoil: impl FnOnce(&OwnedFd),
    ) -> (TempDir, Result<Written, FsError>) {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("file"), "old").expect("the old file");
        let root = BoxRoot::open(folder.path(), RootOptions::default()).expect("a root");
        let view = root.enter(&Grant::whole_box()).expect("a view");
        let mut staged = view.stage(request).expect("staged");
        staged.write(b"some ").expect("written");
        staged.write(b"content").expect("written");
        spoil(&staged.draft.file);
        let published = staged.publish();
        (folder, published)
    }

    #[test]
    fn a_file_that_is_not_as_written_is_not_published() {
        let path = BoxPath::parse(b"/file").expect("a path");
        let digests = Digests::of_sha256(<sha2::Sha256 as sha2::Digest>::digest(b"some content").into());
        let spoils: [(&str, Spoil); 3] = [
            ("a flipped bit", |file| {
                rustix::io::pwrite(file, b"t", 0).expect("written");
            }),
            ("a lost end", |file| rustix::fs::ftruncate(file, 11).expect("cut")),
            ("a lost page", |file| {
                rustix::fs::ftruncate(file, 0).expect("cut");
                rustix::fs::ftruncate(file, 12).expect("a hole");
            }),
        ];
        for announced in [Digests::default(), digests] {
            let request = WriteRequest { verify: true, digests: announced, ..WriteRequest::to(path.clone()) };
            for (what, spoil) in spoils {
                let (folder, refused) = publish_spoilt(request.clone(), spoil);
                let error = refused.expect_err(what);
                assert_eq!(error.code(), ErrorCode::VerifyFailed, "{what}");
                assert_eq!(std::fs::read(folder.path().join("file")).expect("a file"), b"old", "{what}");
            }
            let (folder, published) = publish_spoilt(request, |_| {});
            published.expect("it is as it was written");
            assert_eq!(std::fs::read(folder.path().join("file")).expect("a file"), b"some content");
        }
    }
}
