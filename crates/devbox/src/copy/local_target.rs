//! Directories on this machine that are written below, and nowhere else.
//!
//! A box decides which names and links it sends, so nothing here ever walks a path: each directory is opened below the
//! one before it, by one name, and never through a link. What a link that came from the box says does not matter then.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use devbox_types::Timestamp;
use rustix::fs::{self, AtFlags, Mode, OFlags, Timespec, Timestamps};

use super::CopyError;

/// The mode of a directory while it is being filled.
const FILLING: Mode = Mode::RWXU;

/// A directory here, held open.
#[derive(Debug)]
pub(super) struct Folder {
    directory: OwnedFd,
    shown: PathBuf,
    /// Whether it was made by us, so that its mode and time are ours to set.
    made: bool,
}

impl Folder {
    /// Opens a directory that the person named; links on the way are theirs and are followed.
    pub(super) fn open(path: &Path) -> Result<Self, CopyError> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let directory = fs::open(path, flags, Mode::empty()).map_err(|error| unwritable(path, error))?;
        Ok(Self { directory, shown: path.to_owned(), made: false })
    }

    /// Opens the directory that the person named, or makes it. The directory that it is in must be there.
    pub(super) fn open_or_make(path: &Path) -> Result<Self, CopyError> {
        let made = match fs::mkdir(path, FILLING) {
            Ok(()) => true,
            Err(rustix::io::Errno::EXIST) => false,
            Err(error) => return Err(unwritable(path, error)),
        };
        Ok(Self { made, ..Self::open(path)? })
    }

    /// Opens, or makes, the directory of this name in it.
    pub(super) fn folder(&self, name: &Name) -> Result<Self, CopyError> {
        let shown = self.shown.join(&name.0);
        let made = match fs::mkdirat(&self.directory, &name.0, FILLING) {
            Ok(()) => true,
            Err(rustix::io::Errno::EXIST) => false,
            Err(error) => return Err(unwritable(&shown, error)),
        };
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        match fs::openat(&self.directory, &name.0, flags, Mode::empty()) {
            Ok(directory) => Ok(Self { directory, shown, made }),
            Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                Err(CopyError::NotDirectory { path: shown })
            }
            Err(error) => Err(unwritable(&shown, error)),
        }
    }

    /// A path that leads to this name in the directory that is open here, wherever that is by now.
    pub(super) fn path_of(&self, name: &Name) -> PathBuf {
        let directory = self.directory.as_raw_fd();
        PathBuf::from(format!("/proc/self/fd/{directory}")).join(&name.0)
    }

    /// The path to show to a person.
    pub(super) fn shown_path_of(&self, name: &Name) -> PathBuf {
        self.shown.join(&name.0)
    }

    /// Begins a file of this name; it appears, or replaces what is there, when it is published.
    pub(super) fn stage(&self, name: Name) -> Result<StagedFile<'_>, CopyError> {
        let shown = self.shown.join(&name.0);
        let staging = staging_name();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = fs::openat(&self.directory, &staging, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| unwritable(&shown, error))?;
        Ok(StagedFile { folder: self, file: file.into(), staging, name, shown, published: false })
    }

    /// Makes a symbolic link, byte for byte as it was; what is there is replaced, unless it is a directory.
    pub(super) fn link(&self, name: &Name, says: &[u8], modified: Timestamp) -> Result<(), CopyError> {
        let shown = self.shown.join(&name.0);
        let staging = staging_name();
        fs::symlinkat(OsStr::from_bytes(says), &self.directory, &staging)
            .map_err(|error| unwritable(&shown, error))?;
        let finished = fs::utimensat(&self.directory, &staging, &times(modified), AtFlags::SYMLINK_NOFOLLOW)
            .and_then(|()| fs::renameat(&self.directory, &staging, &self.directory, &name.0));
        finished.map_err(|error| {
            let _ = fs::unlinkat(&self.directory, &staging, AtFlags::empty());
            unwritable(&shown, error)
        })
    }

    /// Sets mode and time of a directory that is filled, if it was made by us.
    pub(super) fn finish(&self, mode: u32, modified: Timestamp) -> Result<(), CopyError> {
        if !self.made {
            return Ok(());
        }
        let failed = |error| unwritable(&self.shown, error);
        fs::fchmod(&self.directory, permissions(mode)).map_err(failed)?;
        fs::futimens(&self.directory, &times(modified)).map_err(failed)
    }
}

/// A file that is being written. Dropped before it is published, it leaves nothing.
#[derive(Debug)]
pub(super) struct StagedFile<'f> {
    folder: &'f Folder,
    file: std::fs::File,
    staging: OsString,
    name: Name,
    shown: PathBuf,
    published: bool,
}

