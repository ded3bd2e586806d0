//! What one call may do. A guard makes it, every hop passes it on, the engine enforces it.

use serde::{Deserialize, Serialize};

use crate::id::RequestId;
use crate::idempotency::IdempotencyKey;
use crate::path::{self, BoxPath};
use crate::user::ActingUser;

/// One thing that a caller may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// See names, metadata and contents.
    Read,
    /// Change them.
    Write,
    /// Start, see and signal processes.
    Execute,
    /// Act as a user other than the box's default one.
    ActAsAnyUser,
}

/// A set of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Right>", into = "Vec<Right>")]
pub struct Rights(u8);

impl Rights {
    /// Every right.
    #[must_use]
    pub fn all() -> Self {
        Self::of(&[Right::Read, Right::Write, Right::Execute, Right::ActAsAnyUser])
    }

    /// Just these rights.
    #[must_use]
    pub fn of(rights: &[Right]) -> Self {
        Self(rights.iter().fold(0, |set, right| set | Self::bit(*right)))
    }

    /// Whether the set has this right.
    #[must_use]
    pub fn contains(self, right: Right) -> bool {
        self.0 & Self::bit(right) != 0
    }

    fn bit(right: Right) -> u8 {
        match right {
            Right::Read => 1,
            Right::Write => 2,
            Right::Execute => 4,
            Right::ActAsAnyUser => 8,
        }
    }
}

impl From<Vec<Right>> for Rights {
    fn from(rights: Vec<Right>) -> Self {
        Self::of(&rights)
    }
}

impl From<Rights> for Vec<Right> {
    fn from(set: Rights) -> Self {
        let all = [Right::Read, Right::Write, Right::Execute, Right::ActAsAnyUser];
        all.into_iter().filter(|right| set.contains(*right)).collect()
    }
}

/// What one call may do: passed with every call of the `Guest` contract and enforced by the engine, below the
/// descriptor that it opened for `root`, because paths travel inside request bodies and archives.
///
/// Between server and agent it is one header, `devbox-grant`, as compact JSON. An agent that is served bare, without
/// a server before it, takes [`Grant::whole_box`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The folder that is `/` to this caller. The box's own root: links resolve inside it. Any other: a link that
    /// leads out of it is `path_escapes`.
    #[serde(with = "path::text", default, skip_serializing_if = "BoxPath::is_root")]
    pub root: BoxPath,
    /// What may be done there.
    pub rights: Rights,
    /// As whom.
    #[serde(default, skip_serializing_if = "is_default_user")]
    pub user: ActingUser,
    /// The most bytes that one file, or one batch, may have after decoding; `None`: as many as fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// The most entries that one call may create, list or remove; `None`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_entries: Option<u64>,
    /// How long the call may take, in milliseconds from its arrival; `None`: as long as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// The request that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// With a key, a call that makes many changes is done once: a repeat with the key is answered and not done again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<IdempotencyKey>,
    /// Which sending of the call this is: clients tell the server when it is not the first, and the server counts it.
    #[serde(skip, default = "first_attempt")]
    pub attempt: u32,
}

impl Grant {
    /// Everything, anywhere in the box, as its default user.
    #[must_use]
    pub fn whole_box() -> Self {
        Self {
            root: BoxPath::root(),
            rights: Rights::all(),
            user: ActingUser::Default,
            max_bytes: None,
            max_entries: None,
            deadline_ms: None,
            request_id: None,
            idempotency_key: None,
            attempt: first_attempt(),
        }
    }

    /// The same, as another user.
    #[must_use]
    pub fn with_user(self, user: ActingUser) -> Self {
        Self { user, ..self }
    }

    /// The same for a call that is done once, however often it is sent.
    #[must_use]
    pub fn with_key(self, key: IdempotencyKey) -> Self {
        Self { idempotency_key: Some(key), ..self }
    }
}

fn first_attempt() -> u32 {
    1
}

fn is_default_user(user: &ActingUser) -> bool {
    *user == ActingUser::Default
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_survives_the_header() {
        let grant = Grant {
            root: BoxPath::parse(b"/workspace/\xff").expect("a path"),
            rights: Rights::of(&[Right::Read, Right::Execute]),
            max_bytes: Some(5),
            idempotency_key: Some("key".parse().expect("a key")),
            ..Grant::whole_box().with_user(ActingUser::root())
        };
        let header = serde_json::to_string(&grant).expect("json");
        assert!(header.is_ascii());
        assert_eq!(serde_json::from_str::<Grant>(&header).expect("a grant"), grant);
    }

    #[test]
    fn a_right_that_was_not_given_is_not_there() {
        let rights = Rights::of(&[Right::Read]);
        assert!(rights.contains(Right::Read) && !rights.contains(Right::Write));
    }
}
