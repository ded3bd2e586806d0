//! What `statx` says of a file, and the entry and entity tag that are made of it.

use std::os::fd::BorrowedFd;
use std::time::SystemTime;

use devbox_types::{BoxPath, Entry, EntryKind, Etag, Timestamp, WirePath};
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp};
use rustix::io::Errno;

/// The slowest tick of a Linux clock that stamps files is 10 ms (CONFIG_HZ=100); a change within the tick of another one
/// can leave the same ctime.
const CLOCK_TICK_NANOSECONDS: i64 = 10_000_000;

/// Which file it is, as long as it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// The metadata of one file at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Attributes(Statx);

impl Attributes {
    /// Of an open descriptor, O_PATH or not.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map(Self)
    }

    /// Of a name in a directory; a symlink is looked at itself.
    pub(crate) fn at(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Self, Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS).map(Self)
    }

    /// The same, with `None` for a name that does not exist.
    pub(crate) fn find(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Self>, Errno> {
        match Self::at(directory, name) {
            Ok(attributes) => Ok(Some(attributes)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(crate) fn id(&self) -> FileId {
        let device = u64::from(self.0.stx_dev_major) << 32 | u64::from(self.0.stx_dev_minor);
        FileId { device, inode: self.0.stx_ino }
    }

    pub(crate) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.0.stx_mode.into())
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    pub(crate) fn is_file(&self) -> bool {
        self.file_type() == FileType::RegularFile
    }

    pub(crate) fn is_symlink(&self) -> bool {
        self.file_type() == FileType::Symlink
    }

    pub(crate) fn kind(&self) -> EntryKind {
        match self.file_type() {
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Symlink,
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket => EntryKind::Socket,
            FileType::BlockDevice => EntryKind::BlockDevice,
            FileType::CharacterDevice => EntryKind::CharacterDevice,
            FileType::RegularFile | FileType::Unknown => EntryKind::File,
        }
    }

    /// Permission bits, 0 to 0o7777.
    pub(crate) fn mode(&self) -> u32 {
        u32::from(self.0.stx_mode) & 0o7777
    }

    pub(crate) fn size(&self) -> u64 {
        self.0.stx_size
    }

    /// How many bytes it takes on its disk.
    pub(crate) fn allocated(&self) -> u64 {
        const UNIT: u64 = 512;
        self.0.stx_blocks.saturating_mul(UNIT)
    }

    pub(crate) fn uid(&self) -> u32 {
        self.0.stx_uid
    }

    pub(crate) fn gid(&self) -> u32 {
        self.0.stx_gid
    }

    pub(crate) fn links(&self) -> u64 {
        u64::from(self.0.stx_nlink)
    }

    pub(crate) fn accessed(&self) -> Timestamp {
        timestamp(self.0.stx_atime)
    }

    pub(crate) fn modified(&self) -> Timestamp {
        timestamp(self.0.stx_mtime)
    }

    pub(crate) fn changed(&self) -> Timestamp {
        timestamp(self.0.stx_ctime)
    }

    /// Whether nothing at all happened to the file between two looks, as far as its clock tells.
    pub(crate) fn is_same_version(&self, other: &Self) -> bool {
        self.id() == other.id() && self.changed() == other.changed() && self.size() == other.size()
    }

    /// What a rename leaves alone of a file: equal before and after, nobody wrote to it or changed its mode or owner.
    pub(crate) fn is_same_content(&self, other: &Self) -> bool {
        self.file_type() == other.file_type()
            && self.size() == other.size()
            && self.modified() == other.modified()
            && (self.mode(), self.uid(), self.gid()) == (other.mode(), other.uid(), other.gid())
    }

    /// The entity tag; weak where a change right after this look could go unseen.
    pub(crate) fn etag(&self, clock: EtagClock) -> Etag {
        let changed = self.changed().nanoseconds();
        Etag::of_version(self.0.stx_ino, changed, self.size(), clock.may_miss_a_change(self))
    }

    /// The entry at `path` that this is.
    pub(crate) fn entry(
        &self,
        path: BoxPath,
        owner: Option<String>,
        target: Option<Vec<u8>>,
        clock: EtagClock,
    ) -> Entry {
        Entry {
            path: WirePath(path),
            kind: self.kind(),
            size_bytes: self.size(),
            mode: self.mode(),
            uid: self.uid(),
            gid: self.gid(),
            owner,
            modified: self.modified(),
            changed: self.changed(),
            links: self.links(),
            target,
            etag: self.is_file().then(|| self.etag(clock)),
            xattrs: None,
        }
    }
}

impl std::fmt::Debug for Attributes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Attributes")
            .field("kind", &self.kind())
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

fn timestamp(time: StatxTimestamp) -> Timestamp {
    Timestamp::from_parts(time.tv_sec, time.tv_nsec)
}

/// How far the ctime of a file can be trusted to tell versions apart.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EtagClock {
    /// The device whose file system gives every change after a look a ctime of its own (multigrain, Linux 6.13).
    multigrain_device: Option<u64>,
}

impl EtagClock {
    /// Finds out by changing an unnamed file in `directory` and looking, a few times within one tick.
    pub(crate) fn probe(directory: BorrowedFd<'_>) -> Self {
        Self { multigrain_device: multigrain_device(directory).unwrap_or(None) }
    }

    pub(crate) fn may_miss_a_change(self, attributes: &Attributes) -> bool {
        if self.multigrain_device == Some(attributes.id().device) {
            return false;
        }
        let now = Timestamp::from(SystemTime::now()).nanoseconds();
        now.saturating_sub(attributes.changed().nanoseconds()) <= CLOCK_TICK_NANOSECONDS
    }
}

fn multigrain_device(directory: BorrowedFd<'_>) -> Result<Option<u64>, Errno> {
    use rustix::fs::{Mode, OFlags};
    /// A coarse clock would have to tick between each two of them, which takes 4 ms or more a time.
    const LOOKS: u32 = 8;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, ".", flags, Mode::RUSR)?;
    let file = std::os::fd::AsFd::as_fd(&file);
    let first = Attributes::of(file)?;
    let mut last = first;
    for look in 0..LOOKS {
        rustix::fs::fchmod(file, Mode::from_raw_mode(0o600 + look % 2))?;
        let now = Attributes::of(file)?;
        if now.changed() == last.changed() {
            return Ok(None);
        }
        last = now;
    }
    let spent = last.changed().nanoseconds().saturating_sub(first.changed().nanoseconds());
    Ok((spent < CLOCK_TICK_NANOSECONDS).then_some(first.id().device))
}
