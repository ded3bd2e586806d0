//! The mask layer: what of the host's `/usr` a box must not see.
//!
//! The root of a box owns every file of the layers below it, because the layers are shifted into its range; so a file
//! that only the host's root may read would be an open book. The mask lies over the host's `/usr` and hides, by
//! overlayfs whiteouts, every top-level entry outside the allow-list and every entry that "other" may not read.
//!
//! It is made once, at the start: what appears in the host's `/usr` later is seen as it is.

use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev};

use crate::uid_range::IDS;

/// Which top-level entries of `/usr` a box sees; beside these, all that begin with `lib`.
const ALLOWED: [&str; 5] = ["bin", "sbin", "libexec", "include", "share"];

/// Directories that a box has of its own, empty, where the host's are hidden.
const OWN: [&str; 4] = ["local", "local/bin", "local/lib", "local/share"];

/// What of the entry is shown.
enum Verdict {
    Show,
    Hide,
    /// A directory whose entries are judged one by one.
    Enter,
}

/// Makes the mask of `usr` in `mask`, an empty directory. Answers how many entries it hides.
pub(super) fn make(usr: &Path, mask: &Path) -> io::Result<usize> {
    let mut hidden = 0;
    fs::set_permissions(mask, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(usr)? {
        let entry = entry?;
        let name = entry.file_name();
        if shows(Path::new(&name)) {
            hidden += hide(&entry, &mask.join(&name))?;
        } else if !OWN.iter().any(|own| name == **own) {
            whiteout(&mask.join(&name))?;
            hidden += 1;
        }
    }
    for own in OWN {
        let path = mask.join(own);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        if !own.contains('/') {
            rustix::fs::setxattr(&path, "trusted.overlay.opaque", b"y", XattrFlags::empty())?;
        }
    }
    Ok(hidden)
}

/// Whether a path below `/usr` is in the allow-list.
pub(super) fn shows(path: &Path) -> bool {
    let first = path.iter().next().and_then(|name| name.to_str());
    first.is_some_and(|name| ALLOWED.contains(&name) || name.starts_with("lib"))
}

/// Masks what must be hidden of one entry and of what is below it.
fn hide(entry: &DirEntry, mask: &Path) -> io::Result<usize> {
    let found = match entry.metadata() {
        // Gone since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        found => found?,
    };
    match judge(&found) {
        Verdict::Show => Ok(0),
        Verdict::Hide => {
            make_parents(mask, &entry.path())?;
            whiteout(mask)?;
            Ok(1)
        }
        Verdict::Enter => {
            let mut hidden = 0;
            for inner in fs::read_dir(entry.path())? {
                let inner = inner?;
                hidden += hide(&inner, &mask.join(inner.file_name()))?;
            }
            Ok(hidden)
        }
    }
}

fn judge(found: &Metadata) -> Verdict {
    const OTHER_READS: u32 = 0o004;
    const OTHER_ENTERS: u32 = 0o005;
    let kind = found.file_type();
    let mode = found.permissions().mode();
    if kind.is_symlink() {
        Verdict::Show
    } else if found.uid() >= IDS || found.gid() >= IDS {
        // It would have no owner in the box, and overlayfs refuses such.
        Verdict::Hide
    } else if kind.is_dir() && mode & OTHER_ENTERS == OTHER_ENTERS {
        Verdict::Enter
    } else if kind.is_file() && mode & OTHER_READS != 0 {
        Verdict::Show
    } else {
        Verdict::Hide
    }
}

/// Makes the directories above a whiteout, with the owner and mode of those they lie over: the upper ones count.
fn make_parents(mask: &Path, shown: &Path) -> io::Result<()> {
    let (Some(mask), Some(shown)) = (mask.parent(), shown.parent()) else { return Ok(()) };
    if mask.exists() {
        return Ok(());
    }
    make_parents(mask, shown)?;
    fs::create_dir(mask)?;
    let found = fs::metadata(shown)?;
    chown(mask, Some(found.uid()), Some(found.gid()))?;
    fs::set_permissions(mask, found.permissions())
}

fn whiteout(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))?)
}
