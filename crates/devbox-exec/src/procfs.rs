//! Reading `/proc`: which processes there are, and whose children.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// One process as `/proc/PID/stat` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: i32,
    pub(crate) state: u8,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    pub(crate) threads: u32,
    /// When it started, in clock ticks since boot; with the pid it names a process for good.
    pub(crate) started: u64,
}

impl Stat {
    /// Reads the line of one process; `None` if there is none, or `/proc` is not there.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name in the second field may hold anything, `)` and spaces too; what follows its last `)` is regular.
    fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|byte| *byte == b'(')?;
        let close = line.iter().rposition(|byte| *byte == b')')?;
        let pid = std::str::from_utf8(line.get(..open)?).ok()?.trim().parse().ok()?;
        let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
        // Counted from the third field of proc_pid_stat(5).
        let fields: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
        Some(Self {
            pid,
            state: *fields.first()?.as_bytes().first()?,
            parent: fields.get(1)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            threads: fields.get(17)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    /// Whether nothing of it runs any more. The first thread of a process may end before the others: that alone also
    /// shows as a zombie.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self.state, b'X' | b'x') || (self.state == b'Z' && self.threads <= 1)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state == b'T'
    }
}

/// Every process there is. One that starts or ends meanwhile may or may not be among them.
pub(crate) fn processes() -> io::Result<Vec<Stat>> {
    let numbers =
        fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    Ok(numbers.filter_map(Stat::of).collect())
}

/// The most of an environment that is searched: Linux's own limit for arguments and environment with the usual stack.
const MAX_ENVIRONMENT: u64 = 2 * 1024 * 1024;

/// The environment that a process was started with, as far as this process may see it.
pub(crate) fn environment(pid: i32) -> Option<Vec<u8>> {
    let folder = Path::new("/proc").join(pid.to_string());
    let mut environment = Vec::new();
    let file = open_as_owner(&folder, "environ").ok()?;
    file.take(MAX_ENVIRONMENT).read_to_end(&mut environment).ok()?;
    Some(environment)
}

/// Opens a file of a process that only its user may open: root of a user namespace has to become that user for it, unless
/// it has CAP_SYS_PTRACE. The permission is checked when the file is opened, not when it is read.
fn open_as_owner(folder: &Path, name: &str) -> io::Result<fs::File> {
    let denied = match fs::File::open(folder.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
        other => return other,
    };
    if !rustix::process::geteuid().is_root() {
        return Err(denied);
    }
    let owner = fs::metadata(folder)?;
    let _owner = FileIdentity::assume(owner.uid(), owner.gid());
    fs::File::open(folder.join(name))
}

/// This thread's identity towards file systems, until it is dropped.
struct FileIdentity;

impl FileIdentity {
    fn assume(uid: u32, gid: u32) -> Self {
        set_file_identity(uid, gid);
        Self
    }
}

impl Drop for FileIdentity {
    fn drop(&mut self) {
        set_file_identity(rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    }
}

/// Neither call reports failure; one that fails leaves what was, and the open that follows is refused.
#[expect(unsafe_code, reason = "setfsuid and setfsgid have no safe wrapper")]
fn set_file_identity(uid: u32, gid: u32) {
    // SAFETY: system calls that change an attribute of this thread alone.
    unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_the_fields_behind_it() {
        let line = b"42 (a) R 1 1 1 (b) S 7 42 41 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 3 0 12345 8192 1";
        let stat = Stat { pid: 42, state: b'S', parent: 7, session: 41, threads: 3, started: 12345 };
        assert_eq!(Stat::parse(line), Some(stat));
    }

    #[test]
    fn this_process_is_found() {
        let pid = i32::try_from(std::process::id()).expect("a pid");
        let stat = Stat::of(pid).expect("a stat");
        assert!(stat.pid == pid && !stat.is_dead());
        assert!(processes().expect("/proc").contains(&Stat { state: b'R', ..stat }) || stat.threads > 0);
        assert_eq!(Stat::parse(b"nonsense"), None);
    }
}
