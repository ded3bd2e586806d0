//! Making files, mounts and namespaces in the name of a box's root, with as few of the host's rights as that needs.

use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// What work on the files of boxes needs. Overlayfs keeps the rights of whoever mounted it for all that it does later, on
/// behalf of programs in the box; so it does not get what lets a file system's reserve and quotas be passed over
/// (`CAP_SYS_RESOURCE`), nor anything else that has nothing to do with files.
const FILE_WORK: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SYS_ADMIN);

/// Runs `work` with `id` as the effective user and group of this thread, and with the capabilities that work on files needs.
///
/// Two things depend on who acts. Overlayfs acts on its upper layer with the credentials of whoever mounted it; that layer
/// is idmapped, so to it the host's root is nobody, and nobody can own the overlay's work directory: the box's root can.
/// And the kernel counts what a user namespace uses up (inotify instances, queued signals, message queues) for the user
/// who made it, too: were that the host's root, one box could use up the share of the machine's own services.
///
/// In a child made by `work` this goes on until the child becomes somebody else.
///
/// # Errors
/// What `work` says. If the thread cannot become itself again the process ends.
pub(crate) fn as_box_root<T>(id: u32, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let own = capabilities(None)?;
    let result = become_user(id).and_then(|()| {
        // The kernel takes its effective capabilities from a thread whose effective user stops being root.
        let reduced = CapabilitySets { effective: own.permitted & FILE_WORK, ..own };
        set_capabilities(None, reduced)?;
        work()
    });
    if become_user(0).is_err() || set_capabilities(None, own).is_err() {
        std::process::abort();
    }
    result
}

fn become_user(id: u32) -> io::Result<()> {
    // Root's group first, or last: whichever way, it is changed while that is allowed.
    if id == 0 {
        rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
        return Ok(rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?);
    }
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::from_raw(id), Gid::ROOT)?;
    Ok(rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::from_raw(id), Uid::ROOT)?)
}
