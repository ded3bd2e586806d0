//! Giving up root, for good.

use std::io;

use rustix::process::{DumpableBehavior, Gid, Uid};
use rustix::thread::{self, CapabilitySet, CapabilitySets};

use super::ServeError;
use super::account::Account;

const NO_CAPABILITIES: CapabilitySets = CapabilitySets {
    effective: CapabilitySet::empty(),
    permitted: CapabilitySet::empty(),
    inheritable: CapabilitySet::empty(),
};

/// Becomes the account, without a way back: no groups beside its own, no capabilities, no program that could give rights
/// again, no memory that others could read.
///
/// # Errors
/// Whatever keeps any of it from being so; the process must not go on then.
pub(super) fn give_up(account: &Account) -> Result<(), ServeError> {
    // The calls below change the calling thread and no other.
    let threads = std::fs::read_dir("/proc/self/task").map_err(failed("count threads"))?.count();
    if threads != 1 {
        return Err(ServeError::TooManyThreads { threads });
    }
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    thread::set_thread_groups(&[]).map_err(refused("leave root's groups"))?;
    thread::set_thread_res_gid(gid, gid, gid).map_err(refused("change the group"))?;
    thread::set_thread_res_uid(uid, uid, uid).map_err(refused("change the user"))?;
    // Gone with the user already, unless whoever started this has told the kernel to keep them (securebits).
    thread::clear_ambient_capability_set().map_err(refused("give up capabilities"))?;
    thread::set_capabilities(None, NO_CAPABILITIES).map_err(refused("give up capabilities"))?;
    thread::set_no_new_privs(true).map_err(refused("refuse new rights"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(refused("close this process's memory"))?;
    if thread::set_thread_uid(Uid::ROOT).is_ok() {
        return Err(ServeError::StillRoot);
    }
    Ok(())
}

fn failed(step: &'static str) -> impl Fn(io::Error) -> ServeError {
    move |source| ServeError::Step { step: step.to_owned(), source }
}

fn refused(step: &'static str) -> impl Fn(rustix::io::Errno) -> ServeError {
    move |error| failed(step)(error.into())
}
