//! What is on disk, to compare: names, kinds, contents, modes, owners, attributes, and times where they are promised.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr};
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// The time of every file before anything is done: a replaced file's is another.
pub(crate) const OLD_TIME: i64 = 1_000_000_000;
/// The time that a request gives, where it gives one.
pub(crate) const SET_TIME: i64 = 1_100_000_000;
/// What the agent keeps for itself, and what belongs to the test.
const NOT_THE_BOXES: [&str; 3] = [".~devbox-state", "proc", "dev"];

/// A directory with all that it holds, names that the agent reserves for itself included.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<String, String>);

impl Tree {
    pub(crate) fn of(root: &Path) -> Result<Self> {
        let mut entries = BTreeMap::new();
        let mut pending = vec![root.to_path_buf()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory)? {
                let path = entry?.path();
                let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
                if NOT_THE_BOXES.contains(&name.as_str()) {
                    continue;
                }
                entries.insert(name, describe(&path).with_context(|| path.display().to_string())?);
                if path.symlink_metadata()?.is_dir() {
                    pending.push(path);
                }
            }
        }
        Ok(Self(entries))
    }

    /// The same as callers see it: without the names that the agent reserves for itself.
    pub(crate) fn without_reserved(&self) -> Self {
        let is_reserved = |name: &str| name.split('/').any(|part| part.starts_with(".~devbox-"));
        let seen = self.0.iter().filter(|(name, _)| !is_reserved(name));
        Self(seen.map(|(name, what)| (name.clone(), what.clone())).collect())
    }

    /// The same without these directories.
    pub(crate) fn without_directories(mut self, names: &[&str]) -> Self {
        self.0.retain(|name, what| !(names.contains(&name.as_str()) && what.starts_with("directory")));
        self
    }

    /// What is in `self` and not, or not so, in `other`; and the other way round.
    pub(crate) fn differences(&self, other: &Self) -> String {
        let lines = |tree: &Self| -> BTreeSet<String> {
            tree.0.iter().map(|(name, what)| format!("{name}: {what}")).collect()
        };
        let (own, others) = (lines(self), lines(other));
        let missing = others.difference(&own).map(|line| format!("  - {line}\n"));
        let added = own.difference(&others).map(|line| format!("  + {line}\n"));
        missing.chain(added).collect()
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(&self.0).finish()
    }
}

fn describe(path: &Path) -> Result<String> {
    let metadata = path.symlink_metadata()?;
    let kind = metadata.file_type();
    let shown = |content: &[u8]| {
        let sum = content.iter().fold(5381_u64, |sum, byte| sum.wrapping_mul(33) ^ u64::from(*byte));
        format!("{} {sum:x} {:?}", content.len(), String::from_utf8_lossy(&content[..content.len().min(20)]))
    };
    let what = match () {
        () if kind.is_symlink() => return Ok(format!("-> {}", fs::read_link(path)?.display())),
        () if kind.is_dir() => "directory".to_owned(),
        () if kind.is_file() => format!("file x{} {}", metadata.nlink(), shown(&fs::read(path)?)),
        () => "special".to_owned(),
    };
    // A directory's time changes with its names, so only one that was asked for tells anything.
    let times: &[i64] = if kind.is_dir() { &[SET_TIME] } else { &[OLD_TIME, SET_TIME] };
    let time = times.iter().find(|time| **time == metadata.mtime());
    let time = time.map_or_else(String::new, |time| format!(" time {time}"));
    let attributes = attributes(path)?;
    let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
    Ok(format!("{what} {mode:o} {uid}:{gid}{time}{attributes}"))
}

fn attributes(path: &Path) -> Result<String> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut names = vec![0_u8; 4096];
    #[expect(unsafe_code, reason = "extended attributes have no safe wrapper in std")]
    // SAFETY: the buffer is as long as it is said to be, and the path is a C string.
    let length = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    let Ok(length) = usize::try_from(length) else { return Ok(String::new()) };
    let mut shown = BTreeSet::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")) {
        let name = CString::new(name)?;
        let mut value = vec![0_u8; 4096];
        #[expect(unsafe_code, reason = "extended attributes have no safe wrapper in std")]
        // SAFETY: as above.
        let length =
            unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        let length = usize::try_from(length).context("an attribute that cannot be read")?;
        shown.insert(format!(
            " {}={}",
            name.to_string_lossy(),
            OsStr::from_bytes(&value[..length]).display()
        ));
    }
    Ok(shown.into_iter().collect())
}

/// Gives a file an extended attribute.
pub(crate) fn set_attribute(path: &Path, name: &str, value: &str) -> Result<()> {
    let (path, name) = (CString::new(path.as_os_str().as_bytes())?, CString::new(name)?);
    #[expect(unsafe_code, reason = "extended attributes have no safe wrapper in std")]
    // SAFETY: two C strings, and as many bytes as there are.
    let result =
        unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    ensure!(result == 0, "cannot set {name:?} of {path:?}: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Gives everything in a directory the old time, and an owner.
pub(crate) fn settle(root: &Path, uid: u32) -> Result<()> {
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            std::os::unix::fs::lchown(&path, Some(uid), Some(uid))?;
            if path.symlink_metadata()?.is_dir() {
                pending.push(path.clone());
            }
            set_old_time(&path)?;
        }
    }
    std::os::unix::fs::chown(root, Some(uid), Some(uid))?;
    Ok(())
}

fn set_old_time(path: &Path) -> Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let time = libc::timespec { tv_sec: OLD_TIME, tv_nsec: 0 };
    let times = [time; 2];
    #[expect(unsafe_code, reason = "the times of a link have no safe wrapper in std")]
    // SAFETY: a C string, and the two times that the call reads.
    let result =
        unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), libc::AT_SYMLINK_NOFOLLOW) };
    ensure!(result == 0, "cannot set the time of {path:?}");
    Ok(())
}

/// What the agent keeps in its state directory while it runs and nothing is half done: one file of slots, and a note for each
/// upload that it remembers.
pub(crate) fn check_state(root: &Path, notes: usize) -> Result<()> {
    let names: Vec<String> = fs::read_dir(root.join(NOT_THE_BOXES[0]))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    let of = |kind: &str| names.iter().filter(|name| name.starts_with(kind)).count();
    let clean = (of("slots-"), of("note-"), of("journal-")) == (1, notes, 0);
    ensure!(clean, "the state directory holds {names:?}");
    Ok(())
}
