//! Which entries below a chosen directory go into an archive.

use devbox_archive::{ArchiveError, Patterns};
use devbox_fs::{Choose, FsError, View};
use devbox_types::archive::ArchiveRequest;
use devbox_types::file::ReadRequest;
use devbox_types::{BoxPath, ErrorCode};

use crate::pack::below;

/// The longest ignore file that is read; a longer one is `too_large`, for half of it would mean something else.
const MAX_IGNORE_FILE: u64 = 1 << 20;

/// What a request includes and excludes.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    include: Patterns,
    exclude: Patterns,
    gitignore: bool,
}

impl Selection {
    pub(crate) fn of(request: &ArchiveRequest) -> Result<Self, ArchiveError> {
        Ok(Self {
            include: Patterns::of(&request.include)?,
            exclude: Patterns::of(&request.exclude)?,
            gitignore: request.gitignore,
        })
    }

    /// Whether an entry that was not excluded goes in; `path` is as seen from the chosen directory, which itself is empty.
    pub(crate) fn includes(&self, path: &[u8], is_directory: bool) -> bool {
        self.include.is_empty() || (!path.is_empty() && self.include.covers(path, is_directory))
    }

    /// What a walk asks of each entry below a chosen directory; `None` if nothing is excluded.
    pub(crate) fn chooser(&self, view: &View, chosen: &BoxPath) -> Option<Choose> {
        if self.exclude.is_empty() && !self.gitignore {
            return None;
        }
        let mut exclusion = Exclusion {
            view: view.clone(),
            chosen: chosen.clone(),
            exclude: self.exclude.clone(),
            gitignore: self.gitignore,
            levels: Vec::new(),
        };
        Some(Box::new(move |path, is_directory| Ok(!exclusion.excludes(path, is_directory)?)))
    }
}

/// What is left out below one chosen directory.
struct Exclusion {
    view: View,
    chosen: BoxPath,
    exclude: Patterns,
    gitignore: bool,
    /// The ignore files on the way to where the walk is, outermost first.
    levels: Vec<(BoxPath, Patterns)>,
}

impl Exclusion {
    fn excludes(&mut self, path: &BoxPath, is_directory: bool) -> Result<bool, FsError> {
        if let Some(verdict) = self.exclude.verdict(below(&self.chosen, path), is_directory) {
            return Ok(verdict);
        }
        if !self.gitignore {
            return Ok(false);
        }
        if path.name() == Some(b".git") {
            return Ok(true);
        }
        self.go_to(&path.parent().unwrap_or_default())?;
        let verdict = |(directory, patterns): &(BoxPath, Patterns)| {
            patterns.verdict(below(directory, path), is_directory)
        };
        Ok(self.levels.iter().rev().find_map(verdict).unwrap_or(false))
    }

    /// Reads the ignore files from the chosen directory to this one, those that are not at hand.
    fn go_to(&mut self, directory: &BoxPath) -> Result<(), FsError> {
        while self.levels.last().is_some_and(|(level, _)| !directory.is_within(level)) {
            self.levels.pop();
        }
        let mut missing = Vec::new();
        let mut next = Some(directory.clone());
        while let Some(level) = next.filter(|level| level.is_within(&self.chosen)) {
            if self.levels.last().is_some_and(|(known, _)| *known == level) {
                break;
            }
            next = level.parent();
            missing.push(level);
        }
        for level in missing.into_iter().rev() {
            let patterns = self.read(&level)?;
            self.levels.push((level, patterns));
        }
        Ok(())
    }

    fn read(&self, directory: &BoxPath) -> Result<Patterns, FsError> {
        let Ok(path) = directory.join(b".gitignore") else { return Ok(Patterns::default()) };
        let (head, mut reader) = match self.view.open_file(&ReadRequest::whole(path)) {
            Ok(opened) => opened,
            // As git: a directory of that name, or none, says nothing.
            Err(error) if says_nothing(&error) => return Ok(Patterns::default()),
            Err(error) => return Err(error),
        };
        if head.length > MAX_IGNORE_FILE {
            return Err(FsError::TooLarge { limit_bytes: MAX_IGNORE_FILE });
        }
        let mut content = vec![0; usize::try_from(head.length).unwrap_or(0)];
        let mut filled = 0;
        while filled < content.len() {
            filled += reader.read(&mut content[filled..])?;
        }
        Ok(Patterns::from_file(&content))
    }
}

fn says_nothing(error: &FsError) -> bool {
    use devbox_types::Coded as _;
    matches!(error.code(), ErrorCode::NotFound | ErrorCode::IsADirectory | ErrorCode::NotARegularFile)
}
