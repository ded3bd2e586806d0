//! Metadata of entries that callers set: mode, owner, times, extended attributes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bytes_text;
use crate::etag::Etag;
use crate::time::Timestamp;
use crate::user::ActingUser;

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Xattr {
    /// Its name, which begins with `user.`. A JSON string, or `{"b64": "..."}` where it is not UTF-8.
    #[serde(with = "bytes_text")]
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub name: Vec<u8>,
    /// Its value, in base64.
    #[serde(rename = "value_b64", with = "base64_text")]
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub value: Vec<u8>,
}

/// What becomes of one extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct XattrChange {
    /// Its name, which has to begin with `user.`. A JSON string, or `{"b64": "..."}` where it is not UTF-8.
    #[serde(with = "bytes_text")]
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub name: Vec<u8>,
    /// Its new value, in base64; absent or null: it is removed, and need not be there.
    #[serde(
        rename = "value_b64",
        default,
        skip_serializing_if = "Option::is_none",
        with = "base64_text::optional"
    )]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub value: Option<Vec<u8>>,
}

/// What is set of an entry's metadata. What is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct MetadataChange {
    /// Permission bits, 0 to 0o7777, as a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// The new owner, by name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub owner: Option<ActingUser>,
    /// The new group, by name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub group: Option<Group>,
    /// The time of the last modification.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub modified: Option<Timestamp>,
    /// The time of the last access.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub accessed: Option<Timestamp>,
    /// Extended attributes that are set or removed, each at most once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<XattrChange>,
    /// Only if the file is one of these versions; empty: whatever it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub if_match: Vec<Etag>,
    /// Act on a symlink itself.
    #[serde(skip_serializing_if = "is_false")]
    pub nofollow: bool,
}

impl MetadataChange {
    /// How many steps of the kernel's it takes: one alone takes effect at once.
    #[must_use]
    pub fn steps(&self) -> usize {
        let owner = self.owner.is_some() || self.group.is_some();
        let times = self.modified.is_some() || self.accessed.is_some();
        usize::from(self.mode.is_some()) + usize::from(owner) + usize::from(times) + self.xattrs.len()
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A group of the box; its name is looked up in the box's own `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Group {
    /// By name.
    Named(String),
    /// By number.
    Gid(u32),
}

/// A text names no group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a group is a name of up to 32 characters or a number below 4294967295")]
pub struct GroupError;

impl FromStr for Group {
    type Err = GroupError;

    fn from_str(text: &str) -> Result<Self, GroupError> {
        // Names of groups and users are of the same form.
        match text.parse() {
            Ok(ActingUser::Named(name)) => Ok(Self::Named(name)),
            Ok(ActingUser::Uid(number)) => Ok(Self::Gid(number)),
            Ok(ActingUser::Default) | Err(_) => Err(GroupError),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => formatter.write_str(name),
            Self::Gid(gid) => gid.fmt(formatter),
        }
    }
}

impl TryFrom<String> for Group {
    type Error = GroupError;

    fn try_from(text: String) -> Result<Self, GroupError> {
        text.parse()
    }
}

impl From<Group> for String {
    fn from(group: Group) -> Self {
        group.to_string()
    }
}

/// Bytes that are nearly never text, as base64.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text).map_err(serde::de::Error::custom)
    }

    pub(super) mod optional {
        use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

        use base64::Engine as _;

        use super::BASE64;

        pub(in super::super) fn serialize<S: Serializer>(
            bytes: &Option<Vec<u8>>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            bytes.as_ref().map(|bytes| BASE64.encode(bytes)).serialize(serializer)
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Vec<u8>>, D::Error> {
            let text = Option::<String>::deserialize(deserializer)?;
            text.map(|text| BASE64.decode(text).map_err(serde::de::Error::custom)).transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_survives_the_wire_and_an_empty_one_is_empty() {
        let change = MetadataChange {
            mode: Some(0o640),
            owner: Some(ActingUser::root()),
            group: Some(Group::Named("staff".to_owned())),
            modified: Some(Timestamp::from_nanoseconds(5)),
            xattrs: vec![
                XattrChange { name: b"user.a".to_vec(), value: Some(vec![0, 255]) },
                XattrChange { name: b"user.\xff".to_vec(), value: None },
            ],
            ..MetadataChange::default()
        };
        let json = serde_json::to_string(&change).expect("json");
        assert_eq!(serde_json::from_str::<MetadataChange>(&json).expect("a change"), change);
        assert_eq!(serde_json::to_string(&MetadataChange::default()).expect("json"), "{}");
        assert_eq!(change.steps(), 5);
    }

    #[test]
    fn nonsense_is_refused() {
        for json in [
            r#"{"group":""}"#,
            r#"{"group":"4294967295"}"#,
            r#"{"xattrs":[{"name":"user.a","value_b64":"?"}]}"#,
            r#"{"xattrs":[{"name":"user.a","value":"AA=="}]}"#,
            r#"{"mtime":"1970-01-01T00:00:00Z"}"#,
        ] {
            assert!(serde_json::from_str::<MetadataChange>(json).is_err(), "{json}");
        }
    }
}
