//! A tree on this machine, read step by step.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions, ReadDir};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use devbox_types::{BoxPath, Timestamp};
use rustix::fs::OFlags;

use super::CopyError;

/// A file that is to go into the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalFile {
    /// Where it is here.
    pub(super) source: PathBuf,
    /// Where it goes.
    pub(super) target: BoxPath,
    /// Whether it was met inside a tree: then links at either end are not followed.
    pub(super) in_tree: bool,
}

/// A file that has been opened, as it is now.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) modified: Timestamp,
}

impl LocalFile {
    /// Opens the file. What has become a FIFO or a link in the meantime is refused and never waited for.
    pub(super) fn open(&self) -> Result<OpenFile, CopyError> {
        let unreadable = |source| CopyError::Unreadable { path: self.source.clone(), source };
        let follow = if self.in_tree { OFlags::NOFOLLOW } else { OFlags::empty() };
        let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC | follow).bits();
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags.cast_signed());
        let file = options.open(&self.source).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(CopyError::NotCopyable { path: self.source.clone() });
        }
        Ok(OpenFile { file, size: metadata.len(), mode: mode(&metadata), modified: modified(&metadata) })
    }
}

/// One thing to do for a tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make this directory.
    Enter(BoxPath),
    /// Write this file, of about this size.
    File(LocalFile, u64),
    /// Make a symbolic link.
    Link { target: BoxPath, says: Vec<u8>, modified: Timestamp },
    /// All that is in this directory has been met: set its mode and time.
    Leave { target: BoxPath, mode: u32, modified: Timestamp },
    /// This entry cannot be copied.
    LeaveOut { source: PathBuf, reason: &'static str },
}

/// The steps for one source, depth first; each directory is left after all that is in it. Holds one open directory for
/// each level and nothing that grows with the tree.
#[derive(Debug)]
pub(super) struct LocalTree {
    first: Option<(PathBuf, BoxPath)>,
    open: Vec<OpenFolder>,
}

#[derive(Debug)]
struct OpenFolder {
    source: PathBuf,
    target: BoxPath,
    entries: ReadDir,
    mode: u32,
    modified: Timestamp,
}

impl LocalTree {
    /// The steps that make `source` into `target`. A link that is itself the source is followed.
    pub(super) fn new(source: PathBuf, target: BoxPath) -> Self {
        Self { first: Some((source, target)), open: Vec::new() }
    }

    fn step(&mut self) -> Result<Option<Step>, CopyError> {
        if let Some((source, target)) = self.first.take() {
            let metadata = fs::metadata(&source).map_err(|error| unreadable(&source, error))?;
            return match () {
                () if metadata.is_dir() => self.enter(source, target, &metadata).map(Some),
                () if metadata.is_file() => {
                    Ok(Some(Step::File(LocalFile { source, target, in_tree: false }, metadata.len())))
                }
                () => Err(CopyError::NotCopyable { path: source }),
            };
        }
        let Some(folder) = self.open.last_mut() else { return Ok(None) };
        let Some(entry) = folder.entries.next() else {
            let left = self.open.pop();
            return Ok(left.map(|OpenFolder { target, mode, modified, .. }| Step::Leave {
                target,
                mode,
                modified,
            }));
        };
        let name = entry.map_err(|error| unreadable(&folder.source, error))?.file_name();
        let source = folder.source.join(&name);
        let target = child(&folder.target, &name, &source)?;
        // What vanishes while a tree is copied has left it.
        let metadata = match fs::symlink_metadata(&source) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.step(),
            outcome => outcome.map_err(|error| unreadable(&source, error))?,
        };
        match () {
            () if metadata.is_dir() => self.enter(source, target, &metadata).map(Some),
            () if metadata.is_file() => {
                Ok(Some(Step::File(LocalFile { source, target, in_tree: true }, metadata.len())))
            }
            () if metadata.is_symlink() => link(source, target, &metadata).map(Some),
            () => Ok(Some(Step::LeaveOut { source, reason: "it is neither file, directory nor link" })),
        }
    }

    fn enter(&mut self, source: PathBuf, target: BoxPath, metadata: &Metadata) -> Result<Step, CopyError> {
        let entries = fs::read_dir(&source).map_err(|error| unreadable(&source, error))?;
        let (mode, modified) = (mode(metadata), modified(metadata));
        self.open.push(OpenFolder { source, target: target.clone(), entries, mode, modified });
        Ok(Step::Enter(target))
    }
}

