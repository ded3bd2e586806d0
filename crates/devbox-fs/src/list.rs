//! One page of a directory in byte order, in bounded memory.

use std::collections::BinaryHeap;
use std::os::fd::AsFd as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use devbox_types::{ListPage, ListRequest, Right};
use rustix::io::Errno;

use crate::confine::Anchor;
use crate::error::{At as _, FsError};
use crate::view::View;
use crate::walk::{Seen, Step, entry_path};

/// The clock is looked at once in so many names.
const LOOK_AT_CLOCK: u64 = 256;

/// The entries of a page while the directory is read: the first so many in byte order of what came by.
struct Page<'a> {
    after: Option<&'a [u8]>,
    room: usize,
    kept: BinaryHeap<Kept>,
    overflowed: bool,
}

struct Kept(Step);

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.0.relative == other.0.relative
    }
}

impl Eq for Kept {}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.relative.cmp(&other.0.relative)
    }
}

impl View {
    /// Lists one page of a directory, to `request.depth`, in byte order of the paths.
    ///
    /// The directory is read once per page, and no more than a page is kept. What is made or removed between pages may or may
    /// not appear; what stays appears exactly once.
    ///
    /// # Errors
    /// [`FsError::Invalid`] for a limit or depth out of range, [`FsError::NotADirectory`], or what keeps it from being read.
    pub fn list(&self, request: &ListRequest) -> Result<ListPage, FsError> {
        self.need(Right::Read)?;
        if request.limit == 0 || request.limit > ListRequest::MAX_LIMIT {
            return Err(FsError::Invalid { reason: "the limit of a listing is 1 to 1000" });
        }
        let path = &request.path;
        let _acting = self.act()?;
        let (steps, directory) = self.steps(request)?;
        let mut steps = steps.names_only();
        let mut page = Page::new(request.cursor.as_deref(), request.limit);
        let mut read = 0_u64;
        loop {
            if read.is_multiple_of(LOOK_AT_CLOCK) {
                self.limits.check_time()?;
            }
            read += 1;
            let Some(step) = steps.next(&|directory| page.may_reach_into(directory)) else { break };
            page.meet(step.at("list", path)?);
        }
        let (steps, more) = page.finish();
        let next_cursor = more.then(|| steps.last().map(|step| BASE64.encode(&step.relative))).flatten();
        let below = Anchor { directory: directory.as_fd(), strict: true, ..self.anchor() };
        let mut entries = Vec::with_capacity(steps.len());
        for step in steps {
            // Only what is on the page is looked at; what vanished since its name was read is left out.
            let seen = match step.seen {
                None => look(&below, &step.relative).map(Box::new),
                Some(seen) => Ok(seen),
            };
            let whole = [path.as_bytes(), b"/", &step.relative].concat();
            match seen {
                Ok(seen) => entries.push(self.seen_entry(entry_path(&whole)?, seen)),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP) => {}
                Err(errno) => return Err(FsError::at("list", path, errno)),
            }
        }
        Ok(ListPage { entries, next_cursor })
    }
}

/// Looks at an entry of a listing by its path below the listed directory.
fn look(below: &Anchor<'_>, relative: &[u8]) -> Result<Seen, Errno> {
    let Some(slash) = relative.iter().rposition(|byte| *byte == b'/') else {
        return Seen::at(below.directory, relative);
    };
    let directory = below.open_directory(&relative[..slash])?;
    Seen::at(directory.as_fd(), &relative[slash + 1..])
}

impl<'a> Page<'a> {
    fn new(after: Option<&'a [u8]>, room: usize) -> Self {
        Self { after, room, kept: BinaryHeap::with_capacity(room + 1), overflowed: false }
    }

    fn meet(&mut self, step: Step) {
        if self.after.is_some_and(|after| &step.relative[..] <= after) {
            return;
        }
        let is_behind = |last: &Kept| last.0.relative < step.relative;
        if self.kept.len() == self.room && self.kept.peek().is_some_and(is_behind) {
            self.overflowed = true;
            return;
        }
        self.kept.push(Kept(step));
        if self.kept.len() > self.room {
            self.kept.pop();
            self.overflowed = true;
        }
    }

    /// Whether a path below `directory` can be on this page: all of them begin with its path and a slash.
    fn may_reach_into(&self, directory: &[u8]) -> bool {
        let first = [directory, b"/"].concat();
        let all_before = self.after.is_some_and(|after| !after.starts_with(&first) && &first[..] < after);
        let is_full = self.kept.len() == self.room;
        let all_behind = is_full && self.kept.peek().is_some_and(|last| last.0.relative < first);
        // Those behind a full page need not be read, but there is a further page for them if there are any.
        !all_before && (!all_behind || !self.overflowed)
    }

    fn finish(self) -> (Vec<Step>, bool) {
        let steps = self.kept.into_sorted_vec().into_iter().map(|kept| kept.0).collect();
        (steps, self.overflowed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step(relative: &[u8]) -> Step {
        Step { relative: relative.to_vec(), seen: None }
    }

    proptest! {
        #[test]
        fn pages_are_the_sorted_names_cut_in_pieces(
            names in proptest::collection::btree_set("[a-c/.]{1,3}", 0..40),
            room in 1_usize..5,
            seed: u64,
        ) {
            let sorted: Vec<Vec<u8>> = names.into_iter().map(String::into_bytes).collect();
            let mut shuffled = sorted.clone();
            if !shuffled.is_empty() {
                let by = usize::try_from(seed % 40).expect("small") % shuffled.len();
                shuffled.rotate_left(by);
            }
            let mut listed = Vec::new();
            let mut cursor: Option<Vec<u8>> = None;
            loop {
                let mut page = Page::new(cursor.as_deref(), room);
                shuffled.iter().for_each(|name| page.meet(step(name)));
                let (steps, more) = page.finish();
                listed.extend(steps.iter().map(|step| step.relative.clone()));
                cursor = steps.last().map(|step| step.relative.clone());
                if !more {
                    break;
                }
            }
            prop_assert_eq!(listed, sorted);
        }
    }
}
