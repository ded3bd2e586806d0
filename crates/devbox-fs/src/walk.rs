//! Going through a directory tree in the order in which it is read.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use devbox_types::{BoxPath, Entry, ListRequest, Right};
use rustix::fs::{Dir, FileType};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::confine::open_listing;
use crate::error::{At as _, FsError};
use crate::reserved;
use crate::view::View;

/// Entries that are read ahead each time the thread becomes the acting user, which costs more than one entry.
const READ_AHEAD: usize = 256;

/// Says of each entry that is met, and of whether it is a directory, whether the walk tells of it and goes into it.
pub type Choose = Box<dyn FnMut(&BoxPath, bool) -> Result<bool, FsError> + Send>;

/// The entries below a directory, each directory before what is in it.
///
/// It holds one descriptor per level, at most [`ListRequest::MAX_DEPTH`], and never a whole directory. An error is the last
/// item, but for a directory below the first that the acting user may not read or that vanished: that one is passed over.
pub struct Walk {
    view: View,
    choose: Option<Choose>,
    steps: Steps,
    ahead: VecDeque<Result<Entry, FsError>>,
    ended: bool,
    listed: u64,
}

/// What was met on a walk.
#[derive(Debug)]
pub(crate) struct Step {
    /// The path below the directory where the walk began.
    pub(crate) relative: Vec<u8>,
    /// Boxed, because it is large and a step is handed on often.
    pub(crate) seen: Option<Box<Seen>>,
}

/// A step that the walk tells of.
type Chosen = (BoxPath, Option<Box<Seen>>);

/// What an entry is.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) attributes: Attributes,
    pub(crate) target: Option<Vec<u8>>,
}

impl Seen {
    /// Looks at a name in a directory.
    pub(crate) fn at(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Self, Errno> {
        let attributes = Attributes::at(directory, name)?;
        let target = match attributes.is_symlink() {
            true => rustix::fs::readlinkat(directory, name, Vec::new()).ok().map(CString::into_bytes),
            false => None,
        };
        Ok(Self { attributes, target })
    }
}

/// The walk itself, for a thread that acts as the user already.
#[derive(Debug)]
pub(crate) struct Steps {
    levels: Vec<Level>,
    depth: usize,
    /// Whether each entry is looked at as it is met; else only its name is read.
    looks: bool,
}

#[derive(Debug)]
struct Level {
    listing: Dir,
    /// The path below the start, with a `/` at its end if it is not empty.
    prefix: Vec<u8>,
}

impl View {
    /// Walks a directory to `request.depth`, in no particular order; `cursor` and `limit` are ignored.
    ///
    /// # Errors
    /// [`FsError::NotADirectory`], or what keeps the directory from being read.
    pub fn walk(&self, request: &ListRequest) -> Result<Walk, FsError> {
        self.walk_chosen(request, None)
    }

    /// The same, passing over what is not chosen, and all below it.
    ///
    /// # Errors
    /// As [`View::walk`]; one of `choose` ends the walk as its last item.
    pub fn walk_chosen(&self, request: &ListRequest, choose: Option<Choose>) -> Result<Walk, FsError> {
        self.need(Right::Read)?;
        let _acting = self.act()?;
        let (steps, _) = self.steps(request)?;
        Ok(Walk {
            view: self.clone(),
            choose,
            steps: steps.under(&request.path),
            ahead: VecDeque::new(),
            ended: false,
            listed: 0,
        })
    }

    pub(crate) fn seen_entry(&self, path: BoxPath, seen: Box<Seen>) -> Entry {
        self.entry(path, &seen.attributes, seen.target)
    }

    /// Begins to read a directory; the second value is the directory itself.
    pub(crate) fn steps(&self, request: &ListRequest) -> Result<(Steps, OwnedFd), FsError> {
        if request.depth == 0 || request.depth > ListRequest::MAX_DEPTH {
            return Err(FsError::Invalid { reason: "the depth of a listing is 1 to 64" });
        }
        let path = &request.path;
        let directory = self.open(path, true)?;
        let listing = open_listing(directory.as_fd(), b".").at("list", path)?;
        let depth = usize::try_from(request.depth).unwrap_or(usize::MAX);
        Ok((Steps::from(listing, depth).at("list", path)?, directory))
    }
}

impl Steps {
    fn from(listing: OwnedFd, depth: usize) -> Result<Self, Errno> {
        let level = Level { listing: Dir::new(listing)?, prefix: Vec::new() };
        Ok(Self { levels: vec![level], depth, looks: true })
    }

    /// The same without looking at the entries.
    pub(crate) fn names_only(self) -> Self {
        Self { looks: false, ..self }
    }

    /// The same with paths that begin at `path`.
    fn under(mut self, path: &BoxPath) -> Self {
        if let Some(level) = self.levels.first_mut()
            && !path.is_root()
        {
            level.prefix = [path.as_bytes(), b"/"].concat();
        }
        self
    }

