//! Digest headers: those of RFC 9530, dictionaries such as `sha-256=:BASE64:` and of preferences such as `sha-256=1`, and the
//! older `Content-MD5` (RFC 1864).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use devbox_types::digest::DigestsError;
use devbox_types::{Coded, DigestAlgorithm, Digests, ErrorCode};

/// Why a digest header cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// It is no dictionary of byte sequences.
    #[error("a digest header is written sha-256=:BASE64:")]
    Malformed,
    /// It is no MD5 in base64.
    #[error("`Content-MD5` is 16 bytes in base64")]
    MalformedMd5,
    /// It is no dictionary of preferences.
    #[error("a wish for digests is written sha-256=10, with numbers from 0 to 10")]
    MalformedWish,
    /// A digest has the wrong length, or two contradict each other.
    #[error("{0}")]
    Digests(#[from] DigestsError),
    /// It names only algorithms that are not checked here.
    #[error("the digest algorithms that are checked are sha-256, sha-512 and md5")]
    UnknownAlgorithms,
}

impl Coded for DigestError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Malformed | Self::MalformedMd5 | Self::MalformedWish | Self::Digests(_) => {
                ErrorCode::InvalidRequest
            }
            Self::UnknownAlgorithms => ErrorCode::Unsupported,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownAlgorithms => Some("send a sha-256 digest beside the others".to_owned()),
            Self::Malformed | Self::MalformedMd5 | Self::MalformedWish | Self::Digests(_) => None,
        }
    }
}

/// Writes the header value of digests.
#[must_use]
pub fn to_header(digests: &Digests) -> String {
    let members = digests.iter().map(|(name, bytes)| format!("{}=:{}:", name.as_str(), BASE64.encode(bytes)));
    members.collect::<Vec<_>>().join(", ")
}

/// Reads the digests that all values of one header together announce; without any value, none. Algorithms that are not known
/// are passed over beside one that is.
///
/// # Errors
/// [`DigestError`]: a malformed value is never taken for "no digest".
pub fn from_headers<'a>(values: impl Iterator<Item = &'a str>) -> Result<Digests, DigestError> {
    let mut found = Digests::default();
    let mut others = false;
    for member in values.flat_map(|value| value.split(',')) {
        let (name, bytes) = parse_digest(member)?;
        match DigestAlgorithm::from_wire(name) {
            Some(algorithm) => found.add(algorithm, &bytes)?,
            None => others = true,
        }
    }
    if found.is_empty() && others { Err(DigestError::UnknownAlgorithms) } else { Ok(found) }
}

/// Reads a `Content-MD5`.
///
/// # Errors
/// [`DigestError::MalformedMd5`].
pub fn from_content_md5(value: &str) -> Result<Digests, DigestError> {
    let bytes = BASE64.decode(value.trim()).map_err(|_| DigestError::MalformedMd5)?;
    Ok(Digests { md5: Some(bytes.try_into().map_err(|_| DigestError::MalformedMd5)?), ..Digests::default() })
}

/// Writes a wish for a digest.
#[must_use]
pub fn wish_to_header(wanted: DigestAlgorithm) -> String {
    format!("{}=10", wanted.as_str())
}

/// Reads which digest all values of a wish together prefer, of those that can be made: of equal preference, the first in
/// [`DigestAlgorithm::ALL`]. It is a wish, so what is not known is passed over, and the outcome may be none.
///
/// # Errors
/// [`DigestError::MalformedWish`].
pub fn preferred<'a>(values: impl Iterator<Item = &'a str>) -> Result<Option<DigestAlgorithm>, DigestError> {
    // Of a name that comes twice, the last counts (RFC 8941 section 3.2).
    let mut preferences = [0_u8; DigestAlgorithm::ALL.len()];
    for member in values.flat_map(|value| value.split(',')) {
        let (name, preference) = parse_preference(member)?;
        let place = DigestAlgorithm::ALL.iter().position(|algorithm| algorithm.as_str() == name);
        if let Some(place) = place {
            preferences[place] = preference;
        }
    }
    let wanted = DigestAlgorithm::ALL.into_iter().zip(preferences).filter(|(_, preference)| *preference > 0);
    // Of equals, `max_by_key` takes the last.
    Ok(wanted.rev().max_by_key(|(_, preference)| *preference).map(|(algorithm, _)| algorithm))
}

