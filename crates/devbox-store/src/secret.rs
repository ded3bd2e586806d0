//! API keys as their holders have them.

use std::fmt;

use devbox_types::id::base32;
use sha2::{Digest as _, Sha256};

use crate::error::StoreError;

/// An API key, secret included: `dvb_<id>_<secret>`, so that secret scanners can tell it from other text.
///
/// `id` is 8 characters of base32 (40 random bits) and no secret; `secret` is 32 (160 random bits). With so many random
/// bits there is nothing to guess, so a plain SHA-256 protects it: slow password hashes are for what people choose,
/// and would cost milliseconds with every request.
///
/// `Debug` shows the id only; [`ApiSecret::expose`] is the one way to the text.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiSecret {
    text: String,
}

impl ApiSecret {
    const PREFIX: &'static str = "dvb_";
    const ID_LENGTH: usize = 8;
    const SECRET_LENGTH: usize = 32;

    /// Makes a new one.
    ///
    /// # Errors
    /// `Random` if the system gives no random bytes.
    pub fn generate() -> Result<Self, StoreError> {
        let mut bits = [0_u8; 25];
        getrandom::fill(&mut bits).map_err(|source| StoreError::Random { source })?;
        let (id, secret) = bits.split_at(5);
        Ok(Self { text: format!("{}{}_{}", Self::PREFIX, base32(id), base32(secret)) })
    }

    /// Reads one; `None` if the text is not of the form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        id_of(text)?;
        Some(Self { text: text.to_owned() })
    }

    /// Its id, which is no secret.
    #[must_use]
    pub fn id(&self) -> &str {
        id_of(&self.text).unwrap_or_default()
    }

    /// The whole text, for the one who is to have it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What the store keeps of it.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        hash(&self.text)
    }
}

impl fmt::Debug for ApiSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ApiSecret({}{}_…)", Self::PREFIX, self.id())
    }
}

/// The id in a text of the form, without copying it.
pub(crate) fn id_of(text: &str) -> Option<&str> {
    let (id, secret) = text.strip_prefix(ApiSecret::PREFIX)?.split_once('_')?;
    let base32 = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
    };
    (base32(id, ApiSecret::ID_LENGTH) && base32(secret, ApiSecret::SECRET_LENGTH)).then_some(id)
}

pub(crate) fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_secret_parses_back_and_no_two_are_the_same() {
        let secret = ApiSecret::generate().expect("random bytes");
        assert_eq!(ApiSecret::parse(secret.expose()), Some(secret.clone()));
        assert_eq!(secret.expose().len(), 4 + 8 + 1 + 32);
        assert_ne!(secret, ApiSecret::generate().expect("random bytes"));
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        let secret = ApiSecret::generate().expect("random bytes");
        assert_eq!(format!("{secret:?}"), format!("ApiSecret(dvb_{}_…)", secret.id()));
    }

    #[test]
    fn other_texts_are_no_secrets() {
        let secret = "a".repeat(32);
        for text in [
            String::new(),
            "dvb_".to_owned(),
            format!("dvb_abcdefgh_{secret}a"),
            format!("dvb_abcdefg_{secret}"),
            format!("dvb_ABCDEFGH_{secret}"),
            format!("xyz_abcdefgh_{secret}"),
        ] {
            assert_eq!(ApiSecret::parse(&text), None, "{text:?}");
        }
    }
}
