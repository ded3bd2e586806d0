//! Contents that travel compressed, in either direction (RFC 9110 sections 8.4 and 12.5.3).
//!
//! This is the edge's work: between server and agent everything travels as it is stored.
//!
//! A file has one entity tag of its own, and one more under each coding, which is the own one with `+gzip` or `+zstd` behind
//! it: strong tags tell representations apart byte by byte. Where a tag stands for a version of the file, as in a condition
//! of a write, that suffix means nothing.

use axum::response::{IntoResponse as _, Response};
use devbox_guest::{Body, ContentCoding};
use devbox_types::{Digests, ErrorCode, Etag, Problem, WriteCondition};
use http::{HeaderMap, HeaderValue, header};

use crate::digests::Announced;
use crate::failure::Failure;

/// Files shorter than this are sent as they are: compressing costs more than it saves.
const WORTH_IT: u64 = 1 << 10;

/// Whether the content of a request is coded, with anything.
pub(crate) fn is_coded(headers: &HeaderMap) -> bool {
    names(headers).next().is_some()
}

/// The bytes that a request wants stored, and their digests: what it sent under a content coding is brought back, and what it
/// announced of the coded bytes is checked before their end.
pub(crate) fn stored(headers: &HeaderMap, sent: Body) -> Result<(Body, Digests), Problem> {
    let announced = Announced::of(headers)?;
    match coding_of(headers)? {
        None => Ok((sent, announced.uncoded()?)),
        Some(coding) => Ok((coding.decode(sent, announced.sent), announced.stored)),
    }
}

/// What a refused content coding might have been instead, as RFC 9110 section 15.5.16 has it.
pub(crate) const TAKEN: HeaderValue = HeaderValue::from_static("gzip, zstd");

/// The answer to a content coding where there is none to be.
pub(crate) fn no_coding() -> Response {
    let problem = Problem::new(ErrorCode::UnsupportedCoding, "the content of this call travels as it is")
        .with_hint("leave out `Content-Encoding`: only the content of a single file may have one");
    let mut response = Failure(problem).into_response();
    response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    response
}

fn coding_of(headers: &HeaderMap) -> Result<Option<ContentCoding>, Problem> {
    let mut names = names(headers);
    let Some(name) = names.next() else { return Ok(None) };
    match (ContentCoding::from_wire(name), names.next()) {
        (Some(coding), None) => Ok(Some(coding)),
        _ => {
            let problem = Problem::new(ErrorCode::UnsupportedCoding, "this content coding is not known here");
            Err(problem.with_hint("send the content as it is, or with one of gzip and zstd"))
        }
    }
}

/// The codings of a content, in the order in which they were applied. `identity` is none; what is no text is an unknown one.
fn names(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::CONTENT_ENCODING).into_iter();
    let names = values.flat_map(|value| value.to_str().unwrap_or("?").split(',')).map(str::trim);
    names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"))
}

/// What a reader takes: codings by preference. What is malformed in it is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    coding: Option<ContentCoding>,
    /// Whether the bytes as they are would not do.
    only_coded: bool,
}

impl Accepted {
    /// Reads `Accept-Encoding`.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT_ENCODING).into_iter();
        let members = values.flat_map(|value| value.to_str().unwrap_or("").split(','));
        let weighted: Vec<_> = members.filter_map(weighted).collect();
        let named = |wanted: &dyn Fn(&str) -> bool| {
            weighted.iter().find(|(name, _)| wanted(name)).map(|found| found.1)
        };
        let any = named(&|name| name == "*");
        let identity = named(&|name| name.eq_ignore_ascii_case("identity"));
        let weight =
            |coding| named(&|name| ContentCoding::from_wire(name) == Some(coding)).or(any).unwrap_or(0);
        let best = ContentCoding::ALL.into_iter().rev().max_by_key(|coding| weight(*coding));
        let wanted = |coding: &ContentCoding| weight(*coding) > 0 && weight(*coding) >= identity.unwrap_or(0);
        Self { coding: best.filter(wanted), only_coded: identity.or(any) == Some(0) }
    }

    /// How a whole file of this size is to travel.
    pub(crate) fn for_size(self, size_bytes: u64) -> Option<ContentCoding> {
        self.coding.filter(|_| size_bytes > WORTH_IT || self.only_coded)
    }

    /// Takes from tags that a reader has those of a version of the file that he could be sent: what he has under another coding
    /// is not what he would get.
    pub(crate) fn versions(self, tags: Vec<Etag>) -> Vec<Etag> {
        let version = |tag: Etag| match coded_version(&tag) {
            None => Some(tag),
            Some((version, coding)) => (self.coding == Some(coding)).then_some(version),
        };
        tags.into_iter().filter_map(version).collect()
    }
}

