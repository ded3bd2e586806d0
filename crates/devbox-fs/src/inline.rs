//! Small files that come inside a list of operations.

use std::os::fd::AsFd;

use devbox_types::file::WriteRequest;
use devbox_types::operation::{Operation, Operations};
use devbox_types::{BoxPath, WriteCondition};
use rustix::io::Errno;

use crate::apply::Applying;
use crate::attributes::Attributes;
use crate::confine::open_entry;
use crate::error::{At as _, FsError};
use crate::stage::{Draft, Target};
use crate::view::Place;

/// Checks how much content a list of operations holds: all of it is in memory, beside the request that it came in.
pub(crate) fn check_sizes(operations: &[Operation]) -> Result<(), FsError> {
    let length = |operation: &Operation| {
        if let Operation::Write { content, .. } = operation { content.len() } else { 0 }
    };
    if operations.iter().map(length).sum::<usize>() > Operations::MAX_INLINE_BYTES {
        let limit_bytes = u64::try_from(Operations::MAX_INLINE_BYTES).unwrap_or(u64::MAX);
        return Err(FsError::TooLarge { limit_bytes });
    }
    Ok(())
}

impl Applying<'_> {
    /// Writes a small file: alone as [`crate::View::write_file`], in a list beside the target and published by an exchange, so
    /// that the old file can come back.
    pub(crate) fn write(
        &mut self,
        mut request: WriteRequest,
        content: &[u8],
        overwrite: bool,
    ) -> Result<(), FsError> {
        if let Some(mode) = request.mode {
            crate::apply::check_mode(mode)?;
        }
        self.report.entries += 1;
        self.report.bytes += u64::try_from(content.len()).unwrap_or(u64::MAX);
        let limit = self.view.limits.bytes;
        if self.report.bytes > limit {
            return Err(FsError::TooLarge { limit_bytes: limit });
        }
        let path = request.path.clone();
        if !overwrite {
            request.condition = WriteCondition::Absent;
        }
        let written = match self.transaction.is_some() {
            true => self.write_beside(request, content),
            false => self.view.write_file(request, content).map(drop),
        };
        match written {
            Err(FsError::PreconditionFailed { .. }) => Err(FsError::Exists { path }),
            written => written,
        }
    }

    fn write_beside(&mut self, request: WriteRequest, content: &[u8]) -> Result<(), FsError> {
        let path = request.path.clone();
        let Target { place, seen, made } = self.view.target(&request, &mut self.transaction)?;
        self.count_made(&made);
        let staged = self.reserve(&place).at("remember", &path)?;
        let mut draft = Draft::create(&place.directory, staged.clone(), request, u64::MAX)?;
        draft.write(content)?;
        draft.complete()?;
        draft.dress(self.view, &place, seen.as_ref())?;
        self.publish_over(&place, &staged, seen.as_ref(), &path)
    }

    /// Publishes what was made beside `place`, unless something else is there by now than was looked at.
    fn publish_over(
        &mut self,
        place: &Place,
        staged: &[u8],
        seen: Option<&Attributes>,
        path: &BoxPath,
    ) -> Result<(), FsError> {
        let conflict = || FsError::Conflict { paths: vec![path.clone()] };
        let held = match open_entry(place.directory.as_fd(), &place.name) {
            Err(Errno::NOENT) => None,
            held => Some(held.at("look at", path)?),
        };
        let now = held.as_ref().map(|held| Attributes::of(held.as_fd())).transpose().at("look at", path)?;
        let same = match (&now, seen) {
            (None, None) => true,
            (Some(now), Some(seen)) => now.is_same_version(seen),
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !same {
            return Err(conflict());
        }
        match self.publish(place, staged, true, path) {
            Err(FsError::Exists { .. } | FsError::NotFound { .. }) => return Err(conflict()),
            published => published?,
        }
        let (Some(seen), Some(held)) = (seen, held) else { return Ok(()) };
        // What the exchange took out is what would be lost. The copy-up of an overlay may give it another inode number; the
        // descriptor follows it.
        let out = Attributes::at(place.directory.as_fd(), staged).at("look at", path)?;
        let is_held = Attributes::of(held.as_fd()).at("look at", path)?.id() == out.id();
        if is_held && out.is_same_content(seen) { Ok(()) } else { Err(conflict()) }
    }
}
