//! The head of a part: which file, and how it is to be written.

use devbox_guest::wire;
use devbox_guest::wire::query::{parse_flag, parse_mode};
use devbox_types::file::{Durability, WriteRequest};
use devbox_types::{BoxPath, Problem};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::call::{header_text, invalid};
use crate::digests::announced_digests;
use crate::files::condition;

/// The most header lines of a part; ours has ten at the most.
const MAX_LINES: usize = 32;

/// A part's header lines.
#[derive(Debug)]
pub(super) struct Head(HeaderMap);

impl Head {
    /// Reads what stands between a delimiter and the empty line: the rest of the delimiter's line, then header lines.
    pub(super) fn parse(lines: &[u8]) -> Result<Self, Problem> {
        let malformed = || invalid("a part's head is malformed");
        let text = lines.strip_suffix(b"\r\n").ok_or_else(malformed)?;
        let mut lines = memchr::memmem::find_iter(text, b"\r\n").chain([text.len()]);
        let mut from = lines.next().ok_or_else(malformed)?;
        if text[..from].iter().any(|byte| !matches!(byte, b' ' | b'\t')) {
            return Err(invalid("a boundary does not end its line"));
        }
        let mut headers = HeaderMap::new();
        for to in lines {
            let line = &text[from + 2..to];
            from = to;
            let colon = line.iter().position(|byte| *byte == b':').ok_or_else(malformed)?;
            let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| malformed())?;
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).map_err(|_| malformed())?;
            headers.append(name, value);
            if headers.len() > MAX_LINES {
                return Err(invalid(format!("a part's head has more than {MAX_LINES} lines")));
            }
        }
        Ok(Self(headers))
    }

    /// What is to be written where: the part's own word, or else the request's for all parts.
    pub(super) fn request(&self, defaults: &WriteRequest) -> Result<WriteRequest, Problem> {
        let headers = &self.0;
        let flag = |name: &HeaderName, default: bool| {
            header_text(headers, name)?.map_or(Ok(default), |text| parse_flag(name.as_str(), text))
        };
        let path = self.path()?;
        let about = |problem: Problem| problem.with_path(&path);
        let request = || {
            let modified = header_text(headers, &wire::PART_MODIFIED)?.map(str::parse).transpose();
            let modified =
                modified.map_err(|error: devbox_types::time::TimestampError| invalid(error.to_string()))?;
            let length = header_text(headers, &header::CONTENT_LENGTH)?.map(str::parse).transpose();
            let sync = flag(&wire::PART_SYNC, defaults.durability == Durability::Power)?;
            Ok(WriteRequest {
                path: path.clone(),
                condition: condition(headers)?,
                mode: header_text(headers, &wire::PART_MODE)?.map(parse_mode).transpose()?.or(defaults.mode),
                modified: modified.or(defaults.modified),
                make_parents: flag(&wire::PART_PARENTS, defaults.make_parents)?,
                nofollow: flag(&wire::PART_NOFOLLOW, defaults.nofollow)?,
                in_place: false,
                verify: flag(&wire::PART_VERIFY, defaults.verify)?,
                durability: if sync { Durability::Power } else { Durability::Process },
                length: length.map_err(|_| invalid("a part's length is not a number"))?,
                digests: announced_digests(headers)?,
            })
        };
        request().map_err(about)
    }

    fn path(&self) -> Result<BoxPath, Problem> {
        let disposition = self.0.get(header::CONTENT_DISPOSITION).map(HeaderValue::as_bytes);
        let disposition = disposition.and_then(|value| std::str::from_utf8(value).ok());
        let named = disposition.and_then(|value| parameters(value, "form-data"));
        let name = named.and_then(|found| found.into_iter().find(|(name, _)| name == "name"));
        let Some((_, name)) = name.filter(|(_, name)| !name.is_empty()) else {
            return Err(invalid("a part has no name").with_hint("give each part its target path as its name"));
        };
        Ok(BoxPath::parse_target(&name)?)
    }
}

/// The parameters of a header value like `type; a=b; c="d"`, if its type is the expected one. Names in lower case.
pub(super) fn parameters(value: &str, expected: &str) -> Option<Vec<(String, String)>> {
    let (kind, mut rest) = value.split_at(value.find(';').unwrap_or(value.len()));
    if !kind.trim().eq_ignore_ascii_case(expected) {
        return None;
    }
    let mut found = Vec::new();
    while let Some(parameter) = rest.strip_prefix(';') {
        let parameter = parameter.trim_start();
        if parameter.is_empty() {
            break;
        }
        let (name, value) = parameter.split_once('=')?;
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = value.find(';').unwrap_or(value.len());
                (value[..end].trim().to_owned(), &value[end..])
            }
        };
        found.push((name.trim().to_ascii_lowercase(), value));
        rest = behind.trim_start();
    }
    rest.trim().trim_start_matches(';').is_empty().then_some(found)
}

/// Reads a quoted string behind its first quote: its text, and what follows its last.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut characters = quoted.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return Some((text, &quoted[place + 1..])),
            '\\' => text.push(characters.next()?.1),
            plain => text.push(plain),
        }
    }
    None
}
