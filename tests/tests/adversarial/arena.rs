//! A box's root with a canary beside it, and somebody who exchanges names in it without pause.

use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use devbox_agent::{LocalGuest, LocalGuestOptions};
use devbox_fs::Confinement;
use devbox_guest::Files as _;
use devbox_types::file::ReadRequest;
use devbox_types::operation::Operation;
use devbox_types::{BoxPath, ErrorCode, Grant, Problem};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::path::Arg;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::canary::{CANARY, Canary};

/// A race is over long before; a call that hangs is not.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the caller may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The whole box; the canary is outside of it.
    Whole,
    /// `/work`; the canary is `/workspace`, whose name begins alike.
    Folder,
}

/// What is exchanged with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// A directory on the way, with a link to the canary.
    Directory {
        /// Whether the link is absolute.
        absolute: bool,
    },
    /// The directory `sub`, below the one that calls are about, with a link to the canary's.
    Below,
    /// The last name of the way, a file, with a link to the canary's.
    Last,
    /// A directory on the way, with one outside, where its link upwards leads to the canary.
    Outside,
}

/// Every way to attack one operation.
pub(crate) fn every_way() -> impl Iterator<Item = (Confinement, Scope, Exchange)> {
    let exchanges = [
        Exchange::Directory { absolute: false },
        Exchange::Directory { absolute: true },
        Exchange::Below,
        Exchange::Last,
        Exchange::Outside,
    ];
    let confined = [Confinement::OpenAt2, Confinement::Descriptors];
    let scoped = confined.into_iter().flat_map(|way| [(way, Scope::Whole), (way, Scope::Folder)]);
    scoped.flat_map(move |(confinement, scope)| exchanges.map(|exchange| (confinement, scope, exchange)))
}

/// A box's root as one caller sees it, under attack.
///
/// Calls are about what lies in [`Arena::at`]: `file`, `sub/deep` and what they make. Beside it are `/plain` and `/tree/leaf`.
pub(crate) struct Arena {
    pub(crate) guest: LocalGuest,
    pub(crate) grant: Grant,
    /// Counts the rounds.
    pub(crate) round: usize,
    runtime: Runtime,
    canary: Canary,
    who: String,
    /// The path by which the caller goes to the directory that is attacked.
    through: &'static str,
    /// That directory, wherever it is at the moment.
    inside: OwnedFd,
    /// The names that are exchanged.
    pair: (PathBuf, PathBuf),
    /// What the link among them says, where a call may replace it.
    bait: Option<String>,
    turn: Turn,
    base: PathBuf,
    _whole: TempDir,
}

