//! Whether a write's condition holds of what is there.

use devbox_types::{BoxPath, WriteCondition};

use crate::attributes::{Attributes, EtagClock};
use crate::error::FsError;

pub(crate) fn check(
    condition: &WriteCondition,
    existing: Option<&Attributes>,
    clock: EtagClock,
    path: &BoxPath,
) -> Result<(), FsError> {
    let holds = match (condition, existing) {
        (WriteCondition::None, _) => true,
        (WriteCondition::Absent, existing) => existing.is_none(),
        (WriteCondition::Present, existing) => existing.is_some(),
        (WriteCondition::Matches(_), None) => false,
        (WriteCondition::Matches(tags), Some(existing)) => {
            let now = existing.etag(clock);
            existing.is_file() && tags.iter().any(|tag| tag.matches_strongly(&now))
        }
    };
    if holds { Ok(()) } else { Err(FsError::PreconditionFailed { path: path.clone() }) }
}

/// Whether the condition names a version, so that a change by somebody else must not be overwritten.
pub(crate) fn guards_a_version(condition: &WriteCondition) -> bool {
    match condition {
        WriteCondition::None | WriteCondition::Absent => false,
        WriteCondition::Present | WriteCondition::Matches(_) => true,
    }
}