impl Iterator for LocalTree {
    type Item = Result<Step, CopyError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// The path of an entry of this name in a directory of the box.
pub(super) fn child(directory: &BoxPath, name: &OsStr, source: &Path) -> Result<BoxPath, CopyError> {
    directory.join(name.as_bytes()).map_err(|_| CopyError::BadName { path: source.to_owned() })
}

fn link(source: PathBuf, target: BoxPath, metadata: &Metadata) -> Result<Step, CopyError> {
    let says = fs::read_link(&source).map_err(|error| unreadable(&source, error))?;
    Ok(Step::Link { target, says: says.into_os_string().into_vec(), modified: modified(metadata) })
}

fn unreadable(path: &Path, source: io::Error) -> CopyError {
    CopyError::Unreadable { path: path.to_owned(), source }
}

fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

fn modified(metadata: &Metadata) -> Timestamp {
    Timestamp::from_parts(metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn target(path: &str) -> BoxPath {
        BoxPath::parse(path.as_bytes()).expect("a path")
    }

    fn steps(source: &Path) -> Vec<String> {
        let told = |step: Step| match step {
            Step::Enter(path) => format!("enter {path}"),
            Step::File(file, size) => format!("file {} {size}", file.target),
            Step::Link { target, says, .. } => format!("link {target} -> {}", says.escape_ascii()),
            Step::Leave { target, mode, .. } => format!("leave {target} {mode:o}"),
            Step::LeaveOut { reason, .. } => format!("leave out: {reason}"),
        };
        LocalTree::new(source.to_owned(), target("/t")).map(|step| told(step.expect("a step"))).collect()
    }

    #[test]
    fn a_directory_is_left_after_all_that_is_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("a/b")).expect("directories");
        fs::write(root.join("a/b/[id].tsx"), "12345").expect("a file");
        symlink("../b", root.join("a/link")).expect("a link");
        let steps = steps(&root);
        let place = |text: &str| steps.iter().position(|step| step.starts_with(text)).expect(text);
        assert_eq!(steps[0], "enter /t");
        assert!(place("enter /t/a/b") < place("file /t/a/b/[id].tsx 5"));
        assert!(place("file /t/a/b/[id].tsx 5") < place("leave /t/a/b "));
        assert!(place("leave /t/a/b ") < place("leave /t/a "));
        assert!(place("link /t/a/link -> ../b") < place("leave /t/a "));
        assert!(steps.last().expect("a step").starts_with("leave /t "));
    }

    #[test]
    fn sockets_are_left_out_and_nothing_need_be_utf8() {
        let folder = tempfile::tempdir().expect("a folder");
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).expect("a socket");
        fs::write(folder.path().join(OsStr::from_bytes(b"\xff")), "").expect("a file");
        symlink(OsStr::from_bytes(b"a/\xfe"), folder.path().join("link")).expect("a link");
        let steps = steps(folder.path());
        assert!(steps.iter().any(|step| step.starts_with("leave out")), "{steps:?}");
        assert!(steps.iter().any(|step| step.starts_with("file")), "{steps:?}");
        assert!(steps.iter().any(|step| step == r"link /t/link -> a/\xfe"), "{steps:?}");
    }

    #[test]
    fn a_source_that_is_missing_is_an_error() {
        let missing = LocalTree::new("/nonexistent-source".into(), target("/t")).next().expect("a step");
        assert!(matches!(missing, Err(CopyError::Unreadable { .. })));
    }

    #[test]
    fn a_file_that_became_a_link_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("link");
        symlink("/etc/passwd", &path).expect("a link");
        let file = LocalFile { source: path, target: target("/t"), in_tree: true };
        assert!(matches!(file.open(), Err(CopyError::Unreadable { .. })));
    }
}