impl Arena {
    pub(crate) fn make(confinement: Confinement, scope: Scope, exchange: Exchange) -> Self {
        let whole = tempfile::tempdir().expect("a directory");
        let root = whole.path().join("root");
        let (base, canary, parked) = match scope {
            Scope::Whole => (root.clone(), whole.path().join("outside"), whole.path().join("parked")),
            Scope::Folder => (root.join("work"), root.join("workspace"), root.join("parked")),
        };
        let name = canary.file_name().expect("a name").to_str().expect("text").to_owned();
        for directory in [base.join("dir"), base.join("tree"), base.join(&name), parked.clone()] {
            fs::create_dir_all(directory).expect("directories");
        }
        for (file, content) in [("plain", "plain"), ("tree/leaf", "leaf")] {
            fs::write(base.join(file), content).expect("written");
        }
        let up = format!("../{name}");
        for place in [base.join("dir/up"), parked.join("up")] {
            symlink(&up, place).expect("a link");
        }
        let absolute = if scope == Scope::Whole { canary.clone() } else { "/workspace".into() };
        let links = [("link", Path::new(&up)), ("absolute", &absolute)];
        for (link, target) in links {
            symlink(target, base.join(link)).expect("a link");
        }
        let bait = match exchange {
            Exchange::Below => Some(format!("../../{name}/sub")),
            Exchange::Last => Some(format!("../../{name}/file")),
            Exchange::Directory { .. } | Exchange::Outside => None,
        };
        let (through, inside, a, b) = match exchange {
            Exchange::Directory { absolute: false } => ("/dir", "dir", base.join("dir"), base.join("link")),
            Exchange::Directory { absolute: true } => {
                ("/dir", "dir", base.join("dir"), base.join("absolute"))
            }
            Exchange::Below => ("/dir", "dir", base.join("dir/sub"), base.join("bait")),
            Exchange::Last => ("/dir", "dir", base.join("dir/file"), base.join("bait")),
            Exchange::Outside => ("/dir/up", &name[..], base.join("dir"), parked),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let inside = rustix::fs::open(base.join(inside), flags, Mode::empty()).expect("a directory");
        let options = LocalGuestOptions { confinement: Some(confinement), ..LocalGuestOptions::below(&root) };
        let guest = LocalGuest::open(options).expect("a guest");
        let scope_root = if scope == Scope::Whole { "/" } else { "/work" };
        let arena = Self {
            guest,
            grant: Grant { root: path(scope_root), ..Grant::whole_box() },
            round: 0,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
            canary: Canary::make(canary),
            who: format!("{confinement:?}, {scope:?}, {exchange:?}"),
            through,
            inside,
            pair: (a, b),
            bait,
            turn: Turn::default(),
            base,
            _whole: whole,
        };
        arena.restore();
        arena.rearm();
        arena
    }

    /// The path of a name in the directory that is attacked.
    pub(crate) fn at(&self, name: &str) -> BoxPath {
        path(&format!("{}/{name}", self.through))
    }

    /// The path of that directory.
    pub(crate) fn directory(&self) -> BoxPath {
        path(self.through)
    }

    pub(crate) fn run<T>(&self, call: impl Future<Output = T>) -> T {
        let bounded = async { tokio::time::timeout(PATIENCE, call).await };
        self.runtime.block_on(bounded).expect("the call hangs")
    }

    pub(crate) fn apply(&self, operation: Operation) -> Result<(), Problem> {
        self.run(self.guest.apply(&self.grant, vec![operation])).map(drop)
    }

    /// Reads a file, which must not be the canary's.
    pub(crate) fn read(&self, path: BoxPath) -> Result<Bytes, Problem> {
        let content = self.run(async {
            let content = self.guest.read(&self.grant, ReadRequest::whole(path)).await?;
            Ok::<_, Problem>(content.body.collect(1 << 20).await?)
        })?;
        self.assert_clean(&content);
        Ok(content)
    }

    /// Asserts that these bytes are not the canary's.
    pub(crate) fn assert_clean(&self, bytes: &[u8]) {
        let found = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
        assert!(!found, "{}: the canary was read", self.who);
    }

    /// Takes away what a call has made beside the directory.
    pub(crate) fn clear(&self, name: &str) {
        let path = self.base.join(name);
        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    }

    /// What a call has made beside the directory, with all it holds, if it is there.
    pub(crate) fn made(&self, name: &str) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        let mut found = Vec::new();
        let mut pending = vec![self.base.join(name)];
        while let Some(path) = pending.pop() {
            let Ok(about) = path.symlink_metadata() else { continue };
            if about.is_dir() {
                pending.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            }
            let content = about.is_file().then(|| fs::read(&path).unwrap_or_default());
            found.push((path, content));
        }
        found
    }

    /// Puts `plain`, `tree/leaf`, `file` and `sub/deep` back, through descriptors, never through a link.
    pub(crate) fn restore(&self) {
        for (file, content) in [("plain", "plain"), ("tree/leaf", "leaf")] {
            if !self.base.join(file).exists() {
                let _ = fs::create_dir_all(self.base.join("tree"));
                let _ = fs::write(self.base.join(file), content);
            }
        }
        self.put(&self.inside, "file");
        let _ = rustix::fs::mkdirat(&self.inside, "sub", Mode::RWXU);
        if let Ok(sub) = self.sub() {
            self.put(&sub, "deep");
        }
    }

    /// Lays the bait again where a call has moved, replaced or deleted it: one of the two names is a link.
    fn rearm(&self) {
        let Some(bait) = &self.bait else { return };
        let (a, b) = &self.pair;
        let is_link = |path: &Path| path.symlink_metadata().is_ok_and(|about| about.is_symlink());
        if is_link(a) != is_link(b) {
            return;
        }
        let _turn = self.turn.take();
        if is_link(a) != is_link(b) {
            return;
        }
        for path in [a, b] {
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
        }
        symlink(bait, b).expect("a link");
        self.restore();
    }

