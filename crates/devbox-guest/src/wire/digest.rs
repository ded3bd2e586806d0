//! Digest headers (RFC 9530): dictionaries of algorithm and base64, such as `sha-256=:…:`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use devbox_types::file::Sha256Digest;
use devbox_types::{Coded, ErrorCode};

const SHA_256: &str = "sha-256";

/// Why a digest header cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// It is no dictionary of byte sequences.
    #[error("a digest header is written sha-256=:BASE64:")]
    Malformed,
    /// Its SHA-256 has not 32 bytes.
    #[error("a sha-256 digest has 32 bytes")]
    WrongLength,
    /// Two headers give different SHA-256 digests.
    #[error("two different sha-256 digests are given")]
    Contradiction,
    /// It names only algorithms that are not checked here.
    #[error("the only digest algorithm that is checked is sha-256")]
    UnknownAlgorithms,
}

impl Coded for DigestError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Malformed | Self::WrongLength | Self::Contradiction => ErrorCode::InvalidRequest,
            Self::UnknownAlgorithms => ErrorCode::Unsupported,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownAlgorithms => Some("send a sha-256 digest beside the others".to_owned()),
            Self::Malformed | Self::WrongLength | Self::Contradiction => None,
        }
    }
}

/// Writes the header value of a digest.
#[must_use]
pub fn to_header(digest: &Sha256Digest) -> String {
    format!("{SHA_256}=:{}:", BASE64.encode(digest.0))
}

/// Reads the SHA-256 that all the given header values together announce; without any value, none.
///
/// # Errors
/// [`DigestError`]: a malformed value is never taken for "no digest".
pub fn from_headers<'a>(values: impl Iterator<Item = &'a str>) -> Result<Option<Sha256Digest>, DigestError> {
    let mut found: Option<Sha256Digest> = None;
    let mut others = false;
    for member in values.flat_map(|value| value.split(',')) {
        let (algorithm, bytes) = parse_member(member.trim())?;
        if algorithm != SHA_256 {
            others = true;
            continue;
        }
        let digest = Sha256Digest(bytes.try_into().map_err(|_| DigestError::WrongLength)?);
        if found.is_some_and(|earlier| earlier != digest) {
            return Err(DigestError::Contradiction);
        }
        found = Some(digest);
    }
    if found.is_none() && others { Err(DigestError::UnknownAlgorithms) } else { Ok(found) }
}

/// Splits `key=:base64:`; parameters (RFC 8941) mean nothing here and are refused.
fn parse_member(member: &str) -> Result<(&str, Vec<u8>), DigestError> {
    let (key, value) = member.split_once('=').ok_or(DigestError::Malformed)?;
    let is_key = !key.is_empty()
        && key.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.' | b'*')
        });
    let encoded = value.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
    let bytes = encoded.and_then(|encoded| BASE64.decode(encoded).ok());
    match bytes {
        Some(bytes) if is_key => Ok((key, bytes)),
        _ => Err(DigestError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";

    fn read(values: &[&str]) -> Result<Option<Sha256Digest>, DigestError> {
        from_headers(values.iter().copied())
    }

    #[test]
    fn a_digest_survives_the_header() {
        let digest = Sha256Digest([7; 32]);
        assert_eq!(read(&[&to_header(&digest)]), Ok(Some(digest)));
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn sha_256_is_found_among_others() {
        let listed = format!("sha-512=:AAAA:, {EMPTY}");
        assert!(matches!(read(&[&listed, EMPTY]), Ok(Some(_))));
    }

    #[test]
    fn what_cannot_be_checked_is_refused_not_ignored() {
        assert_eq!(read(&["sha-512=:AAAA:"]), Err(DigestError::UnknownAlgorithms));
        assert_eq!(read(&["sha-256=:AAAA:"]), Err(DigestError::WrongLength));
        assert_eq!(read(&[EMPTY, &to_header(&Sha256Digest([7; 32]))]), Err(DigestError::Contradiction));
        for malformed in
            ["", "sha-256", "sha-256=AAAA", "sha-256=:!!:", "SHA-256=:AAAA:", "sha-256=:AAAA:;a=1"]
        {
            assert_eq!(read(&[malformed]), Err(DigestError::Malformed), "{malformed:?}");
        }
    }
}
