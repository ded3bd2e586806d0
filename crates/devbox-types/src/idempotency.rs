//! Keys that make a repeated call harmless.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::base32;

/// What a caller names a call by, so that a repeat is answered and not done again: the `Idempotency-Key` of a request.
///
/// 1 to 255 visible ASCII characters, taken as they are. Draft: draft-ietf-httpapi-idempotency-key-header.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The longest key, in bytes.
    pub const MAX_LENGTH: usize = 255;

    /// Makes the key that these 160 random bits spell.
    #[must_use]
    pub fn from_random(bits: [u8; 20]) -> Self {
        Self(base32(&bits))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// This is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an `Idempotency-Key` has 1 to 255 visible ASCII characters")]
pub struct IdempotencyKeyError;

impl FromStr for IdempotencyKey {
    type Err = IdempotencyKeyError;

    fn from_str(text: &str) -> Result<Self, IdempotencyKeyError> {
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(IdempotencyKeyError)
    }
}

impl TryFrom<String> for IdempotencyKey {
    type Error = IdempotencyKeyError;

    fn try_from(text: String) -> Result<Self, IdempotencyKeyError> {
        text.parse()
    }
}

impl From<IdempotencyKey> for String {
    fn from(key: IdempotencyKey) -> Self {
        key.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_and_bounded() {
        let longest = "k".repeat(IdempotencyKey::MAX_LENGTH);
        for good in ["a", "\"8e03978e-40d5-43dd\"", &longest] {
            assert_eq!(good.parse::<IdempotencyKey>().expect("a key").as_str(), good);
        }
        for bad in ["", "a b", "a\n", "ä", &format!("{longest}k")] {
            assert_eq!(bad.parse::<IdempotencyKey>(), Err(IdempotencyKeyError), "{bad:?}");
        }
        assert!(serde_json::from_str::<IdempotencyKey>("\"\"").is_err());
    }

    #[test]
    fn a_random_key_is_a_key() {
        let key = IdempotencyKey::from_random([0xa5; 20]);
        assert_eq!(key.as_str().parse(), Ok(key));
    }
}
