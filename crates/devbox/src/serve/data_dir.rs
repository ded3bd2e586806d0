//! The directory that the server works in.
//!
//! It stays root's, and the server's group may write in it: with the sticky bit, which keeps the server from removing or
//! replacing what is the spawner's.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::account::Account;
use super::{SPAWNER_FOLDER, ServeError};
use devbox_store::Store;

/// Root and the server may do everything, each with what is its own; nobody else may even look.
const MODE: u32 = 0o1770;

/// Makes the directory, or takes the one that is there if it is empty or a server's already. Gives its real path.
pub(super) fn take(path: &Path, account: &Account) -> Result<PathBuf, ServeError> {
    let failed = |verb: &str, path: &Path| {
        let step = format!("{verb} the data directory {}", path.display());
        move |source| ServeError::Step { step, source }
    };
    DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(failed("make", path))?;
    let path = path.canonicalize().map_err(failed("find", path))?;
    let mut names = fs::read_dir(&path).map_err(failed("read", &path))?;
    let known = |name: &str| path.join(name).symlink_metadata().is_ok();
    if names.next().is_some()
        && !known(SPAWNER_FOLDER)
        && !known(Store::FILE_NAME)
        && !known(Store::FIRST_KEY_FILE)
    {
        return Err(ServeError::ForeignDirectory { path });
    }
    if let Some(closed) = closed_ancestor(&path, account).map_err(failed("look at", &path))? {
        return Err(ServeError::Unreachable { uid: account.uid, path: closed });
    }
    std::os::unix::fs::chown(&path, Some(0), Some(account.gid)).map_err(failed("own", &path))?;
    // After the owner: changing that may clear mode bits.
    fs::set_permissions(&path, fs::Permissions::from_mode(MODE)).map_err(failed("protect", &path))?;
    Ok(path)
}

/// The outermost directory above `path` that the account may not pass through.
fn closed_ancestor(path: &Path, account: &Account) -> io::Result<Option<PathBuf>> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    for ancestor in above {
        if !may_enter(&fs::metadata(ancestor)?, account) {
            return Ok(Some(ancestor.to_owned()));
        }
    }
    Ok(None)
}

fn may_enter(directory: &Metadata, account: &Account) -> bool {
    let bit = match () {
        () if directory.uid() == account.uid => 0o100,
        () if directory.gid() == account.gid => 0o010,
        () => 0o001,
    };
    directory.mode() & bit != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: Account = Account { uid: 65_520, gid: 65_520 };

    #[test]
    fn a_directory_with_other_things_in_it_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("thesis.txt"), "").expect("a file");
        let before = fs::metadata(folder.path()).expect("metadata").mode();
        let taken = take(folder.path(), &ACCOUNT);
        assert!(matches!(taken, Err(ServeError::ForeignDirectory { .. })), "{taken:?}");
        assert_eq!(fs::metadata(folder.path()).expect("metadata").mode(), before);
    }

    #[test]
    fn a_closed_directory_above_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let (outer, inner) = (folder.path().join("outer"), folder.path().join("outer/inner"));
        fs::create_dir_all(&inner).expect("directories");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        fs::set_permissions(&outer, fs::Permissions::from_mode(0o700)).expect("a mode");
        assert_eq!(closed_ancestor(&inner, &ACCOUNT).expect("a look"), Some(outer.clone()));
        fs::set_permissions(&outer, fs::Permissions::from_mode(0o711)).expect("a mode");
        assert_eq!(closed_ancestor(&inner, &ACCOUNT).expect("a look"), None);
    }
}
