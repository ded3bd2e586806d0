//! One page of a directory in byte order, in bounded memory.

use std::collections::BinaryHeap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use devbox_types::{ListPage, ListRequest, Right};

use crate::error::{At as _, FsError};
use crate::view::View;
use crate::walk::{Step, entry_path};

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
        let mut steps = self.steps(request)?;
        let mut page = Page::new(request.cursor.as_deref(), request.limit);
        loop {
            self.limits.check_time()?;
            let Some(step) = steps.next(&|directory| page.may_reach_into(directory)) else { break };
            page.meet(step.at("list", path)?);
        }
        let (steps, more) = page.finish();
        let next_cursor = more.then(|| steps.last().map(|step| BASE64.encode(&step.relative))).flatten();
        let entry = |step: Step| {
            let whole = [path.as_bytes(), b"/", &step.relative].concat();
            Ok(self.entry(entry_path(&whole)?, &step.attributes, step.target))
        };
        let entries = steps.into_iter().map(entry).collect::<Result<_, FsError>>()?;
        Ok(ListPage { entries, next_cursor })
    }
}

impl<'a> Page<'a> {
    fn new(after: Option<&'a [u8]>, room: usize) -> Self {
        Self { after, room, kept: BinaryHeap::with_capacity(room + 1), overflowed: false }
    }

    fn meet(&mut self, step: Step) {
        if self.after.is_some_and(|after| &step.relative[..] <= after) {
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
    use crate::attributes::Attributes;

    fn step(relative: &[u8]) -> Step {
        let here = std::env::current_dir().and_then(std::fs::File::open).expect("a directory");
        let attributes = Attributes::of(std::os::fd::AsFd::as_fd(&here)).expect("attributes");
        Step { relative: relative.to_vec(), attributes, target: None }
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
