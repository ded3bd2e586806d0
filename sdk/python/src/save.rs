//! Contents from a box into local files.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use devbox_guest::Body;
use devbox_types::{Entry, Timestamp};
use futures_util::StreamExt as _;

use crate::failure::Failure;

/// Streams `body` into the local file at `to`, which appears whole or not at all; returns how many bytes it has.
///
/// With `like`, the file gets that entry's permission bits (without set-uid and its like) and modification time.
pub(crate) async fn save(mut body: Body, to: &Path, like: Option<&Entry>) -> Result<u64, Failure> {
    let mut staged = Staged::beside(to).map_err(Failure::local(to))?;
    let mut size = 0;
    while let Some(chunk) = body.next().await.transpose()? {
        staged.file.write_all(&chunk).map_err(Failure::local(to))?;
        size += u64::try_from(chunk.len()).unwrap_or(0);
    }
    staged.publish(to, like).map_err(Failure::local(to))?;
    Ok(size)
}

/// A new file that vanishes unless it is published.
struct Staged {
    path: PathBuf,
    file: File,
}

impl Staged {
    fn beside(target: &Path) -> io::Result<Self> {
        if target.is_dir() {
            return Err(io::Error::from_raw_os_error(EISDIR));
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let path = target.with_file_name(format!(".devbox-{:016x}", u64::from_ne_bytes(random)));
        let file = File::create_new(&path)?;
        Ok(Self { path, file })
    }

    fn publish(self, target: &Path, like: Option<&Entry>) -> io::Result<()> {
        if let Some(entry) = like {
            imitate(&self.file, entry)?;
        }
        fs::rename(&self.path, target)
    }
}

/// Number of the error "is a directory"; std has the kind, but no error of its own to make from it.
const EISDIR: i32 = 21;

impl Drop for Staged {
    fn drop(&mut self) {
        // Published, it is not there any more.
        drop(fs::remove_file(&self.path));
    }
}

fn imitate(file: &File, entry: &Entry) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.set_permissions(Permissions::from_mode(entry.mode & 0o777))?;
    }
    file.set_times(FileTimes::new().set_modified(system_time(entry.modified)))
}

fn system_time(time: Timestamp) -> SystemTime {
    let distance = Duration::from_nanos(time.nanoseconds().unsigned_abs());
    if time.nanoseconds() < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}
