//! From a box to here: directory by directory, small files together, of the others several at a time.
//!
//! What the box says is not believed: an entry of a listing has to be directly in the directory that was listed, and only
//! its last name is used, below the directory that is open here.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use devbox_client::{ClientError, Sandbox};
use devbox_types::file::ReadRequest;
use devbox_types::{BoxPath, Entry, EntryKind, ListRequest, Timestamp};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::CopyError;
use super::large::Large;
use super::local_target::{Folder, Name};
use super::plan::{Share, share};
use super::progress::Progress;
use super::small::{self, Wanted};
use crate::reference::BoxPlace;

/// How many files of a directory are under way at once: enough to hide the time that requests travel.
const AT_ONCE: usize = 8;
/// How many groups of entries those are of.
const GROUPS: usize = 2;

/// Copies files and directories from a box.
pub(super) async fn download(
    sandbox: &Sandbox,
    sources: &[BoxPlace],
    to: &Path,
    progress: &Progress,
    large: &Large,
) -> Result<(), CopyError> {
    let copy = Copy { sandbox, progress, large };
    let wants_directory = sources.len() > 1 || to.as_os_str().as_bytes().ends_with(b"/");
    let into = wants_directory || to.is_dir();
    if progress.is_shown() {
        copy.measure(sources).await?;
    }
    for source in sources {
        let path = sandbox.resolve(&source.path)?;
        // A link that is itself the source is followed.
        let entry = sandbox.stat_target(&source.path).await?;
        let typed = Path::new(OsStr::from_bytes(&source.path));
        let name = match share(typed) {
            Share::Itself(_) => path.name().and_then(Name::parse),
            Share::Contents if source.path.is_empty() => path.name().and_then(Name::parse),
            Share::Contents => None,
        };
        match (name, into) {
            (Some(name), true) => copy.entry(&path, &entry, &Folder::open_or_make(to)?, name).await?,
            (Some(_), false) => {
                let (parent, name) = split(to)?;
                copy.entry(&path, &entry, &Folder::open(parent)?, name).await?;
            }
            (None, _) => copy.tree(path, &entry, Folder::open_or_make(to)?).await?,
        }
    }
    Ok(())
}

/// The directory that a new entry goes into, and its name.
fn split(to: &Path) -> Result<(&Path, Name), CopyError> {
    let name = to.file_name().and_then(|name| Name::parse(name.as_bytes()));
    let name = name.ok_or_else(|| CopyError::NotDirectory { path: to.to_owned() })?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((parent.unwrap_or(Path::new(".")), name))
}

struct Copy<'c> {
    sandbox: &'c Sandbox,
    progress: &'c Progress,
    large: &'c Large,
}

/// What is left to do in a tree, last thing first.
enum Task {
    /// List this directory, make it here, and copy what is in it.
    Visit { path: BoxPath, parent: Arc<Folder>, name: Name, mode: u32, modified: Timestamp },
    /// All below this directory has been copied.
    Finish { folder: Arc<Folder>, mode: u32, modified: Timestamp },
}

