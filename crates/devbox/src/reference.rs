//! Places as people write them: a path here, or `BOX:PATH`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use devbox_types::{Coded, ErrorCode};

/// A place that files are copied from or to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// A path on this machine.
    Here(PathBuf),
    /// A path in a box, as it was typed.
    InBox(BoxPlace),
}

/// A path in a box, as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BoxPlace {
    /// Id or name of the box.
    pub(crate) reference: String,
    /// The path; relative ones, and the empty one, start from the box's working directory.
    pub(crate) path: Vec<u8>,
}

/// A place in a box is needed, and this is a path here.
#[derive(Debug, thiserror::Error)]
#[error("{} names no box", path.display())]
pub(crate) struct NotInBox {
    path: PathBuf,
}

impl Coded for NotInBox {
    fn code(&self) -> ErrorCode {
        ErrorCode::InvalidRequest
    }

    fn hint(&self) -> Option<String> {
        let path = self.path.display().to_string();
        Some(format!("write it as BOX:PATH, such as my-box:{}", path.trim_start_matches(':')))
    }
}

impl Location {
    /// Sorts what was typed. As with scp, a colon before the first slash makes it a place in a box.
    pub(crate) fn parse(typed: &OsStr) -> Self {
        let bytes = typed.as_bytes();
        let colon = bytes.iter().position(|byte| matches!(byte, b':' | b'/')).filter(|at| bytes[*at] == b':');
        match colon.map(|at| (std::str::from_utf8(&bytes[..at]), &bytes[at + 1..])) {
            Some((Ok(reference), path)) if !reference.is_empty() => {
                Self::InBox(BoxPlace { reference: reference.to_owned(), path: path.to_vec() })
            }
            _ => Self::Here(PathBuf::from(typed)),
        }
    }

    /// The place in a box that this must be.
    pub(crate) fn in_box(self) -> Result<BoxPlace, NotInBox> {
        match self {
            Self::InBox(place) => Ok(place),
            Self::Here(path) => Err(NotInBox { path }),
        }
    }
}

impl From<OsString> for Location {
    fn from(typed: OsString) -> Self {
        Self::parse(&typed)
    }
}

impl BoxPlace {
    /// The place as a person reads it.
    pub(crate) fn shown(&self) -> String {
        format!("{}:{}", self.reference, OsString::from_vec(self.path.clone()).display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_box(reference: &str, path: &[u8]) -> Location {
        Location::InBox(BoxPlace { reference: reference.to_owned(), path: path.to_vec() })
    }

    #[test]
    fn a_colon_before_the_first_slash_names_a_box() {
        assert_eq!(Location::parse(OsStr::new("b:")), in_box("b", b""));
        assert_eq!(Location::parse(OsStr::new("b:/a:c")), in_box("b", b"/a:c"));
        assert_eq!(Location::parse(OsStr::from_bytes(b"b:\xff")), in_box("b", b"\xff"));
        for here in ["./a:b", "a/b:c", "/a:b", ":a", "plain"] {
            assert_eq!(Location::parse(OsStr::new(here)), Location::Here(PathBuf::from(here)), "{here}");
        }
    }
}
