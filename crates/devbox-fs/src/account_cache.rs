//! The account files, read again when they change.

use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;

use devbox_types::Timestamp;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::accounts::{Accounts, MAX_ACCOUNT_FILE};
use crate::attributes::Attributes;
use crate::root::Engine;

/// A file that changed less than this before it was read may change again unseen, and is read again next time.
const SETTLED_NANOSECONDS: i64 = 20_000_000;

/// The parsed account files with the versions that they were read from.
#[derive(Debug, Default)]
pub(crate) struct AccountCache {
    accounts: Accounts,
    versions: Option<[Version; 2]>,
}

/// A file as it was read. Its descriptor tells, in one call, whether it is still the one in place and unchanged: a replaced
/// file loses its last name, and a renamed one gets a new ctime.
#[derive(Debug)]
struct Version {
    file: OwnedFd,
    looked: Attributes,
}

impl AccountCache {
    /// The accounts as they are now. A missing or unreadable file has no lines.
    pub(crate) fn current(&mut self, engine: &Engine) -> &Accounts {
        let fresh = self.versions.as_ref().is_some_and(|versions| versions.iter().all(Version::still_holds));
        if !fresh {
            self.read(engine);
        }
        &self.accounts
    }

    /// The accounts as they were last read: for names beside numbers in listings.
    pub(crate) fn last_seen(&mut self, engine: &Engine) -> &Accounts {
        if self.versions.is_none() {
            self.read(engine);
        }
        &self.accounts
    }

    fn read(&mut self, engine: &Engine) {
        let passwd = read_file(engine, b"etc/passwd");
        let group = read_file(engine, b"etc/group");
        let bytes = |file: &Result<(Vec<u8>, Version), Errno>| {
            file.as_ref().map_or_else(|_| Vec::new(), |(bytes, _)| bytes.clone())
        };
        self.accounts = Accounts::parse(&bytes(&passwd), &bytes(&group));
        self.versions = match (passwd, group) {
            (Ok((_, passwd)), Ok((_, group))) => Some([passwd, group]),
            _ => None,
        };
    }
}

impl Version {
    fn still_holds(&self) -> bool {
        let settled = Timestamp::from(SystemTime::now()).nanoseconds() - SETTLED_NANOSECONDS;
        let Ok(now) = Attributes::of(self.file.as_fd()) else { return false };
        now.changed() == self.looked.changed()
            && now.links() == self.looked.links()
            && now.changed().nanoseconds() < settled
    }
}

fn read_file(engine: &Engine, path: &[u8]) -> Result<(Vec<u8>, Version), Errno> {
    let file = engine.anchor().open(path, true)?;
    let looked = Attributes::of(file.as_fd())?;
    if !looked.is_file() {
        return Err(Errno::INVAL);
    }
    let readable = engine.descriptors.reopen(file.as_fd(), OFlags::RDONLY | OFlags::NONBLOCK)?;
    let length = usize::try_from(looked.size()).unwrap_or(usize::MAX).min(MAX_ACCOUNT_FILE);
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::io::read(&readable, &mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    bytes.truncate(filled);
    Ok((bytes, Version { file, looked }))
}