impl Copy<'_> {
    /// Looks beforehand how many bytes there are, for whoever watches.
    async fn measure(&self, sources: &[BoxPlace]) -> Result<(), CopyError> {
        let mut total: u64 = 0;
        for source in sources {
            let entry = self.sandbox.stat_target(&source.path).await?;
            if entry.kind != EntryKind::Directory {
                total = total.saturating_add(entry.size_bytes);
                continue;
            }
            let mut directories = vec![self.sandbox.resolve(&source.path)?];
            while let Some(directory) = directories.pop() {
                let deepest = depth_of(&directory) + ListRequest::MAX_DEPTH as usize;
                let request = ListRequest { depth: ListRequest::MAX_DEPTH, ..ListRequest::of(directory) };
                let mut entries = self.sandbox.guest().walk(self.sandbox.grant(), request).await?;
                while let Some(entry) = entries.try_next().await? {
                    match entry.kind {
                        EntryKind::File => total = total.saturating_add(entry.size_bytes),
                        // One listing goes no deeper.
                        EntryKind::Directory if depth_of(&entry.path.0) == deepest => {
                            directories.push(entry.path.0);
                        }
                        _ => {}
                    }
                }
            }
        }
        self.progress.measure(total);
        Ok(())
    }

    async fn entry(
        &self,
        path: &BoxPath,
        entry: &Entry,
        parent: &Folder,
        name: Name,
    ) -> Result<(), CopyError> {
        if entry.kind == EntryKind::Directory {
            self.tree(path.clone(), entry, parent.folder(&name)?).await
        } else {
            self.file(path.clone(), entry.size_bytes, parent, name).await
        }
    }

    async fn tree(&self, path: BoxPath, entry: &Entry, folder: Folder) -> Result<(), CopyError> {
        let folder = Arc::new(folder);
        let mut tasks =
            vec![Task::Finish { folder: Arc::clone(&folder), mode: entry.mode, modified: entry.modified }];
        tasks.extend(self.directory(&path, &folder).await?);
        while let Some(task) = tasks.pop() {
            match task {
                Task::Visit { path, parent, name, mode, modified } => {
                    let folder = Arc::new(parent.folder(&name)?);
                    tasks.push(Task::Finish { folder: Arc::clone(&folder), mode, modified });
                    tasks.extend(self.directory(&path, &folder).await?);
                }
                Task::Finish { folder, mode, modified } => folder.finish(mode, modified)?,
            }
        }
        Ok(())
    }

    /// Copies what is directly in a directory, and gives its sub-directories as tasks.
    async fn directory(&self, path: &BoxPath, folder: &Arc<Folder>) -> Result<Vec<Task>, CopyError> {
        let listing = self.sandbox.guest().walk(self.sandbox.grant(), ListRequest::of(path.clone())).await?;
        let groups = listing.map_err(CopyError::from).try_chunks(small::MOST_FILES);
        let copies = groups.map_err(|error| error.1).map(|group| async {
            let group = group?;
            self.group(path, group, folder).await
        });
        let tasks: Vec<Vec<Task>> = copies.buffer_unordered(GROUPS).try_collect().await?;
        Ok(tasks.into_iter().flatten().collect())
    }

    /// Copies some entries of a directory: the small files together, what is left one by one.
    async fn group(
        &self,
        directory: &BoxPath,
        entries: Vec<Entry>,
        folder: &Arc<Folder>,
    ) -> Result<Vec<Task>, CopyError> {
        let (mut wanted, mut others) = (Wanted::new(), Vec::new());
        for entry in entries {
            // The archive would tell a further name of a file as a link to the first.
            if entry.kind == EntryKind::File && entry.size_bytes <= small::MOST_BYTES && entry.links == 1 {
                let name = name_in(directory, &entry.path.0)?;
                wanted.insert(entry.path.0, (name, entry.size_bytes));
            } else {
                others.push(entry);
            }
        }
        let wanted = small::fetch(self.sandbox, wanted, folder, self.progress).await?;
        let missing = wanted.into_iter();
        let missing = missing.map(|(path, (name, size_bytes))| self.file(path, size_bytes, folder, name));
        let missing = stream::iter(missing).buffer_unordered(AT_ONCE / GROUPS);
        missing.try_collect::<()>().await?;
        let others = others.into_iter().map(|entry| self.listed(directory, entry, folder));
        let others = stream::iter(others).buffer_unordered(AT_ONCE / GROUPS);
        others.try_filter_map(|task| async { Ok(task) }).try_collect().await
    }

    async fn listed(
        &self,
        directory: &BoxPath,
        entry: Entry,
        folder: &Arc<Folder>,
    ) -> Result<Option<Task>, CopyError> {
        let path = entry.path.0;
        let name = name_in(directory, &path)?;
        match entry.kind {
            EntryKind::File => self.file(path, entry.size_bytes, folder, name).await?,
            EntryKind::Symlink => folder.link(&name, &entry.target.unwrap_or_default(), entry.modified)?,
            EntryKind::Directory => {
                let (mode, modified) = (entry.mode, entry.modified);
                return Ok(Some(Task::Visit { path, parent: Arc::clone(folder), name, mode, modified }));
            }
            EntryKind::Fifo | EntryKind::Socket | EntryKind::BlockDevice | EntryKind::CharacterDevice => {
                let shown = crate::output::harmless(&path.to_string());
                self.progress.leave_out(Path::new(&shown), "it is neither file, directory nor link");
            }
        }
        Ok(None)
    }

    async fn file(
        &self,
        path: BoxPath,
        size_bytes: u64,
        folder: &Folder,
        name: Name,
    ) -> Result<(), CopyError> {
        if self.large.is(size_bytes) {
            return self.large.download(self.sandbox, &path, folder, &name, self.progress).await;
        }
        let mut content = self.sandbox.open_with(ReadRequest::whole(path.clone())).await?;
        let mut staged = folder.stage(name)?;
        let mut received = 0;
        while let Some(chunk) = content.body.try_next().await.map_err(ClientError::from)? {
            received += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            staged.write(&chunk)?;
            self.progress.advance(chunk.len());
        }
        let announced = content.head.length;
        if received != announced {
            return Err(CopyError::WrongLength { path, announced, received });
        }
        staged.publish(content.head.entry.mode, content.head.entry.modified)?;
        self.progress.file_done();
        Ok(())
    }
}

/// How many directories there are above an entry, and one.
fn depth_of(path: &BoxPath) -> usize {
    path.as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty()).count()
}

/// The name of a listed entry, which has to be directly in the directory.
fn name_in(directory: &BoxPath, listed: &BoxPath) -> Result<Name, CopyError> {
    let parent = listed.parent().filter(|parent| parent.as_bytes() == directory.as_bytes());
    parent
        .and_then(|_| listed.name().and_then(Name::parse))
        .ok_or_else(|| CopyError::HostileName { directory: directory.clone(), listed: listed.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> BoxPath {
        BoxPath::parse(text.as_bytes()).expect("a path")
    }

    #[test]
    fn attack_listing_that_names_another_directory() {
        for listed in ["/etc/passwd", "/a", "/a/b/c/d", "/", "/a/bc", "/x/a/b/c"] {
            let name = name_in(&path("/a/b"), &path(listed));
            assert!(matches!(name, Err(CopyError::HostileName { .. })), "{listed}: {name:?}");
        }
        assert!(name_in(&path("/a/b"), &path("/a/b/c")).is_ok());
        assert!(name_in(&path("/"), &path("/c")).is_ok());
    }

    #[test]
    fn a_destination_has_a_directory_and_a_name() {
        let (parent, _) = split(Path::new("out")).expect("a place");
        assert_eq!(parent, Path::new("."));
        assert!(split(Path::new("..")).is_err() && split(Path::new("/")).is_err());
    }
}
