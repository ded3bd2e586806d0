//! Bytes that are nearly always text, as JSON: a string if they are UTF-8, else `{"b64": "..."}`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The form of the bytes in JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum BytesText {
    Utf8(String),
    Base64 { b64: String },
}

impl BytesText {
    /// The form of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Utf8(text.to_owned()),
            Err(_) => Self::Base64 { b64: BASE64.encode(bytes) },
        }
    }

    /// The bytes again.
    pub(crate) fn into_bytes<E: serde::de::Error>(self) -> Result<Vec<u8>, E> {
        match self {
            Self::Utf8(text) => Ok(text.into_bytes()),
            Self::Base64 { b64 } => BASE64.decode(b64).map_err(E::custom),
        }
    }
}

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    BytesText::of(bytes).serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BytesText::deserialize(deserializer)?.into_bytes()
}

/// The same for bytes that may be absent.
pub(crate) mod optional {
    use super::{BytesText, Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.as_deref().map(BytesText::of).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        Option::<BytesText>::deserialize(deserializer)?.map(BytesText::into_bytes).transpose()
    }
}
