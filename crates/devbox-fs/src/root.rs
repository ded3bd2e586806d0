//! The root of a box's files, and entering it with a grant.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use devbox_types::metadata::Group;
use devbox_types::{ActingUser, BoxPath, Grant};
use rustix::fs::{CWD, Mode, OFlags};

use crate::account_cache::AccountCache;
use crate::accounts::Account;
use crate::acting::{Identity, Own};
use crate::attributes::EtagClock;
use crate::confine::{Anchor, Confinement};
use crate::error::{At as _, FsError};
use crate::locks::WriterLocks;
use crate::outcomes::Outcomes;
use crate::procfs::OpenDescriptors;
use crate::reserved::NameSource;
use crate::state::StateDirectory;
use crate::under_way::UnderWay;
use crate::view::View;

/// How a box's root is opened.
#[derive(Debug, Clone, Default)]
pub struct RootOptions {
    /// Whom a grant means by [`ActingUser::Default`]; left at `Default`, the user that this process runs as.
    pub default_user: ActingUser,
    /// How paths are confined; `None`: openat2 where it works, else by hand.
    pub confinement: Option<Confinement>,
}

impl RootOptions {
    /// The same with a default user.
    #[must_use]
    pub fn with_default_user(self, default_user: ActingUser) -> Self {
        Self { default_user, ..self }
    }

    /// The same with a way of confinement that is not probed for.
    #[must_use]
    pub fn with_confinement(self, confinement: Confinement) -> Self {
        Self { confinement: Some(confinement), ..self }
    }
}

/// The root of a box's files: the one door to them.
///
/// Cheap to clone, and usable from any thread. Nothing is reached but through [`BoxRoot::enter`].
#[derive(Debug, Clone)]
pub struct BoxRoot {
    engine: Arc<Engine>,
}

/// What all views of a root share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) root: OwnedFd,
    pub(crate) confinement: Confinement,
    pub(crate) descriptors: OpenDescriptors,
    pub(crate) clock: EtagClock,
    pub(crate) names: NameSource,
    pub(crate) locks: WriterLocks,
    pub(crate) state: Option<StateDirectory>,
    pub(crate) outcomes: Outcomes,
    pub(crate) under_way: UnderWay,
    own: Arc<Own>,
    default_user: ActingUser,
    accounts: Mutex<AccountCache>,
}

impl BoxRoot {
    /// Opens the directory at a path of this process as the root of a box: for an agent, `/`.
    ///
    /// What an earlier process left half done is finished or undone before this returns: published batches completed,
    /// others rolled back, staged files removed.
    ///
    /// # Errors
    /// What keeps the directory from being opened, or the state directory from being read.
    pub fn open(path: &Path, options: RootOptions) -> Result<Self, FsError> {
        let here = BoxPath::root();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty()).at("open", &here)?;
        let own = Arc::new(Own::of_this_process().at("open", &here)?);
        let names = NameSource::new().map_err(|source| FsError::Io {
            step: "draw random numbers for",
            path: here.clone(),
            source,
        })?;
        let confinement = options.confinement.unwrap_or_else(|| Confinement::probe(root.as_fd()));
        let mut engine = Engine {
            confinement,
            descriptors: OpenDescriptors::open(),
            clock: EtagClock::probe(root.as_fd()),
            names,
            locks: WriterLocks::new(),
            state: None,
            outcomes: Outcomes::default(),
            under_way: UnderWay::default(),
            own,
            default_user: options.default_user,
            accounts: Mutex::default(),
            root,
        };
        engine.state = StateDirectory::open(&engine)?;
        Ok(Self { engine: Arc::new(engine) })
    }

    /// Enters with a grant: its root becomes `/`, its user the acting user, its limits are kept.
    ///
    /// # Errors
    /// [`FsError::UnknownUser`], [`FsError::CannotActAs`], or what keeps the grant's root from being opened.
    pub fn enter(&self, grant: &Grant) -> Result<View, FsError> {
        View::enter(Arc::clone(&self.engine), grant)
    }

    /// Looks a user up in the box's account files.
    ///
    /// # Errors
    /// [`FsError::UnknownUser`].
    pub fn account(&self, user: &ActingUser) -> Result<Account, FsError> {
        self.engine.account(user)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// How paths are confined here.
    #[must_use]
    pub fn confinement(&self) -> Confinement {
        self.engine.confinement
    }

    /// Whether a kill at any moment is repaired at the next start: there is a state directory for journals.
    #[must_use]
    pub fn is_journalled(&self) -> bool {
        self.engine.state.is_some()
    }
}

impl Engine {
    /// The whole box, links resolved inside it.
    pub(crate) fn anchor(&self) -> Anchor<'_> {
        Anchor { directory: self.root.as_fd(), strict: false, confinement: self.confinement }
    }

    pub(crate) fn own(&self) -> &Own {
        &self.own
    }

    /// The user that a grant names.
    pub(crate) fn identity(&self, user: &ActingUser) -> Result<Identity, FsError> {
        let wanted = if *user == ActingUser::Default { &self.default_user } else { user };
        let own = Arc::clone(&self.own);
        match wanted {
            ActingUser::Default => return Ok(Identity::own(own)),
            ActingUser::Uid(uid) if *uid == own.uid => return Ok(Identity::own(own)),
            ActingUser::Uid(_) | ActingUser::Named(_) => {}
        }
        let account = self.account(wanted)?;
        if account.uid == own.uid {
            return Ok(Identity::own(own));
        }
        if !own.can_act_as_others() {
            return Err(FsError::CannotActAs { user: wanted.to_string() });
        }
        Ok(Identity::new(account.uid, account.gid, &account.groups, own))
    }

    pub(crate) fn account(&self, user: &ActingUser) -> Result<Account, FsError> {
        let wanted = if *user == ActingUser::Default { &self.default_user } else { user };
        let mut cache = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let accounts = cache.current(self);
        match wanted {
            ActingUser::Default => Ok(accounts.of_uid(self.own.uid)),
            ActingUser::Uid(uid) => Ok(accounts.of_uid(*uid)),
            ActingUser::Named(name) => {
                accounts.named(name).cloned().ok_or_else(|| FsError::unknown_user(wanted))
            }
        }
    }

    /// The number of a group.
    pub(crate) fn group(&self, group: &Group) -> Result<u32, FsError> {
        match group {
            Group::Gid(gid) => Ok(*gid),
            Group::Named(name) => {
                let mut cache = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
                let found = cache.current(self).group(name);
                found.ok_or_else(|| FsError::UnknownGroup { group: name.clone() })
            }
        }
    }

    /// The name of a file's owner, as the account files were when they were last looked at.
    pub(crate) fn owner_name(&self, uid: u32) -> Option<String> {
        let mut cache = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let account = cache.last_seen(self).numbered(uid)?;
        Some(account.name.clone())
    }
}
