//! Patterns of gitignore(5), over bytes.

use crate::error::ArchiveError;

/// The longest pattern. Matching costs at most its length times that of the path.
const MAX_PATTERN: usize = 4096;
/// The most patterns in one list, or lines in one file, that are looked at.
const MAX_PATTERNS: usize = 10_000;

/// A list of patterns. The last one that matches decides.
#[derive(Debug, Clone, Default)]
pub struct Patterns(Vec<Pattern>);

#[derive(Debug, Clone)]
struct Pattern {
    /// Whether it takes back what an earlier one says.
    negated: bool,
    directories_only: bool,
    /// Its parts between slashes; `None` is `**`.
    segments: Vec<Option<Vec<u8>>>,
}

impl Patterns {
    /// Patterns that a caller gave, each of which must mean something.
    pub fn of(patterns: &[String]) -> Result<Self, ArchiveError> {
        if patterns.len() > MAX_PATTERNS {
            return Err(ArchiveError::BadPattern { pattern: format!("{} patterns", patterns.len()) });
        }
        let parse = |pattern: &String| {
            Pattern::parse(pattern.as_bytes())
                .ok_or_else(|| ArchiveError::BadPattern { pattern: pattern.clone() })
        };
        patterns.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// The lines of an ignore file. As git, passes over what means nothing.
    #[must_use]
    pub fn from_file(content: &[u8]) -> Self {
        let lines = content.split(|byte| *byte == b'\n').take(MAX_PATTERNS);
        Self(lines.filter(|line| !line.starts_with(b"#")).filter_map(Pattern::parse).collect())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the list says of a path: `Some(true)` matched, `Some(false)` taken back, `None` nothing.
    #[must_use]
    pub fn verdict(&self, path: &[u8], is_directory: bool) -> Option<bool> {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let decides = |pattern: &&Pattern| pattern.matches(&names, is_directory);
        self.0.iter().rev().find(decides).map(|pattern| !pattern.negated)
    }

    /// Whether the list matches a path or a directory that it is below of.
    #[must_use]
    pub fn covers(&self, path: &[u8], is_directory: bool) -> bool {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        ends.map(|end| (&path[..end], true))
            .chain([(path, is_directory)])
            .any(|(path, is_directory)| self.verdict(path, is_directory) == Some(true))
    }
}

impl Pattern {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut line = line.strip_suffix(b"\r").unwrap_or(line);
        while line.ends_with(b" ") && !line.ends_with(b"\\ ") {
            line = &line[..line.len() - 1];
        }
        let negated = line.starts_with(b"!");
        let line = if negated { &line[1..] } else { line };
        let directories_only = line.ends_with(b"/");
        let line = line.strip_suffix(b"/").unwrap_or(line);
        let anchored = line.contains(&b'/');
        let line = line.strip_prefix(b"/").unwrap_or(line);
        if line.is_empty() || line.len() > MAX_PATTERN {
            return None;
        }
        let segment = |part: &[u8]| (part != b"**").then(|| part.to_vec());
        let mut segments: Vec<_> = line.split(|byte| *byte == b'/').map(segment).collect();
        if !anchored {
            segments.insert(0, None);
        }
        // Several `**` in a row say no more than one.
        segments.dedup_by(|next, before| next.is_none() && before.is_none());
        Some(Self { negated, directories_only, segments })
    }

    fn matches(&self, names: &[&[u8]], is_directory: bool) -> bool {
        if self.directories_only && !is_directory {
            return false;
        }
        // `reached[i]`: the segments so far match the first `i` names.
        let mut reached = vec![false; names.len() + 1];
        reached[0] = true;
        for (place, segment) in self.segments.iter().enumerate() {
            match segment {
                None => {
                    // A last `**` is everything inside, not the directory itself.
                    let last = place + 1 == self.segments.len();
                    let mut open = false;
                    for reached in &mut reached {
                        let was = *reached;
                        *reached = if last { open } else { open || was };
                        open |= was;
                    }
                }
                Some(glob) => {
                    for at in (1..reached.len()).rev() {
                        reached[at] = reached[at - 1] && is_match(glob, names[at - 1]);
                    }
                    reached[0] = false;
                }
            }
        }
        reached[names.len()]
    }
}

/// Whether a glob (`*`, `?`, `[…]`, `\`) matches a name. Goes back only to the last `*`.
fn is_match(glob: &[u8], name: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while seen < name.len() {
        if glob.get(at) == Some(&b'*') {
            back = Some((at + 1, seen));
            at += 1;
            continue;
        }
        if let Some(length) = one(&glob[at..], name[seen]) {
            at += length;
            seen += 1;
            continue;
        }
        let Some((star, from)) = back else { return false };
        back = Some((star, from + 1));
        (at, seen) = (star, from + 1);
    }
    glob[at..].iter().all(|byte| *byte == b'*')
}

/// If the first element of a glob matches a byte: how long the element is.
fn one(glob: &[u8], byte: u8) -> Option<usize> {
    match glob {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => match in_class(class, byte) {
            Some((inside, length)) => inside.then_some(length + 1),
            None => (byte == b'[').then_some(1),
        },
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

/// Whether a byte is in a class, and how long the class is with its `]`; `None` if there is no `]`.
fn in_class(class: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(class.first(), Some(b'!' | b'^'));
    let mut at = usize::from(negated);
    let first = at;
    let mut inside = false;
    loop {
        let mut low = *class.get(at)?;
        if low == b']' && at > first {
            return Some((inside != negated, at + 1));
        }
        if low == b'\\' {
            at += 1;
            low = *class.get(at)?;
        }
        at += 1;
        let mut high = low;
        if class.get(at) == Some(&b'-') && class.get(at + 1).is_some_and(|byte| *byte != b']') {
            high = *class.get(at + 1)?;
            at += 2;
        }
        inside |= (low..=high).contains(&byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(patterns: &[&str], path: &str) -> Option<bool> {
        let (path, is_directory) = match path.strip_suffix('/') {
            Some(path) => (path, true),
            None => (path, false),
        };
        let patterns = Patterns::from_file(patterns.join("\n").as_bytes());
        patterns.verdict(path.as_bytes(), is_directory)
    }

    #[test]
    fn patterns_mean_what_git_says() {
        for (pattern, path) in [
            ("*.o", "a/b/x.o"),
            ("build", "a/build"),
            ("build/", "a/build/"),
            ("/top", "top"),
            ("doc/*.txt", "doc/a.txt"),
            ("a/**/b", "a/b"),
            ("a/**/b", "a/x/y/b"),
            ("**/foo/bar", "x/foo/bar"),
            ("abc/**", "abc/x/y"),
            ("[a-c]?[!x]", "b1y"),
            ("\\#file", "#file"),
            ("\\!file", "!file"),
            ("trailing\\ ", "trailing "),
            ("spaces   ", "spaces"),
            ("[]a]", "]"),
            ("[", "["),
            ("*a*a*a*b", "aaaaaaaaaaab"),
        ] {
            assert_eq!(says(&[pattern], path), Some(true), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("build/", "build"),
            ("/top", "a/top"),
            ("doc/*.txt", "doc/a/b.txt"),
            ("abc/**", "abc/"),
            ("*.o", "x.c"),
            ("# comment", "# comment"),
            ("", "x"),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac"),
        ] {
            assert_eq!(says(&[pattern], path), None, "{pattern} {path}");
        }
        assert_eq!(says(&["*.log", "!keep.log"], "a/keep.log"), Some(false));
        assert_eq!(says(&["!keep.log", "*.log"], "a/keep.log"), Some(true));
    }

    #[test]
    fn what_is_below_is_covered() {
        let patterns = Patterns::of(&["src/".to_owned(), "*.md".to_owned()]).expect("patterns");
        assert!(patterns.covers(b"src/a/b.rs", false) && patterns.covers(b"x/README.md", false));
        assert!(!patterns.covers(b"src", false) && !patterns.covers(b"other/b.rs", false));
        assert!(Patterns::of(&["/".to_owned()]).is_err());
    }
}
