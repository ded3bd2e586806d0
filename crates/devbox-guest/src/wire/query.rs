//! Query parameters, both ways.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::str::FromStr;

use devbox_types::file::{Durability, WriteRequest};
use devbox_types::{BoxPath, ErrorCode, Problem, Timestamp};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What RFC 3986 leaves unreserved is written as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request target whose query is being written, pair by pair.
#[derive(Debug)]
pub struct TargetWriter {
    text: String,
    begun: bool,
}

impl TargetWriter {
    /// Begins with a path that has no query yet.
    #[must_use]
    pub fn new(path: String) -> Self {
        Self { text: path, begun: false }
    }

    /// Appends a pair.
    pub fn pair(&mut self, name: &str, value: impl Display) {
        let value = value.to_string();
        let separator = if self.begun { '&' } else { '?' };
        self.begun = true;
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{separator}{name}={}", utf8_percent_encode(&value, ESCAPED));
    }

    /// Appends `name=true` if `set`.
    pub fn flag(&mut self, name: &str, set: bool) {
        if set {
            self.pair(name, true);
        }
    }

    /// Appends what a write is asked for beside path, conditions, digest and bytes.
    pub fn write_options(&mut self, request: &WriteRequest) {
        if let Some(mode) = request.mode {
            self.pair("mode", format_args!("{mode:04o}"));
        }
        if let Some(modified) = request.modified {
            self.pair("mtime", modified);
        }
        self.flag("parents", request.make_parents);
        self.flag("nofollow", request.nofollow);
        self.flag("sync", request.durability == Durability::Power);
    }

    /// The whole target.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

/// The most parameters of a request. No call has half as many; looking for repetitions takes time by their square.
const MAX_PARAMETERS: usize = 32;

/// The parameters of a request. Each is taken once; what is left at the end was not understood, and is refused.
#[derive(Debug, Default)]
pub struct Query<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    /// Reads what stands behind the `?`. A `+` is a plus: times have them, and nothing here has spaces.
    ///
    /// # Errors
    /// `invalid_request` if a parameter is not UTF-8 or comes twice, or there are very many.
    pub fn parse(raw: Option<&'a str>) -> Result<Self, Problem> {
        let mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for pair in raw.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &'a str| percent_decode_str(text).decode_utf8();
            let (Ok(name), Ok(value)) = (decode(name), decode(value)) else {
                return Err(invalid("a query parameter is not UTF-8".to_owned()));
            };
            if pairs.iter().any(|(earlier, _)| *earlier == name) {
                return Err(invalid(format!("query parameter `{name}` is given twice")));
            }
            if pairs.len() == MAX_PARAMETERS {
                return Err(invalid(format!("a request has at most {MAX_PARAMETERS} query parameters")));
            }
            pairs.push((name, value));
        }
        Ok(Self { pairs })
    }

    /// The same, of the request no more.
    #[must_use]
    pub fn into_owned(self) -> Query<'static> {
        let own = |(name, value): (Cow<'a, str>, Cow<'a, str>)| {
            (name.into_owned().into(), value.into_owned().into())
        };
        Query { pairs: self.pairs.into_iter().map(own).collect() }
    }

    /// Takes the text of a parameter.
    pub fn take(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let place = self.pairs.iter().position(|(found, _)| found == name)?;
        Some(self.pairs.swap_remove(place).1)
    }

    /// Takes a parameter that is `true`, `1` or empty for yes, `false` or `0` for no.
    ///
    /// # Errors
    /// `invalid_request` for any other text.
    pub fn take_flag(&mut self, name: &str) -> Result<bool, Problem> {
        self.take(name).map_or(Ok(false), |value| parse_flag(name, &value))
    }

    /// Takes a parameter of a type that is read from text.
    ///
    /// # Errors
    /// `invalid_request` with what its parser says.
    pub fn take_parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, Problem> {
        let parse =
            |value: Cow<'_, str>| value.parse().map_err(|error| invalid(format!("`{name}`: {error}")));
        self.take(name).map(parse).transpose()
    }

    /// Takes all that [`TargetWriter::write_options`] writes, for a write to `path`.
    ///
    /// # Errors
    /// `invalid_request` for a parameter that is not of its form.
    pub fn take_write_options(&mut self, path: BoxPath) -> Result<WriteRequest, Problem> {
        let mode = self.take("mode").map(|text| parse_mode(&text)).transpose()?;
        let modified = self.take_parsed::<Timestamp>("mtime")?;
        let make_parents = self.take_flag("parents")?;
        let nofollow = self.take_flag("nofollow")?;
        let durability = if self.take_flag("sync")? { Durability::Power } else { Durability::Process };
        Ok(WriteRequest { mode, modified, make_parents, nofollow, durability, ..WriteRequest::to(path) })
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// `invalid_request` naming a parameter that this call does not have: nothing is ignored in silence.
    pub fn finish(self) -> Result<(), Problem> {
        match self.pairs.first() {
            None => Ok(()),
            Some((name, _)) => Err(invalid(format!("this call has no query parameter `{name}`"))),
        }
    }
}

/// Reads permission bits, in octal.
///
/// # Errors
/// `invalid_request` if they are not one to five octal digits up to 7777.
pub fn parse_mode(text: &str) -> Result<u32, Problem> {
    let octal = (1..=5).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = octal.then(|| u32::from_str_radix(text, 8).ok()).flatten().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| invalid("a mode is octal, 0 to 7777".to_owned()))
}

/// Reads a yes or a no.
///
/// # Errors
/// `invalid_request` for any other text.
pub fn parse_flag(name: &str, text: &str) -> Result<bool, Problem> {
    match text {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(invalid(format!("`{name}` is true or false"))),
    }
}

fn invalid(detail: String) -> Problem {
    Problem::new(ErrorCode::InvalidRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_a_write_survive_the_target() {
        let path = BoxPath::parse(b"/a").expect("a path");
        let request = WriteRequest {
            mode: Some(0o4755),
            modified: Some(Timestamp::from_nanoseconds(-5)),
            make_parents: true,
            nofollow: true,
            durability: Durability::Power,
            ..WriteRequest::to(path.clone())
        };
        let mut writer = TargetWriter::new("/files/a".to_owned());
        writer.write_options(&request);
        let target = writer.finish();
        let mut query = Query::parse(target.split_once('?').map(|(_, query)| query)).expect("a query");
        assert_eq!(query.take_write_options(path), Ok(request));
        assert_eq!(query.finish(), Ok(()));
    }

    #[test]
    fn an_offset_may_be_written_with_a_plus() {
        let mut query = Query::parse(Some("mtime=1970-01-01T01:00:00+01:00")).expect("a query");
        assert_eq!(query.take_parsed("mtime"), Ok(Some(Timestamp::from_nanoseconds(0))));
    }

    #[test]
    fn nonsense_is_refused_and_nothing_is_ignored() {
        assert!(Query::parse(Some("a=1&a=2")).is_err());
        assert!(Query::parse(Some("a=%ff")).is_err());
        let many: Vec<_> = (0..33).map(|number| number.to_string()).collect();
        assert!(Query::parse(Some(&many.join("&"))).is_err());
        assert!(Query::parse(Some("recursve=true")).expect("a query").finish().is_err());
        for mode in ["", "8", "+755", "10000", "0o755", "rwx"] {
            assert!(parse_mode(mode).is_err(), "{mode:?}");
        }
        assert!(Query::parse(Some("parents=maybe")).expect("a query").take_flag("parents").is_err());
    }
}
