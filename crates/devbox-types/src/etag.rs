//! Entity tags and the conditions made of them (RFC 9110, sections 8.8.3 and 13.1).

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

/// An entity tag: opaque, changed by every change of the content.
///
/// It is made of inode, ctime in nanoseconds and size. Weak means: the file changed so recently that a further change
/// may go unseen by the clock.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Etag {
    opaque: String,
    weak: bool,
}

/// A text is not an entity tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an entity tag is written \"...\" or W/\"...\", with at most {} visible characters",
    Etag::MAX_LENGTH
)]
pub struct EtagError;

impl Etag {
    /// The longest tag accepted: ours have at most 50 characters, a SHA-256 has 64.
    pub const MAX_LENGTH: usize = 128;

    /// The tag of a file version.
    #[must_use]
    pub fn of_version(inode: u64, ctime_nanoseconds: i64, size_bytes: u64, weak: bool) -> Self {
        // As long as it can be: formatting would else make it grow twice.
        let mut opaque = String::with_capacity(50);
        // Writing to a string cannot fail.
        let _ = write!(opaque, "{inode:x}-{ctime_nanoseconds:x}-{size_bytes:x}");
        Self { opaque, weak }
    }

    /// The tag of the same version in another form, such as under a content coding.
    #[must_use]
    pub fn with_suffix(&self, form: &str) -> Self {
        Self { opaque: format!("{}+{form}", self.opaque), weak: self.weak }
    }

    /// The tag of the version, and the form that it is in, if it names one.
    #[must_use]
    pub fn split_suffix(&self) -> Option<(Self, &str)> {
        let (version, form) = self.opaque.rsplit_once('+')?;
        Some((Self { opaque: version.to_owned(), weak: self.weak }, form))
    }

    /// Whether it is weak.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.weak
    }

    /// Strong comparison, for `If-Match` and `If-Range`: equal, and neither is weak.
    #[must_use]
    pub fn matches_strongly(&self, other: &Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Weak comparison, for `If-None-Match`: equal but for weakness.
    #[must_use]
    pub fn matches_weakly(&self, other: &Self) -> bool {
        self.opaque == other.opaque
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\"{}\"", if self.weak { "W/" } else { "" }, self.opaque)
    }
}

impl FromStr for Etag {
    type Err = EtagError;

    fn from_str(text: &str) -> Result<Self, EtagError> {
        let (weak, quoted) = match text.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, text),
        };
        let opaque = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or(EtagError)?;
        let visible = opaque.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        if !visible || opaque.len() > Self::MAX_LENGTH {
            return Err(EtagError);
        }
        Ok(Self { opaque: opaque.to_owned(), weak })
    }
}

impl TryFrom<String> for Etag {
    type Error = EtagError;

    fn try_from(text: String) -> Result<Self, EtagError> {
        text.parse()
    }
}

impl Serialize for Etag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let prefix = if self.weak { "W/\"" } else { "\"" };
        serializer.serialize_str(&[prefix, &self.opaque, "\""].concat())
    }
}

/// What must hold of the target for a write to happen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WriteCondition {
    /// Nothing: create or replace.
    #[default]
    None,
    /// `If-None-Match: *`: there is no entry yet.
    Absent,
    /// `If-Match: *`: there is a file.
    Present,
    /// `If-Match: "…"`: the file is one of these versions.
    Matches(Vec<Etag>),
}

impl WriteCondition {
    /// The most tags that one condition may list; more is refused rather than compared.
    pub const MAX_TAGS: usize = 16;

    /// Reads the two headers.
    ///
    /// # Errors
    /// [`EtagError`] for a malformed tag, more than [`Self::MAX_TAGS`], both headers, or an `If-None-Match` other than `*`.
    pub fn from_headers(if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Self, EtagError> {
        match (if_match.map(str::trim), if_none_match.map(str::trim)) {
            (None, None) => Ok(Self::None),
            (None, Some("*")) => Ok(Self::Absent),
            (Some("*"), None) => Ok(Self::Present),
            (Some(list), None) => parse_list(list).map(Self::Matches),
            _ => Err(EtagError),
        }
    }
}

/// Reads a comma-separated list of tags. Our tags contain no comma, so splitting there is exact for them.
///
/// # Errors
/// [`EtagError`] if one of them is malformed or there are more than [`WriteCondition::MAX_TAGS`].
pub fn parse_list(list: &str) -> Result<Vec<Etag>, EtagError> {
    let tags = list.split(',').map(|tag| tag.trim().parse()).collect::<Result<Vec<Etag>, _>>()?;
    if tags.len() > WriteCondition::MAX_TAGS { Err(EtagError) } else { Ok(tags) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_the_header() {
        for weak in [false, true] {
            let tag = Etag::of_version(17, -5, 4096, weak);
            assert_eq!(tag.to_string().parse(), Ok(tag));
        }
    }

    #[test]
    fn a_weak_tag_never_matches_strongly() {
        let (weak, strong) = (Etag::of_version(1, 2, 3, true), Etag::of_version(1, 2, 3, false));
        assert!(!weak.matches_strongly(&weak) && !strong.matches_strongly(&weak));
        assert!(strong.matches_strongly(&strong) && weak.matches_weakly(&strong));
    }

    #[test]
    fn conditions_are_read_from_headers() {
        assert_eq!(WriteCondition::from_headers(None, Some("*")), Ok(WriteCondition::Absent));
        assert_eq!(WriteCondition::from_headers(Some("*"), None), Ok(WriteCondition::Present));
        assert!(
            matches!(WriteCondition::from_headers(Some("\"a\", W/\"b\""), None), Ok(WriteCondition::Matches(tags)) if tags.len() == 2)
        );
        for (if_match, if_none_match) in
            [(Some("a"), None), (Some("\"a\""), Some("*")), (None, Some("\"a\""))]
        {
            assert_eq!(WriteCondition::from_headers(if_match, if_none_match), Err(EtagError));
        }
    }
}
