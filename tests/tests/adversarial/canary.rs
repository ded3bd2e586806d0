//! A tree that nobody may reach, and who tells if somebody did.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

/// What its files say; nobody inside may ever read it.
pub(crate) const CANARY: &str = "CANARY";
/// How large its files are: no other file of these tests is.
pub(crate) const SIZE: u64 = 6000;
/// A name that exists only there.
pub(crate) const ONLY_HERE: &str = "only-here";

/// `file`, `only-here`, `sub/deep` and `sub/only-here`, owned by root, all watched for opens, reads and changes.
#[derive(Debug)]
pub(crate) struct Canary {
    root: PathBuf,
    before: Vec<String>,
    watch: OwnedFd,
}

impl Canary {
    /// Makes the tree at a path, and begins to watch.
    pub(crate) fn make(root: PathBuf) -> Self {
        fs::create_dir_all(root.join("sub")).expect("directories");
        let content = CANARY.repeat(1000);
        for name in ["file", ONLY_HERE, "sub/deep", "sub/only-here"] {
            fs::write(root.join(name), &content).expect("written");
        }
        let before = describe(&root);
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("inotify");
        for directory in [root.clone(), root.join("sub")] {
            inotify::add_watch(&watch, directory, WatchFlags::ALL_EVENTS).expect("a watch");
        }
        Self { root, before, watch }
    }

    /// Asserts that nobody opened, read or changed anything, and that everything is as it was, down to the change times.
    pub(crate) fn assert_untouched(&self, who: &str) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.watch, &mut buffer);
        if let Ok(event) = reader.next() {
            panic!("{who}: {:?} in the canary was touched: {:?}", event.file_name(), event.events());
        }
        assert_eq!(describe(&self.root), self.before, "{who}");
    }
}

/// Everything that `stat` tells of a tree, but for the times of access.
fn describe(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(path) = pending.pop() {
        let about = path.symlink_metadata().expect("metadata");
        let facts = (about.ino(), about.mode(), about.uid(), about.gid(), about.nlink(), about.size());
        let times = (about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec());
        found.push(format!("{path:?} {facts:?} {times:?}"));
        // Reading the directory is seen by the watch, which the names below do without.
        if about.is_dir() {
            let below = if path == root { &["file", ONLY_HERE, "sub"][..] } else { &["deep", ONLY_HERE] };
            pending.extend(below.iter().map(|name| path.join(name)));
        }
    }
    found
}
