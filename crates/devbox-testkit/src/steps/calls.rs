//! Which system calls are steps.

use std::ffi::c_long;

/// A system call that may change a file system.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) number: c_long,
    pub(super) name: &'static str,
    pub(super) changes: Changes,
}

/// What a call changes, by the number of the argument that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changes {
    /// The file behind a descriptor.
    File(usize),
    /// The same, with bytes as many as the third argument says.
    Content(usize),
    /// A name in a directory.
    Name(usize),
    /// Two of them.
    Names(usize, usize),
    /// A name, if these flags ask for writing.
    Opened(usize),
    /// The same, with the flags in memory.
    OpenedHow(usize),
}

use Changes::{Content, File, Name, Names, Opened, OpenedHow};

const fn call(number: c_long, name: &'static str, changes: Changes) -> Call {
    Call { number, name, changes }
}

/// Those that both x86-64 and 64-bit ARM have, and that a program of ours makes.
const COMMON: &[Call] = &[
    call(libc::SYS_write, "write", Content(0)),
    call(libc::SYS_pwrite64, "pwrite64", Content(0)),
    call(libc::SYS_writev, "writev", File(0)),
    call(libc::SYS_pwritev, "pwritev", File(0)),
    call(libc::SYS_pwritev2, "pwritev2", File(0)),
    call(libc::SYS_copy_file_range, "copy_file_range", File(2)),
    call(libc::SYS_sendfile, "sendfile", File(0)),
    call(libc::SYS_splice, "splice", File(2)),
    call(libc::SYS_ftruncate, "ftruncate", File(0)),
    call(libc::SYS_fallocate, "fallocate", File(0)),
    call(libc::SYS_ioctl, "ioctl", File(0)),
    call(libc::SYS_fsync, "fsync", File(0)),
    call(libc::SYS_fdatasync, "fdatasync", File(0)),
    call(libc::SYS_syncfs, "syncfs", File(0)),
    call(libc::SYS_fchmod, "fchmod", File(0)),
    call(libc::SYS_fchown, "fchown", File(0)),
    call(libc::SYS_fsetxattr, "fsetxattr", File(0)),
    call(libc::SYS_fremovexattr, "fremovexattr", File(0)),
    call(libc::SYS_fchmodat, "fchmodat", Name(1)),
    call(libc::SYS_fchmodat2, "fchmodat2", Name(1)),
    call(libc::SYS_fchownat, "fchownat", Name(1)),
    call(libc::SYS_utimensat, "utimensat", Name(1)),
    call(libc::SYS_setxattr, "setxattr", Name(0)),
    call(libc::SYS_lsetxattr, "lsetxattr", Name(0)),
    call(libc::SYS_removexattr, "removexattr", Name(0)),
    call(libc::SYS_lremovexattr, "lremovexattr", Name(0)),
    call(libc::SYS_truncate, "truncate", Name(0)),
    call(libc::SYS_mkdirat, "mkdirat", Name(1)),
    call(libc::SYS_mknodat, "mknodat", Name(1)),
    call(libc::SYS_symlinkat, "symlinkat", Name(2)),
    call(libc::SYS_unlinkat, "unlinkat", Name(1)),
    call(libc::SYS_linkat, "linkat", Names(1, 3)),
    call(libc::SYS_renameat, "renameat", Names(1, 3)),
    call(libc::SYS_renameat2, "renameat2", Names(1, 3)),
    call(libc::SYS_openat, "openat", Opened(2)),
    call(libc::SYS_openat2, "openat2", OpenedHow(2)),
];

/// Those that x86-64 has beside them.
#[cfg(target_arch = "x86_64")]
const OLDER: &[Call] = &[
    call(libc::SYS_open, "open", Opened(1)),
    call(libc::SYS_creat, "creat", Name(0)),
    call(libc::SYS_mkdir, "mkdir", Name(0)),
    call(libc::SYS_mknod, "mknod", Name(0)),
    call(libc::SYS_symlink, "symlink", Name(1)),
    call(libc::SYS_unlink, "unlink", Name(0)),
    call(libc::SYS_rmdir, "rmdir", Name(0)),
    call(libc::SYS_link, "link", Names(0, 1)),
    call(libc::SYS_rename, "rename", Names(0, 1)),
    call(libc::SYS_chmod, "chmod", Name(0)),
    call(libc::SYS_chown, "chown", Name(0)),
    call(libc::SYS_lchown, "lchown", Name(0)),
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[Call] = &[];

pub(super) fn all() -> impl Iterator<Item = &'static Call> {
    COMMON.iter().chain(OLDER)
}

/// Whether flags of open(2) ask for writing or making.
pub(super) fn asks_to_write(flags: u64) -> bool {
    let of = |flag: libc::c_int| u64::try_from(flag).unwrap_or(0);
    let tmpfile = of(libc::O_TMPFILE) & !of(libc::O_DIRECTORY);
    let writing = of(libc::O_WRONLY) | of(libc::O_RDWR) | of(libc::O_CREAT) | of(libc::O_TRUNC) | tmpfile;
    flags & writing != 0 && flags & of(libc::O_PATH) == 0
}
