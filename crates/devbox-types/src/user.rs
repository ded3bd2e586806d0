//! The user that a call acts as.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The user of the box that a file or process call acts as; its name is looked up in the box's own `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ActingUser {
    /// The default user of the box (`user`, uid 1000, in the `host` template).
    #[default]
    Default,
    /// A user by name.
    Named(String),
    /// A user by number; its group is the one `/etc/passwd` gives, or the same number where it gives none.
    Uid(u32),
}

/// A text names no user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a user is a name of up to 32 characters or a number below 4294967295")]
pub struct ActingUserError;

impl ActingUser {
    /// The superuser of the box, on request.
    #[must_use]
    pub fn root() -> Self {
        Self::Uid(0)
    }
}

impl FromStr for ActingUser {
    type Err = ActingUserError;

    fn from_str(text: &str) -> Result<Self, ActingUserError> {
        if text.is_empty() {
            return Ok(Self::Default);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match text.parse() {
                // (uid_t)-1 means "leave it as it is" to the kernel.
                Err(_) | Ok(u32::MAX) => Err(ActingUserError),
                Ok(uid) => Ok(Self::Uid(uid)),
            };
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$');
        let named = text.len() <= 32 && !text.starts_with('-') && text.bytes().all(plain);
        if named { Ok(Self::Named(text.to_owned())) } else { Err(ActingUserError) }
    }
}

impl fmt::Display for ActingUser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => Ok(()),
            Self::Named(name) => formatter.write_str(name),
            Self::Uid(uid) => uid.fmt(formatter),
        }
    }
}

impl TryFrom<String> for ActingUser {
    type Error = ActingUserError;

    fn try_from(text: String) -> Result<Self, ActingUserError> {
        text.parse()
    }
}

impl From<ActingUser> for String {
    fn from(user: ActingUser) -> Self {
        user.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_names_or_numbers() {
        assert_eq!("".parse(), Ok(ActingUser::Default));
        assert_eq!("0".parse(), Ok(ActingUser::root()));
        assert_eq!("www-data".parse(), Ok(ActingUser::Named("www-data".to_owned())));
        for text in ["4294967295", "-x", "a:b", "a b", "a\n", &"a".repeat(33)] {
            assert_eq!(text.parse::<ActingUser>(), Err(ActingUserError), "{text:?}");
        }
    }
}
