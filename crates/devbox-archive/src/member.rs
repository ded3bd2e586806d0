//! What is found in an archive, and who is told of it.

use devbox_types::{BoxPath, Problem, Timestamp};

use crate::error::ArchiveError;
use crate::name::text;

/// One entry, as an archive tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path, relative to where the archive is unpacked.
    pub path: BoxPath,
    /// Permission bits without set-user-ID, set-group-ID and sticky bits; `None` if the format did not say.
    pub mode: Option<u32>,
    /// Last modification, if it is told.
    pub modified: Option<Timestamp>,
    /// `user.*` extended attributes.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// What it is.
    pub kind: MemberKind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// A file of this many bytes, which follow.
    File {
        /// How many.
        size: u64,
        /// Whether some of them are holes.
        sparse: bool,
    },
    /// A directory.
    Directory,
    /// A symlink.
    Symlink {
        /// Its target, as it is.
        target: Vec<u8>,
    },
    /// Another name of a file.
    HardLink {
        /// The name under which the archive has the file.
        first: BoxPath,
    },
}

/// Who is told of the entries of an archive, in order. An error ends the reading.
pub trait Sink {
    /// An entry begins. Of a file, the content follows, and its end.
    fn begin(&mut self, member: Member) -> Result<(), Problem>;
    /// The next bytes of the file that was begun.
    fn content(&mut self, chunk: &[u8]) -> Result<(), Problem>;
    /// The next bytes of the file that was begun are a hole: so many zeros that take no room.
    fn hole(&mut self, length: u64) -> Result<(), Problem>;
    /// The file is whole.
    fn end(&mut self) -> Result<(), Problem>;
}

/// Permission bits that an archive may give.
pub(crate) fn harmless(mode: u32) -> u32 {
    mode & 0o777
}

/// Makes a path of a name, less its first `strip` segments; `None` if nothing is left.
///
/// A name with `..`, or an absolute one, is refused rather than repaired: two readers that repair it differently do not agree
/// on what is in the archive.
pub(crate) fn path_of(name: &[u8], strip: usize) -> Result<Option<BoxPath>, ArchiveError> {
    if name.starts_with(b"/") || name.split(|byte| *byte == b'/').any(|segment| segment == b"..") {
        return Err(ArchiveError::Escapes { name: text(name) });
    }
    let kept: Vec<&[u8]> = name
        .split(|byte| *byte == b'/')
        .filter(|segment| !matches!(*segment, b"" | b"."))
        .skip(strip)
        .collect();
    if kept.is_empty() {
        return Ok(None);
    }
    let bad_name = |_| ArchiveError::BadName { name: text(name), reason: "it names something in a box" };
    BoxPath::parse(&kept.join(&b'/')).map(Some).map_err(bad_name)
}

/// Refuses symlink targets that no file system takes.
pub(crate) fn check_target(name: &[u8], target: &[u8]) -> Result<(), ArchiveError> {
    if target.is_empty() || target.contains(&0) || target.len() > BoxPath::MAX_LENGTH {
        return Err(ArchiveError::Malformed {
            what: format!("the target of the symbolic link {:?} has 1 to 4095 bytes and no NUL", text(name)),
        });
    }
    Ok(())
}