/// Splits `key=:base64:`; parameters (RFC 8941) mean nothing here and are refused.
fn parse_digest(member: &str) -> Result<(&str, Vec<u8>), DigestError> {
    let (key, value) = parse_member(member).ok_or(DigestError::Malformed)?;
    let encoded = value.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
    let bytes = encoded.and_then(|encoded| BASE64.decode(encoded).ok());
    Ok((key, bytes.ok_or(DigestError::Malformed)?))
}

/// Splits `key=N`.
fn parse_preference(member: &str) -> Result<(&str, u8), DigestError> {
    let (key, value) = parse_member(member).ok_or(DigestError::MalformedWish)?;
    let digits = (1..=2).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
    let preference = digits.then(|| value.parse().ok()).flatten().filter(|preference| *preference <= 10);
    Ok((key, preference.ok_or(DigestError::MalformedWish)?))
}

fn parse_member(member: &str) -> Option<(&str, &str)> {
    let (key, value) = member.trim().split_once('=')?;
    let is_key = !key.is_empty()
        && key.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.' | b'*')
        });
    is_key.then_some((key, value))
}

#[cfg(test)]
mod tests {
    use devbox_types::Algorithms;

    use super::*;

    const EMPTY: &str = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";

    fn read(values: &[&str]) -> Result<Digests, DigestError> {
        from_headers(values.iter().copied())
    }

    #[test]
    fn digests_survive_the_header() {
        let digests = Digests { sha256: Some([7; 32]), sha512: Some([8; 64]), md5: Some([9; 16]) };
        assert_eq!(read(&[&to_header(&digests)]), Ok(digests));
        assert_eq!(read(&[]), Ok(Digests::default()));
    }

    #[test]
    fn known_algorithms_are_found_among_others() {
        let listed = format!("crc32c=:AAAA:, {EMPTY}");
        let found = read(&[&listed, EMPTY]).expect("digests");
        assert_eq!(found.algorithms(), Algorithms::SHA_256);
    }

    #[test]
    fn what_cannot_be_checked_is_refused_not_ignored() {
        assert_eq!(read(&["crc32c=:AAAA:"]), Err(DigestError::UnknownAlgorithms));
        let short = DigestsError::WrongLength(DigestAlgorithm::Sha512);
        assert_eq!(read(&["sha-512=:AAAA:"]), Err(DigestError::Digests(short)));
        let two = DigestsError::Contradiction(DigestAlgorithm::Sha256);
        assert_eq!(read(&[EMPTY, &to_header(&Digests::of_sha256([7; 32]))]), Err(DigestError::Digests(two)));
        for malformed in
            ["", "sha-256", "sha-256=AAAA", "sha-256=:!!:", "SHA-256=:AAAA:", "sha-256=:AAAA:;a=1"]
        {
            assert_eq!(read(&[malformed]), Err(DigestError::Malformed), "{malformed:?}");
        }
    }

    #[test]
    fn a_content_md5_is_sixteen_bytes() {
        let read = from_content_md5("kAFQmDzST7DWlj99KOF/cg==").expect("a digest");
        assert_eq!(to_header(&read), "md5=:kAFQmDzST7DWlj99KOF/cg==:");
        for wrong in ["", "AAAA", "900150983cd24fb0d6963f7d28e17f72", "kAFQmDzST7DWlj99KOF_cg=="] {
            assert_eq!(from_content_md5(wrong), Err(DigestError::MalformedMd5), "{wrong:?}");
        }
    }

    #[test]
    fn the_preferred_algorithm_that_is_known_is_made() {
        let preferred = |values: &[&str]| preferred(values.iter().copied());
        let cases = [
            (&[][..], None),
            (&["sha-256=1"][..], Some(DigestAlgorithm::Sha256)),
            (&["sha-512=3, sha-256=10, unixsum=0"][..], Some(DigestAlgorithm::Sha256)),
            (&["sha-512=3", "sha-256=1"][..], Some(DigestAlgorithm::Sha512)),
            (&["md5=1, sha-512=1"][..], Some(DigestAlgorithm::Sha512)),
            (&["sha-256=0, md5=1"][..], Some(DigestAlgorithm::Md5)),
            (&["sha-256=0, blake3=10"][..], None),
            (&["sha-256=5, sha-256=0"][..], None),
        ];
        for (values, expected) in cases {
            assert_eq!(preferred(values), Ok(expected), "{values:?}");
        }
        for malformed in ["sha-256", "sha-256=11", "sha-256=-1", "sha-256=1.5", "sha-256=", ""] {
            assert_eq!(preferred(&[malformed]), Err(DigestError::MalformedWish), "{malformed:?}");
        }
    }
}
