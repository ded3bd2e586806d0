//! A directory as a box's root, and short ways to say things.

use std::path::{Path, PathBuf};

use devbox_fs::{BoxRoot, Confinement, FsError, RootOptions, View};
use devbox_types::file::{ReadRequest, WriteRequest, Written};
use devbox_types::{BoxPath, Coded as _, ErrorCode, Etag, Grant, ListRequest};
use tempfile::TempDir;

pub(crate) const BOTH: [Confinement; 2] = [Confinement::OpenAt2, Confinement::Descriptors];

pub(crate) struct Fixture {
    pub(crate) directory: TempDir,
    pub(crate) root: BoxRoot,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(RootOptions::default())
    }

    pub(crate) fn confined(confinement: Confinement) -> Self {
        Self::with(RootOptions::default().with_confinement(confinement))
    }

    pub(crate) fn with(options: RootOptions) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = BoxRoot::open(directory.path(), options).expect("a root");
        Self { directory, root }
    }

    pub(crate) fn view(&self) -> View {
        self.root.enter(&Grant::whole_box()).expect("a view")
    }

    pub(crate) fn scoped(&self, root: &str) -> View {
        self.root.enter(&Grant { root: path(root), ..Grant::whole_box() }).expect("a view")
    }

    pub(crate) fn host(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, content: &str) {
        let file = self.host(name);
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("directories");
        std::fs::write(file, content).expect("written");
    }

    pub(crate) fn get(&self, name: &str) -> String {
        std::fs::read_to_string(self.host(name)).expect("read")
    }

    /// Everything below the root but the state directory, reserved names too, with what it holds.
    pub(crate) fn everything(&self) -> Vec<String> {
        everything(self.directory.path())
    }
}

/// The entity tag of a file, once its clock can tell every change from this version.
pub(crate) fn strong_tag(view: &View, name: &str) -> Etag {
    loop {
        let tag = view.stat(&path(name), false).expect("an entry").etag.expect("a tag");
        if !tag.is_weak() {
            return tag;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

pub(crate) fn everything(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory") {
            let entry = entry.expect("an entry").path();
            let name = entry.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            if name == ".~devbox-state" {
                continue;
            }
            let metadata = entry.symlink_metadata().expect("metadata");
            let content = match metadata.file_type() {
                kind if kind.is_dir() => "/".to_owned(),
                kind if kind.is_symlink() => format!(" -> {}", entry.read_link().expect("a link").display()),
                kind if kind.is_file() => format!(" {}", std::fs::read_to_string(&entry).unwrap_or_default()),
                _ => " special".to_owned(),
            };
            found.push(format!("{name}{content}"));
            if metadata.is_dir() {
                pending.push(entry);
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn path(text: &str) -> BoxPath {
    BoxPath::parse(text.as_bytes()).expect("a path")
}

pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, FsError>) -> ErrorCode {
    result.expect_err("an error").code()
}

pub(crate) fn write(view: &View, request: WriteRequest, content: &[u8]) -> Result<Written, FsError> {
    let mut staged = view.stage(request)?;
    staged.write(content)?;
    staged.publish()
}

pub(crate) fn write_to(view: &View, name: &str, content: &str) -> Result<Written, FsError> {
    write(view, WriteRequest::to(path(name)), content.as_bytes())
}

pub(crate) fn read(view: &View, request: &ReadRequest) -> Result<Vec<u8>, FsError> {
    let (head, mut reader) = view.open_file(request)?;
    let mut content = Vec::new();
    let mut buffer = [0; 1000];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            count => content.extend_from_slice(&buffer[..count]),
        }
    }
    assert_eq!(u64::try_from(content.len()).expect("small"), head.length);
    Ok(content)
}

pub(crate) fn read_from(view: &View, name: &str) -> Result<String, FsError> {
    let content = read(view, &ReadRequest::whole(path(name)))?;
    Ok(String::from_utf8(content).expect("text"))
}

pub(crate) fn names(view: &View, directory: &str) -> Vec<String> {
    let page = view.list(&ListRequest::of(path(directory))).expect("a listing");
    page.entries.iter().map(|entry| entry.path.0.to_string()).collect()
}

/// How many calls the next start has to finish or to take back.
pub(crate) fn journals(root: &Path) -> usize {
    let state = std::fs::read_dir(root.join(".~devbox-state")).expect("a state directory");
    let names = state.map(|entry| entry.expect("an entry").file_name());
    names.filter(|name| name.to_string_lossy().starts_with("journal-")).count()
}