impl StagedFile<'_> {
    /// Appends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CopyError> {
        let shown = &self.shown;
        self.file.write_all(bytes).map_err(|source| CopyError::Unwritable { path: shown.clone(), source })
    }

    /// Gives the file its mode, its time and its name, in one step for whoever looks.
    pub(super) fn publish(mut self, mode: u32, modified: Timestamp) -> Result<(), CopyError> {
        let failed = |error| unwritable(&self.shown, error);
        fs::fchmod(&self.file, permissions(mode)).map_err(failed)?;
        fs::futimens(&self.file, &times(modified)).map_err(failed)?;
        let directory = &self.folder.directory;
        fs::renameat(directory, &self.staging, directory, &self.name.0).map_err(failed)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for StagedFile<'_> {
    fn drop(&mut self) {
        if !self.published {
            // Nobody is left to tell; the name says whose it is.
            let _ = fs::unlinkat(&self.folder.directory, &self.staging, AtFlags::empty());
        }
    }
}

/// One name of an entry: not empty, not `.` or `..`, without `/` and NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(OsString);

impl Name {
    /// Takes bytes as a name, if they are one.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let is_name =
            !matches!(bytes, b"" | b"." | b"..") && !bytes.iter().any(|byte| matches!(byte, b'/' | 0));
        is_name.then(|| Self(OsStr::from_bytes(bytes).to_owned()))
    }
}

/// Permission bits without set-user-id, set-group-id and sticky: a box must not plant programs that run as whoever
/// copied them.
fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o777)
}

fn times(modified: Timestamp) -> Timestamps {
    let (seconds, nanoseconds) = modified.parts();
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    }
}

fn staging_name() -> OsString {
    let mut random = [0; 8];
    getrandom::fill(&mut random).expect("the kernel's random numbers are always there");
    format!(".devbox-{:016x}.part", u64::from_ne_bytes(random)).into()
}

fn unwritable(path: &Path, error: rustix::io::Errno) -> CopyError {
    CopyError::Unwritable { path: path.to_owned(), source: io::Error::from(error) }
}

#[cfg(test)]
mod tests {
    use std::fs as std_fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).expect("a name")
    }

    #[test]
    fn attack_names_that_lead_elsewhere() {
        for bytes in [&b""[..], b".", b"..", b"a/b", b"/etc", b"../x", b"a\0b"] {
            assert_eq!(Name::parse(bytes), None, "{bytes:?}");
        }
        assert!(
            Name::parse(b"...").is_some() && Name::parse(b"\xff").is_some() && Name::parse(b"-rf").is_some()
        );
    }

    #[test]
    fn attack_directory_through_a_planted_link() {
        let outside = tempfile::tempdir().expect("a folder");
        let inside = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(inside.path()).expect("a folder");
        folder
            .link(&name("out"), outside.path().as_os_str().as_bytes(), Timestamp::from_parts(7, 8))
            .expect("a link");
        assert_eq!(std_fs::symlink_metadata(inside.path().join("out")).expect("metadata").mtime(), 7);
        let through = folder.folder(&name("out"));
        assert!(matches!(through, Err(CopyError::NotDirectory { .. })), "{through:?}");
        assert_eq!(std_fs::read_dir(outside.path()).expect("a listing").count(), 0);
    }

    #[test]
    fn attack_file_through_a_planted_link() {
        let outside = tempfile::tempdir().expect("a folder");
        let victim = outside.path().join("victim");
        std_fs::write(&victim, "precious").expect("a file");
        let inside = tempfile::tempdir().expect("a folder");
        symlink(&victim, inside.path().join("a")).expect("a link");
        let folder = Folder::open(inside.path()).expect("a folder");
        let mut file = folder.stage(name("a")).expect("a file");
        file.write(b"hostile").expect("written");
        file.publish(0o644, Timestamp::from_parts(1, 2)).expect("published");
        assert_eq!(std_fs::read(&victim).expect("bytes"), b"precious");
        assert_eq!(std_fs::read(inside.path().join("a")).expect("bytes"), b"hostile");
    }

    #[test]
    fn attack_set_user_id_program() {
        let inside = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(inside.path()).expect("a folder");
        folder
            .stage(name("a"))
            .expect("a file")
            .publish(0o6755, Timestamp::from_parts(5, 6))
            .expect("published");
        let metadata = std_fs::metadata(inside.path().join("a")).expect("metadata");
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o755);
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (5, 6));
    }

    #[test]
    fn what_is_not_published_leaves_nothing() {
        let inside = tempfile::tempdir().expect("a folder");
        std_fs::write(inside.path().join("a"), "old").expect("a file");
        let folder = Folder::open(inside.path()).expect("a folder");
        folder.stage(name("a")).expect("a file").write(b"half").expect("written");
        let names: Vec<_> = std_fs::read_dir(inside.path()).expect("a listing").collect();
        assert_eq!(names.len(), 1);
        assert_eq!(std_fs::read(inside.path().join("a")).expect("bytes"), b"old");
    }

    #[test]
    fn a_directory_that_was_there_keeps_its_mode() {
        let inside = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(inside.path()).expect("a folder");
        folder
            .folder(&name("new"))
            .expect("made")
            .finish(0o555, Timestamp::from_parts(0, 0))
            .expect("finished");
        folder
            .folder(&name("new"))
            .expect("opened")
            .finish(0o777, Timestamp::from_parts(0, 0))
            .expect("left alone");
        let mode = std_fs::metadata(inside.path().join("new")).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o7777, 0o555);
    }
}
