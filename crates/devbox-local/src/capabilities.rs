//! Which capabilities the first process of a box keeps, all of them within the box's own user namespace.

use rustix::thread::{CapabilitySet, CapabilitySets};

/// What programs in a box may have: the list that container managers have settled on, less `CAP_NET_RAW`. Raw sockets are
/// good for nothing on a loopback interface, and a large piece of kernel to be reached.
pub(crate) const PAYLOAD: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

/// What the agent has beyond them and never hands on. It is good for nothing here (it sets alarms that wake a sleeping
/// machine, which a user namespace never may), but whoever would trace the agent needs to have it too: the kernel
/// compares the sets (`cap_ptrace_access_check`).
pub(crate) const AGENT_ONLY: CapabilitySet = CapabilitySet::WAKE_ALARM;

/// Gives up every other capability, for good.
///
/// # Errors
/// What prctl(2) and capset(2) say.
pub(crate) fn reduce() -> rustix::io::Result<()> {
    let kept = PAYLOAD.union(AGENT_ONLY);
    rustix::thread::clear_ambient_capability_set()?;
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) => rustix::thread::remove_capability_from_bounding_set(capability)?,
            Ok(false) => {}
            // The kernel knows no capability of this number, and none of a higher one.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)
}
