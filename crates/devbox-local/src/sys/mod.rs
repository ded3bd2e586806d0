//! System calls that have no safe wrapper in the libraries we use. The only unsafe code of this crate, beside what is
//! explained here file by file.
//!
//! | module | subject |
//! |---|---|
//! | [`clone`] | making processes in new namespaces |
//! | [`box_root`] | acting in the name of a box's root |
//! | [`idmap`] | mounts whose owners are shifted |
//! | [`ioctl`] | btrfs subvolumes, loop devices, the loopback interface |
//! | [`exec`] | executing an open file |
//! | [`range_lock`] | locks on single bytes of a file |
//! | [`watch`] | descriptors that tokio waits for |

pub(crate) mod box_root;
pub(crate) mod clone;
pub(crate) mod exec;
pub(crate) mod idmap;
pub(crate) mod ioctl;
pub(crate) mod range_lock;
pub(crate) mod watch;

use std::io;

/// The kernel's answer as a result.
fn checked(answer: libc::c_long) -> io::Result<libc::c_long> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