    fn put(&self, directory: &OwnedFd, name: &str) {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(file) = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR) {
            rustix::io::write(&file, b"inside").expect("written");
        }
    }

    /// Removes names from the directory that is attacked, or from `sub` in it, with what they hold.
    pub(crate) fn remove(&self, names: &[&str]) {
        for name in names {
            let _ = match name.strip_prefix("sub/") {
                None => remove_below(self.inside.as_fd(), *name),
                Some(name) => self.sub().and_then(|sub| remove_below(sub.as_fd(), name)),
            };
        }
    }

    fn sub(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.inside, "sub", flags, Mode::empty())
    }

    /// Runs `call` for so many rounds, while another thread exchanges the names without pause.
    ///
    /// Returns how many calls went through and how many were refused.
    fn fight(mut self, rounds: usize, call: fn(&Arena) -> Result<(), Problem>) -> (usize, usize, usize) {
        let (stop, exchanges) = (AtomicBool::new(false), AtomicUsize::new(0));
        let ((a, b), turn) = (self.pair.clone(), self.turn.clone());
        let (mut worked, mut refused) = (0, 0);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let _turn = turn.offer();
                    let done = rustix::fs::renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE);
                    exchanges.fetch_add(usize::from(done.is_ok()), Ordering::Relaxed);
                }
            });
            let _stop = Stop(&stop);
            let begun = Instant::now();
            while self.round < rounds || exchanges.load(Ordering::Relaxed) < rounds / 10 {
                assert!(begun.elapsed() < PATIENCE, "{}: only {exchanges:?} exchanges", self.who);
                self.round += 1;
                match call(&self) {
                    Ok(()) => worked += 1,
                    Err(problem) => {
                        assert!(problem.code != ErrorCode::Internal, "{}: {problem:?}", self.who);
                        refused += 1;
                    }
                }
                self.rearm();
            }
        });
        self.canary.assert_untouched(&self.who);
        (worked, refused, exchanges.into_inner())
    }
}

/// Attacks an operation in every way, for so many rounds in all.
///
/// # Panics
/// If the canary was touched, a call failed for a reason that is none, or the race did not take place.
pub(crate) fn attack(rounds: usize, call: fn(&Arena) -> Result<(), Problem>) {
    let begun = Instant::now();
    let ways = every_way().count();
    let (mut worked, mut refused, mut exchanges) = (0, 0, 0);
    for (confinement, scope, exchange) in every_way() {
        let arena = Arena::make(confinement, scope, exchange);
        let (more_worked, more_refused, more_exchanges) = arena.fight(rounds.div_ceil(ways), call);
        (worked, refused) = (worked + more_worked, refused + more_refused);
        exchanges += more_exchanges;
    }
    let (rounds, took) = (worked + refused, begun.elapsed());
    eprintln!("{rounds} rounds, {exchanges} exchanges, {worked} went through, {refused} refused, {took:.1?}");
    assert!(worked > 0 && refused > 0, "{worked} went through, {refused} were refused");
}

/// Who may exchange names: the attacker without pause, but while the bait is laid again.
#[derive(Debug, Default, Clone)]
struct Turn(Arc<(Mutex<()>, AtomicBool)>);

impl Turn {
    fn offer(&self) -> MutexGuard<'_, ()> {
        let (lock, wanted) = &*self.0;
        while wanted.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> MutexGuard<'_, ()> {
        let (lock, wanted) = &*self.0;
        wanted.store(true, Ordering::Release);
        let taken = lock.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.store(false, Ordering::Release);
        taken
    }
}

/// Stops the attacker when the fight ends, even by a panic.
pub(crate) struct Stop<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A path that is one.
pub(crate) fn path(text: &str) -> BoxPath {
    BoxPath::parse(text.as_bytes()).expect("a path")
}

/// Removes a name in a directory, with what it holds, and follows no link.
fn remove_below(directory: BorrowedFd<'_>, name: impl Arg + Copy) -> rustix::io::Result<()> {
    if rustix::fs::unlinkat(directory, name, AtFlags::empty()).is_ok() {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let below = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&below)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            remove_below(below.as_fd(), entry.file_name())?;
        }
    }
    rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
}
