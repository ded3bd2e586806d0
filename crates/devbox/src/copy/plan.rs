//! Which way a copy goes, from where, and under which names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::CopyError;
use crate::reference::{BoxPlace, Location};

/// What a copy means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CopyPlan {
    /// From here into a box.
    Upload {
        /// Files and directories here.
        sources: Vec<PathBuf>,
        /// Where to.
        to: BoxPlace,
    },
    /// From a box to here.
    Download {
        /// Files and directories in one box.
        sources: Vec<BoxPlace>,
        /// Where to.
        to: PathBuf,
    },
}

impl CopyPlan {
    /// The one box that takes part.
    pub(super) fn reference(&self) -> &str {
        match self {
            Self::Upload { to, .. } => &to.reference,
            // A plan without sources is not made.
            Self::Download { sources, .. } => sources.first().map_or("", |source| &source.reference),
        }
    }
}

/// Makes a plan of what was typed.
pub(super) fn plan(sources: Vec<Location>, destination: Location) -> Result<CopyPlan, CopyError> {
    let same_place = |one: &Location, other: &Location| match (one, other) {
        (Location::Here(_), Location::Here(_)) => true,
        (Location::InBox(one), Location::InBox(other)) => one.reference == other.reference,
        _ => false,
    };
    if let Some(other) = sources.iter().find(|source| !same_place(&sources[0], source)) {
        return Err(CopyError::MixedSources { first: shown(&sources[0]), other: shown(other) });
    }
    let (mut here, mut in_box) = (Vec::new(), Vec::new());
    for source in sources {
        match source {
            Location::Here(path) => here.push(path),
            Location::InBox(place) => in_box.push(place),
        }
    }
    match (destination, in_box.is_empty()) {
        (Location::InBox(to), true) => Ok(CopyPlan::Upload { sources: here, to }),
        (Location::Here(to), false) => Ok(CopyPlan::Download { sources: in_box, to }),
        (Location::Here(_), true) => Err(CopyError::NoBox),
        (Location::InBox(_), false) => Err(CopyError::BoxToBox),
    }
}

/// What of a source is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share<'s> {
    /// Itself, under this name.
    Itself(&'s OsStr),
    /// What is in it: it is written `DIR/.`, or has no name of its own.
    Contents,
}

/// Decides what of the source at this path, as it was typed, is copied.
pub(super) fn share(typed: &Path) -> Share<'_> {
    let bytes = typed.as_os_str().as_bytes();
    let is_dotted = bytes == b"." || bytes.ends_with(b"/.") || bytes == b"./";
    match typed.file_name() {
        Some(name) if !is_dotted => Share::Itself(name),
        _ => Share::Contents,
    }
}

fn shown(location: &Location) -> String {
    match location {
        Location::Here(path) => path.display().to_string(),
        Location::InBox(place) => place.shown(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(texts: &[&str]) -> Vec<Location> {
        texts.iter().map(|text| Location::parse(OsStr::new(text))).collect()
    }

    fn plan_of(sources: &[&str], destination: &str) -> Result<CopyPlan, CopyError> {
        plan(typed(sources), Location::parse(OsStr::new(destination)))
    }

    #[test]
    fn one_side_is_in_a_box() {
        let up = plan_of(&["a", "./b:c"], "box:/x").expect("a plan");
        assert!(matches!(&up, CopyPlan::Upload { sources, .. } if sources.len() == 2), "{up:?}");
        assert_eq!(up.reference(), "box");
        let down = plan_of(&["box:a", "box:b"], ".").expect("a plan");
        assert!(matches!(&down, CopyPlan::Download { sources, .. } if sources.len() == 2), "{down:?}");
        assert_eq!(down.reference(), "box");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(matches!(plan_of(&["a"], "b"), Err(CopyError::NoBox)));
        assert!(matches!(plan_of(&["x:a"], "y:b"), Err(CopyError::BoxToBox)));
        assert!(matches!(plan_of(&["x:a", "y:b"], "c"), Err(CopyError::MixedSources { .. })));
        assert!(matches!(plan_of(&["a", "y:b"], "c"), Err(CopyError::MixedSources { .. })));
    }

    #[test]
    fn a_source_gives_its_name_or_its_contents() {
        for (typed, name) in [("a", "a"), ("a/b", "b"), ("a/", "a"), ("/x/y//", "y"), (".hidden", ".hidden")]
        {
            assert_eq!(share(Path::new(typed)), Share::Itself(OsStr::new(name)), "{typed}");
        }
        for typed in [".", "./", "a/.", "..", "/", "a/.."] {
            assert_eq!(share(Path::new(typed)), Share::Contents, "{typed}");
        }
    }
}