/// `name;q=0.5`, with the weight in thousandths.
fn weighted(member: &str) -> Option<(&str, u16)> {
    let (name, parameters) = member.split_once(';').unwrap_or((member, ""));
    let name = Some(name.trim()).filter(|name| !name.is_empty())?;
    let parameters = parameters.trim();
    if parameters.is_empty() {
        return Some((name, 1000));
    }
    let (q, value) = parameters.split_once('=')?;
    let (whole, fraction) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    let is_weight = q.trim().eq_ignore_ascii_case("q")
        && matches!(whole, "0" | "1")
        && fraction.len() <= 3
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok().filter(|_| is_weight)?;
    Some((name, if whole == "1" { 1000 } else { thousandths }))
}

/// The version of a file, and the coding, that a tag stands for which has a coding's suffix.
fn coded_version(tag: &Etag) -> Option<(Etag, ContentCoding)> {
    let (version, suffix) = tag.split_suffix()?;
    Some((version, ContentCoding::from_wire(suffix)?))
}

/// The tag of a file under a coding.
pub(crate) fn coded_tag(version: &Etag, coding: Option<ContentCoding>) -> Etag {
    coding.map_or_else(|| version.clone(), |coding| version.with_suffix(coding.as_str()))
}

/// The same condition of the versions of a file, under whatever coding they were read.
pub(crate) fn of_versions(condition: WriteCondition) -> WriteCondition {
    let version = |tag: Etag| coded_version(&tag).map_or(tag, |(version, _)| version);
    match condition {
        WriteCondition::Matches(tags) => WriteCondition::Matches(tags.into_iter().map(version).collect()),
        other @ (WriteCondition::None | WriteCondition::Absent | WriteCondition::Present) => other,
    }
}

/// The coding as a header.
pub(crate) fn header_value(coding: ContentCoding) -> HeaderValue {
    HeaderValue::from_static(coding.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(value: &'static str) -> Accepted {
        let value = HeaderValue::from_static(value);
        Accepted::of(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, value)]))
    }

    #[test]
    fn a_reader_gets_what_he_likes_best() {
        let (gzip, zstd) = (Some(ContentCoding::Gzip), Some(ContentCoding::Zstd));
        let cases = [
            ("", None),
            ("gzip", gzip),
            ("X-GZIP", gzip),
            ("gzip, deflate, br, zstd", zstd),
            ("gzip;q=1.0, zstd;q=0.5", gzip),
            ("gzip;q=0.001 , zstd ; q=0", gzip),
            ("*", zstd),
            ("*;q=0.5, zstd;q=0", gzip),
            ("identity, gzip;q=0.9", None),
            ("identity;q=0.5, gzip", gzip),
            ("identity;q=0, zstd;q=0.1", zstd),
            ("br", None),
            ("gzip;q=2, zstd;q=0.1234, *;q=x", None),
        ];
        for (value, expected) in cases {
            assert_eq!(accepted(value).for_size(2_000), expected, "{value:?}");
        }
        assert_eq!(Accepted::of(&HeaderMap::new()).for_size(2_000), None);
    }

    #[test]
    fn short_files_travel_as_they_are_unless_that_is_excluded() {
        assert_eq!(accepted("gzip").for_size(1024), None);
        for value in ["gzip, identity;q=0", "gzip, *;q=0"] {
            assert_eq!(accepted(value).for_size(0), Some(ContentCoding::Gzip), "{value}");
        }
    }

    #[test]
    fn tags_tell_codings_apart_and_conditions_do_not() {
        let own = Etag::of_version(1, 2, 3, false);
        let coded = coded_tag(&own, Some(ContentCoding::Gzip));
        assert_eq!(coded.to_string(), "\"1-2-3+gzip\"");
        let condition = WriteCondition::Matches(vec![coded.clone()]);
        assert_eq!(of_versions(condition), WriteCondition::Matches(vec![own.clone()]));
        let tags = vec![coded, own.clone()];
        assert_eq!(accepted("gzip").versions(tags.clone()), [own.clone(), own.clone()]);
        assert_eq!(accepted("zstd").versions(tags), [own]);
    }
}
