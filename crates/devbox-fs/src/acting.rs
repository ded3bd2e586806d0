//! Acting as a user of the box on this thread, so that the kernel checks permissions.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::set_thread_groups;

thread_local! {
    /// Whom this thread acts as: user, group, and the address of the list of groups, which lives as long as the guard.
    static CURRENT: Cell<Option<(u32, u32, usize)>> = const { Cell::new(None) };
}

/// The user that a call acts as.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    groups: Arc<[Gid]>,
    own: Arc<Own>,
}

/// The credentials of the process, to which threads return.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    groups: Vec<Gid>,
}

impl Own {
    pub(crate) fn of_this_process() -> Result<Self, Errno> {
        Ok(Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            groups: rustix::process::getgroups()?,
        })
    }

    /// Whether threads may become other users.
    pub(crate) fn can_act_as_others(&self) -> bool {
        self.uid == 0
    }
}

impl Identity {
    /// The process itself.
    pub(crate) fn own(own: Arc<Own>) -> Self {
        Self { uid: own.uid, gid: own.gid, groups: own.groups.clone().into(), own }
    }

    pub(crate) fn new(uid: u32, gid: u32, groups: &[u32], own: Arc<Own>) -> Self {
        // The file system group counts as a membership by itself. Without it here, most users have the supplementary groups of
        // the agent: none, and two of six changes of credentials are saved.
        let groups = groups.iter().filter(|member| **member != gid).map(|gid| Gid::from_raw(*gid)).collect();
        Self { uid, gid, groups, own }
    }

    /// Whether the kernel lets this user pass every permission check.
    pub(crate) fn is_root(&self) -> bool {
        self.uid == 0
    }

    pub(crate) fn is_in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&Gid::from_raw(gid))
    }

    fn has_other_groups(&self) -> bool {
        self.groups[..] != self.own.groups[..]
    }

    /// Makes this thread act as the user until the guard is dropped.
    ///
    /// A file system user other than 0 loses CAP_DAC_OVERRIDE, CAP_FOWNER and the other file capabilities by the kernel's
    /// own rule (capabilities(7)), and gets them back with it.
    pub(crate) fn act(&self) -> Result<Acting<'_>, Errno> {
        let differs = self.uid != self.own.uid || self.gid != self.own.gid;
        let already = CURRENT.get();
        let switched = differs && already != Some((self.uid, self.gid, Arc::as_ptr(&self.groups).addr()));
        // A call inside a call acts as the same user. Another one would end with the outer call acting as root.
        if switched && already.is_some() {
            return Err(Errno::PERM);
        }
        let regroups = switched && self.has_other_groups();
        let acting = Acting { own: &self.own, switched, regroups, _not_send: PhantomData };
        if switched {
            CURRENT.set(Some((self.uid, self.gid, Arc::as_ptr(&self.groups).addr())));
            if regroups {
                set_thread_groups(&self.groups)?;
            }
            let gid_set = set_fs_gid(self.gid);
            let uid_set = set_fs_uid(self.uid);
            if !gid_set || !uid_set {
                return Err(Errno::PERM);
            }
        }
        Ok(acting)
    }
}

/// The guard of [`Identity::act`]. It belongs to its thread.
#[must_use]
pub(crate) struct Acting<'own> {
    own: &'own Own,
    switched: bool,
    regroups: bool,
    _not_send: PhantomData<*const ()>,
}

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        if !self.switched {
            return;
        }
        CURRENT.set(None);
        let uid_set = set_fs_uid(self.own.uid);
        let gid_set = set_fs_gid(self.own.gid);
        let groups_set = !self.regroups || set_thread_groups(&self.own.groups).is_ok();
        if !uid_set || !gid_set || !groups_set {
            // The next call on this thread would act as somebody else.
            std::process::abort();
        }
    }
}

/// Does `work` as the process itself, in the middle of a call that may act as a user: on files that are the engine's own.
pub(crate) fn as_the_process<T>(own: &Own, work: impl FnOnce() -> T) -> T {
    /// Goes on as the user, after a panic too.
    struct GoOn(u32);
    impl Drop for GoOn {
        fn drop(&mut self) {
            if !set_fs_uid(self.0) {
                // What follows would be done as the process.
                std::process::abort();
            }
        }
    }
    let Some((uid, ..)) = CURRENT.get() else { return work() };
    let _go_on = GoOn(uid);
    // Where this failed, `work` would only be refused. The group stays the user's: the owner alone counts for such files.
    set_fs_uid(own.uid);
    work()
}

#[expect(
    unsafe_code,
    reason = "rustix has no setfsuid; libc's is the bare system call, for this thread only"
)]
fn set_fs_uid(uid: u32) -> bool {
    // SAFETY: setfsuid takes a number and touches no memory. It cannot report failure, so the second call, whose
    // argument is no valid uid and changes nothing, reads the result back.
    let now = unsafe {
        libc::setfsuid(uid);
        libc::setfsuid(libc::uid_t::MAX)
    };
    Uid::from_raw(now.cast_unsigned()).as_raw() == uid
}

#[expect(
    unsafe_code,
    reason = "rustix has no setfsgid; libc's is the bare system call, for this thread only"
)]
fn set_fs_gid(gid: u32) -> bool {
    // SAFETY: as in `set_fs_uid`.
    let now = unsafe {
        libc::setfsgid(gid);
        libc::setfsgid(libc::gid_t::MAX)
    };
    Gid::from_raw(now.cast_unsigned()).as_raw() == gid
}
