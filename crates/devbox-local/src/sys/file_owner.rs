//! Making files and mounts in somebody else's name, with the host's rights.

use std::io;

use rustix::thread::{CapabilitySets, capabilities, set_capabilities};

/// Runs `work` with `id` as the file system user and group of this thread, all capabilities kept.
///
/// Overlayfs acts on its upper layer with the credentials of whoever mounted it. That layer is idmapped: to it, the
/// host's root is nobody, and nobody can own the overlay's work directory. The box's root can.
///
/// # Errors
/// What `work` says. If the thread cannot become itself again the process ends.
pub(crate) fn as_file_owner<T>(id: u32, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let own = capabilities(None)?;
    let own_id = [rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()];
    set_fs_ids(id, id);
    // The kernel takes the file capabilities from a thread whose file system user stops being root.
    let result = set_capabilities(None, CapabilitySets { effective: own.permitted, ..own })
        .map_err(io::Error::from)
        .and_then(|()| work());
    set_fs_ids(own_id[0], own_id[1]);
    if set_capabilities(None, own).is_err() {
        std::process::abort();
    }
    result
}

#[expect(unsafe_code, reason = "rustix has no setfsuid and setfsgid")]
fn set_fs_ids(uid: u32, gid: u32) {
    // SAFETY: both take a number and touch no memory. They cannot fail for the host's root, who alone runs this.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}
