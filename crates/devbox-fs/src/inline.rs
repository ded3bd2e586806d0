//! Small files that come inside a list of operations.

use std::os::fd::AsFd;

use devbox_types::file::WriteRequest;
use devbox_types::operation::{Operation, Operations};
use devbox_types::{BoxPath, WriteCondition};

use crate::apply::Applying;
use crate::attributes::Attributes;
use crate::error::{At as _, FsError};
use crate::held::Held;
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
        let directory = place.directory.as_fd();
        let held = match seen {
            Some(seen) => {
                let held = Held::of(directory, &place.name, seen).at("look at", path)?;
                Some(held.ok_or_else(conflict)?)
            }
            None => None,
        };
        match self.publish(place, staged, held.is_some(), path) {
            Err(FsError::Exists { .. } | FsError::NotFound { .. }) => return Err(conflict()),
            published => published?,
        }
        // What the exchange took out is what would be lost.
        let Some(held) = held else { return Ok(()) };
        if held.is_at(directory, staged).at("look at", path)? { Ok(()) } else { Err(conflict()) }
    }
}
