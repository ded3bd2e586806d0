//! Ids of boxes, processes, uploads and requests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An id was not of its form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not valid: {reason}")]
pub struct IdError {
    what: &'static str,
    reason: &'static str,
}

/// RFC 4648 base32, lower case: unambiguous in host names and when read aloud.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The id of a box: 16 characters of lower-case base32, so it is a DNS label and a directory name as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BoxId(String);

impl BoxId {
    /// How many characters an id has.
    pub const LENGTH: usize = 16;

    /// Makes the id that these 80 random bits spell.
    #[must_use]
    pub fn from_random(bits: [u8; 10]) -> Self {
        Self(base32(&bits))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BoxId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() != Self::LENGTH {
            return Err(IdError { what: "box id", reason: "it has 16 characters" });
        }
        if !text.bytes().all(|byte| BASE32.contains(&byte)) {
            return Err(IdError { what: "box id", reason: "its characters are a-z and 2-7" });
        }
        Ok(Self(text.to_owned()))
    }
}

/// The id of an upload: 16 characters of lower-case base32, drawn at random, so that nobody guesses another's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UploadId(String);

impl UploadId {
    /// How many characters an id has.
    pub const LENGTH: usize = 16;

    /// Makes the id that these 80 random bits spell.
    #[must_use]
    pub fn from_random(bits: [u8; 10]) -> Self {
        Self(base32(&bits))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() != Self::LENGTH || !text.bytes().all(|byte| BASE32.contains(&byte)) {
            return Err(IdError { what: "upload id", reason: "it is 16 characters of a-z and 2-7" });
        }
        Ok(Self(text.to_owned()))
    }
}

/// The id of a process that the agent started: unique for the life of that agent, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessId(pub u64);

impl fmt::Display for ProcessId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for ProcessId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self).map_err(|_| IdError { what: "process id", reason: "it is a whole number" })
    }
}

/// The id under which one request is found in responses, logs and audit.
///
/// A client may choose it (`X-Request-Id`): 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(String);

impl RequestId {
    /// The longest id accepted, in bytes: it is copied into every log line of the request.
    pub const MAX_LENGTH: usize = 64;

    /// Makes the id that these 80 random bits spell.
    #[must_use]
    pub fn from_random(bits: [u8; 10]) -> Self {
        Self(base32(&bits))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !fits || !text.bytes().all(plain) {
            return Err(IdError { what: "request id", reason: "it is 1 to 64 of A-Z a-z 0-9 . _ -" });
        }
        Ok(Self(text.to_owned()))
    }
}

/// Text in, text out, for ids that are strings.
macro_rules! string_id {
    ($id:ident) => {
        impl fmt::Display for $id {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $id {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$id> for String {
            fn from(id: $id) -> Self {
                id.0
            }
        }
    };
}

string_id!(BoxId);
string_id!(UploadId);
string_id!(RequestId);

/// Spells whole groups of five bytes as eight characters of lower-case base32 each; bytes beyond the last whole group
/// are left out.
#[must_use]
pub fn base32(bytes: &[u8]) -> String {
    let group = |group: &[u8]| {
        let bits = group.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        (0..8)
            .map(move |place| char::from(BASE32[usize::try_from(bits >> (35 - 5 * place) & 31).unwrap_or(0)]))
    };
    bytes.chunks_exact(5).flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_box_id_parses_back() {
        let id = BoxId::from_random([0, 1, 2, 3, 4, 250, 251, 252, 253, 255]);
        assert_eq!(id.as_str().parse::<BoxId>(), Ok(id.clone()));
        assert_ne!(id, BoxId::from_random([0; 10]));
    }

    #[test]
    fn a_box_id_cannot_name_another_directory() {
        for text in
            ["", "..", "../../etc/passwd", "ABCDEFGHIJKLMNOP", "abcdefghijklmno/", "abcdefghijklmnopq"]
        {
            assert!(text.parse::<BoxId>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_request_id_cannot_carry_a_line_break() {
        assert!("a\r\nSet-Cookie: x".parse::<RequestId>().is_err());
        assert!("a".repeat(65).parse::<RequestId>().is_err());
        assert!("trace-1.A_b".parse::<RequestId>().is_ok());
    }
}