    /// Goes on to the next entry. `enter` says whether a directory, by its path below the start, is worth going into.
    pub(crate) fn next(&mut self, enter: &dyn Fn(&[u8]) -> bool) -> Option<Result<Step, Errno>> {
        loop {
            let level = self.levels.last_mut()?;
            let entry = match level.listing.read() {
                None => {
                    self.levels.pop();
                    continue;
                }
                // The directory was removed while it was read.
                Some(Err(Errno::NOENT)) => {
                    self.levels.pop();
                    continue;
                }
                Some(Err(errno)) => return Some(Err(errno)),
                Some(Ok(entry)) => entry,
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || reserved::is_reserved(name) {
                continue;
            }
            match self.meet(name, entry.file_type(), enter) {
                // It vanished after its name was read.
                Err(Errno::NOENT) => {}
                step => return Some(step),
            }
        }
    }

    fn meet(
        &mut self,
        name: &[u8],
        file_type: FileType,
        enter: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Step, Errno> {
        let level = self.levels.last().ok_or(Errno::NOENT)?;
        let directory = level.listing.fd()?;
        let relative = [&level.prefix[..], name].concat();
        let seen = match self.looks || file_type == FileType::Unknown {
            true => Some(Box::new(Seen::at(directory, name)?)),
            false => None,
        };
        let is_directory = match &seen {
            Some(seen) => seen.attributes.is_directory(),
            None => file_type == FileType::Directory,
        };
        if is_directory
            && self.levels.len() < self.depth
            && enter(&relative)
            && let Some(listing) = open_below(directory, name)?
        {
            self.levels.push(Level { listing, prefix: [&relative[..], b"/"].concat() });
        }
        Ok(Step { relative, seen })
    }
}

/// Opens a directory that was met; `None` where it may not be read or is none any more.
fn open_below(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Dir>, Errno> {
    match open_listing(directory, name) {
        Ok(listing) => Dir::new(listing).map(Some),
        Err(Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

impl Walk {
    fn read_ahead(&mut self) {
        let view = self.view.clone();
        let _acting = match view.act() {
            Ok(acting) => acting,
            Err(error) => return self.end_with(error),
        };
        if let Err(error) = view.limits.check_time() {
            return self.end_with(error);
        }
        while self.ahead.len() < READ_AHEAD && !self.ended {
            match self.next_chosen() {
                None => self.ended = true,
                Some(Err(error)) => self.end_with(error),
                Some(Ok((path, seen))) => {
                    self.ahead.extend(seen.map(|seen| Ok(view.seen_entry(path, seen))));
                }
            }
        }
    }

    fn next_chosen(&mut self) -> Option<Result<Chosen, FsError>> {
        loop {
            // What was decided on the way into a directory is not asked again.
            let decided = RefCell::new((self.choose.as_mut(), None));
            let enter = |relative: &[u8]| {
                let (choose, verdict) = &mut *decided.borrow_mut();
                let Some(choose) = choose else { return true };
                let answer = entry_path(relative).and_then(|path| choose(&path, true));
                let enters = matches!(answer, Ok(true));
                *verdict = Some(answer);
                enters
            };
            let step = match self.steps.next(&enter)? {
                Err(errno) => return Some(Err(FsError::at("list", &BoxPath::root(), errno))),
                Ok(step) => step,
            };
            let (choose, verdict) = decided.into_inner();
            let chosen = entry_path(&step.relative).and_then(|path| {
                let is_directory = step.seen.as_ref().is_some_and(|seen| seen.attributes.is_directory());
                let chosen = match (verdict, choose) {
                    (Some(verdict), _) => verdict?,
                    (None, Some(choose)) => choose(&path, is_directory)?,
                    (None, None) => true,
                };
                Ok(chosen.then_some(path))
            });
            match chosen {
                Ok(None) => {}
                Ok(Some(path)) => return Some(self.count().map(|()| (path, step.seen))),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn count(&mut self) -> Result<(), FsError> {
        self.listed += 1;
        self.view.limits.check_entries(self.listed)
    }

    fn end_with(&mut self, error: FsError) {
        self.ended = true;
        self.ahead.push_back(Err(error));
    }
}

impl fmt::Debug for Walk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Walk").field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl Iterator for Walk {
    type Item = Result<Entry, FsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ahead.is_empty() && !self.ended {
            self.read_ahead();
        }
        self.ahead.pop_front()
    }
}

/// A path that was put together from names that the kernel gave: only its length can be wrong.
pub(crate) fn entry_path(bytes: &[u8]) -> Result<BoxPath, FsError> {
    BoxPath::parse(bytes).map_err(|_| FsError::NameTooLong { path: BoxPath::root() })
}
