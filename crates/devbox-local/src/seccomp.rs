//! Which system calls programs in a box may make.
//!
//! Two filters lie over each other, because one filter has one answer for what it does not allow. The first answers
//! `ENOSYS` to what C libraries fall back from: clone3, whose flags no filter can read, and calls newer than this list.
//! The second allows what is listed and answers `EPERM` to the rest: mounts, new namespaces, keys, BPF, io_uring, kernel
//! modules, tracing of the machine. ptrace and its like stay: they are useful inside, and reach nothing outside.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

mod calls;

/// The number after the newest call that this list knows (`file_setattr`, Linux 6.17, is 469).
const FIRST_UNKNOWN: i64 = 470;
/// How many numbers from there on are answered as unknown.
const UNKNOWN: i64 = 64;

/// What makes a clone a new namespace: all `CLONE_NEW…` flags of clone(2).
const NEW_NAMESPACES: u64 = 0x7e02_0080;
/// `TIOCSTI`, which types into another's terminal, and `TIOCLINUX`, which does so by the console.
const FORBIDDEN_IOCTLS: [u64; 2] = [0x5412, 0x541c];
/// The socket families that programs here have a use for: `AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_NETLINK`. Each other one is
/// kernel code, loaded on demand, that is seldom looked at; and `AF_VSOCK` is a way to the machine's own host.
const FAMILIES: [u64; 4] = [1, 2, 10, 16];

/// The two filters, as programs for the kernel.
#[derive(Debug)]
pub(crate) struct Filters {
    unknown: BpfProgram,
    allowed: BpfProgram,
}

impl Filters {
    /// # Errors
    /// If this architecture has no filters, or the list does not fit one.
    pub(crate) fn compile() -> Result<Self, seccompiler::BackendError> {
        let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
        let errno = |errno: i32| SeccompAction::Errno(errno.cast_unsigned());
        let numbers = [libc::SYS_clone3].into_iter().chain(FIRST_UNKNOWN..FIRST_UNKNOWN + UNKNOWN);
        let unknown = SeccompFilter::new(
            numbers.map(|number| (number, Vec::new())).collect(),
            SeccompAction::Allow,
            errno(libc::ENOSYS),
            architecture,
        )?;
        let allowed = SeccompFilter::new(rules()?, errno(libc::EPERM), SeccompAction::Allow, architecture)?;
        Ok(Self { unknown: unknown.try_into()?, allowed: allowed.try_into()? })
    }

    /// Puts this process and its children under both. `no_new_privs` must be set.
    pub(crate) fn apply(&self) -> Result<(), seccompiler::Error> {
        seccompiler::apply_filter(&self.allowed)?;
        seccompiler::apply_filter(&self.unknown)
    }
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        calls::ALLOWED.iter().map(|number| (*number, Vec::new())).collect();
    let plain = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(NEW_NAMESPACES), 0)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![plain])?]);
    rules.insert(libc::SYS_ioctl, vec![none_of(1, FORBIDDEN_IOCTLS)?]);
    for number in [libc::SYS_socket, libc::SYS_socketpair] {
        rules.insert(number, FAMILIES.into_iter().map(family).collect::<Result<_, _>>()?);
    }
    Ok(rules)
}

/// Allows a socket of this family. The kernel reads only the lower half of the argument, so that is compared.
fn family(number: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, number)?])
}

/// Allows a call if an argument has none of these values. The kernel reads only its lower half, so that is compared.
fn none_of(argument: u8, values: [u64; 2]) -> Result<SeccompRule, seccompiler::BackendError> {
    let differs = |value| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value);
    SeccompRule::new(values.into_iter().map(differs).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_and_leave_out_what_gives_power_over_the_host() {
        Filters::compile().expect("filters");
        let rules = rules().expect("rules");
        for number in [
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_keyctl,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_perf_event_open,
            libc::SYS_kexec_load,
            libc::SYS_open_tree,
            libc::SYS_init_module,
            libc::SYS_userfaultfd,
        ] {
            assert!(!rules.contains_key(&number), "{number} is allowed");
        }
    }
}
