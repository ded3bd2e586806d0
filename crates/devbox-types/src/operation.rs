//! Changes to names: make, move, copy, link, delete, and metadata.

use serde::{Deserialize, Serialize};

use crate::bytes_text;
use crate::entry::Entry;
use crate::metadata::MetadataChange;
use crate::path::{self, BoxPath};
use crate::time::Timestamp;
use crate::user::ActingUser;

/// One change. `POST /entries` takes one or many.
///
/// Paths are JSON strings, or `{"b64": "..."}` where they are not UTF-8. A final symlink is never followed, but by
/// `chmod`, and by `chown`, `utime`, `set_metadata` and `write` without `nofollow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// Makes a directory.
    Mkdir {
        /// Where.
        #[serde(with = "path::text")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        path: BoxPath,
        /// Permission bits; default 0o777 less the umask 022.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u32>,
        /// Make missing directories on the way, and accept that it exists.
        #[serde(default)]
        parents: bool,
    },
    /// Moves an entry; within one directory, a rename.
    Move {
        /// The entry.
        #[serde(with = "path::text")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        from: BoxPath,
        /// Its new path.
        #[serde(with = "path::text")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        to: BoxPath,
        /// Replace what is there, as rename(2) does; else `exists`.
        #[serde(default)]
        overwrite: bool,
    },
    /// Copies a file, a symlink, or with `recursive` a directory: modes, times and extended attributes too.
    Copy {
        /// The entry.
        #[serde(with = "path::text")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        from: BoxPath,
        /// The path of the copy.
        #[serde(with = "path::text")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        to: BoxPath,
        /// Copy a directory with all it holds.
        #[serde(default)]
        recursive: bool,
        /// Replace a file that is there; else `exists`.
        #[serde(default)]
        overwrite: bool,
    },
    /// Makes a symbolic link.
    Symlink {
        /// Where.
        #[serde(with = "path::text")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        path: BoxPath,
        /// What it says, byte for byte: need not exist, may be relative to the link's directory. A JSON string, or
        /// `{"b64": "..."}` where it is not UTF-8.
        #[serde(with = "bytes_text")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        target: Vec<u8>,
    },
    /// Gives a file one more name: a hard link. A symlink gets one itself; directories and devices cannot.
    Link {
        /// The file.
        #[serde(with = "path::text")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        from: BoxPath,
        /// Its new name, which must be free.
        #[serde(with = "path::text")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        to: BoxPath,
    },
    /// Creates or replaces a small file, as `PUT /files` does. All contents of a request have at most 1 MiB together.
    Write {
        /// The file.
        #[serde(with = "path::text")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        path: BoxPath,
        /// What it is to hold: text, or `{"b64": "..."}`.
        #[serde(with = "bytes_text")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        content: Vec<u8>,
        /// Permission bits; default: those of the file that it replaces, or 0o666 less the umask 022.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u32>,
        /// Make missing directories on the way.
        #[serde(default)]
        parents: bool,
        /// Replace what is there; else `exists`.
        #[serde(default)]
        overwrite: bool,
        /// Replace a symlink itself.
        #[serde(default)]
        nofollow: bool,
    },
    /// Sets mode, owner, times and extended attributes: all that is asked for, or nothing.
    SetMetadata {
        /// The entry.
        #[serde(with = "path::text")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        path: BoxPath,
        /// What is set.
        set: MetadataChange,
    },
    /// Sets permission bits.
    Chmod {
        /// The entry.
        #[serde(with = "path::text")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        path: BoxPath,
        /// Permission bits, 0 to 0o7777, as a number.
        mode: u32,
    },
    /// Sets owner, group or both. Names are looked up in the box.
    Chown {
        /// The entry.
        #[serde(with = "path::text")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        path: BoxPath,
        /// The new owner, by name or number; absent: as it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
        owner: Option<ActingUser>,
        /// The new group's number; absent: as it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gid: Option<u32>,
        /// Act on a symlink itself.
        #[serde(default)]
        nofollow: bool,
    },
    /// Sets the time of the last modification.
    Utime {
        /// The entry.
        #[serde(with = "path::text")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        path: BoxPath,
        /// The new time; absent: now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
        modified: Option<Timestamp>,
        /// Act on a symlink itself.
        #[serde(default)]
        nofollow: bool,
    },
    /// Deletes an entry.
    Delete {
        /// The entry.
        #[serde(with = "path::text")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        path: BoxPath,
        /// Delete a directory with all it holds.
        #[serde(default)]
        recursive: bool,
        /// Accept that there is no such entry.
        #[serde(default)]
        missing_ok: bool,
    },
}

/// The body of `POST /entries`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Operations {
    /// What to do, in this order.
    pub operations: Vec<Operation>,
}

impl Operations {
    /// The most operations in one request.
    pub const MAX: usize = 10_000;
    /// The most bytes that all `write` operations of one request may hold together; for more there is `POST /files`.
    pub const MAX_INLINE_BYTES: usize = 1 << 20;
}

/// What a call over many paths did; the audit records it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Report {
    /// How many entries were made, changed or removed.
    pub entries: u64,
    /// How many bytes of content were stored.
    pub bytes: u64,
    /// Whether it took effect as one step, to processes in the box too.
    pub atomic: bool,
    /// The entry as it now is, of a call that is one `set_metadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Box<Entry>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_may_say_anything() {
        let says = |target: &[u8]| Operation::Symlink { path: BoxPath::root(), target: target.to_vec() };
        let cases: [(&[u8], &str); 2] = [(b"a/b", r#""a/b""#), (b"\xff", r#"{"b64":"/w=="}"#)];
        for (target, written) in cases {
            let json = format!(r#"{{"op":"symlink","path":"/","target":{written}}}"#);
            assert_eq!(serde_json::to_string(&says(target)).ok().as_ref(), Some(&json));
            assert_eq!(serde_json::from_str(&json).ok(), Some(says(target)));
        }
        let bad = r#"{"op":"symlink","path":"/","target":{"b64":"?"}}"#;
        assert!(serde_json::from_str::<Operation>(bad).is_err());
    }
}
