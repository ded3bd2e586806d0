//! What is known of one name in a box, and listings of many.

use serde::{Deserialize, Serialize};

use crate::etag::Etag;
use crate::metadata::Xattr;
use crate::path::{BoxPath, BoxPathError, WirePath};
use crate::time::Timestamp;

/// The type of a file, as `stat` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A unix socket.
    Socket,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharacterDevice,
}

/// The metadata of one entry. For a directory listing, `path` is the entry's whole path, not only its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(try_from = "Fields")]
pub struct Entry {
    /// Where it is, below the caller's root.
    #[serde(flatten)]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::PathFields))]
    pub path: WirePath,
    /// Its type.
    pub kind: EntryKind,
    /// Its size as `stat` has it; for a symlink, the length of its target.
    pub size_bytes: u64,
    /// Permission bits, 0 to 0o7777, as a number.
    pub mode: u32,
    /// The owner's uid inside the box.
    pub uid: u32,
    /// The owner's gid inside the box.
    pub gid: u32,
    /// The owner's name, where the box's `/etc/passwd` has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Last change of the content.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub modified: Timestamp,
    /// Last change of content or metadata.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub changed: Timestamp,
    /// How many names the file has.
    pub links: u64,
    /// Where a symlink points, byte for byte.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::bytes_text::optional")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub target: Option<Vec<u8>>,
    /// The entity tag of a regular file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub etag: Option<Etag>,
    /// Its `user.*` extended attributes, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xattrs: Option<Vec<Xattr>>,
}

/// An entry as its fields come. Read through this, because a flattened field makes serde keep each field in memory of its own
/// until all are there, which costs more than all else in an entry.
#[derive(Deserialize)]
struct Fields {
    path: Option<String>,
    path_b64: Option<String>,
    kind: EntryKind,
    size_bytes: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    owner: Option<String>,
    modified: Timestamp,
    changed: Timestamp,
    links: u64,
    #[serde(default, with = "crate::bytes_text::optional")]
    target: Option<Vec<u8>>,
    etag: Option<Etag>,
    xattrs: Option<Vec<Xattr>>,
}

impl TryFrom<Fields> for Entry {
    type Error = BoxPathError;

    fn try_from(fields: Fields) -> Result<Self, BoxPathError> {
        Ok(Self {
            path: WirePath::from_fields(fields.path.as_deref(), fields.path_b64.as_deref())?,
            kind: fields.kind,
            size_bytes: fields.size_bytes,
            mode: fields.mode,
            uid: fields.uid,
            gid: fields.gid,
            owner: fields.owner,
            modified: fields.modified,
            changed: fields.changed,
            links: fields.links,
            target: fields.target,
            etag: fields.etag,
            xattrs: fields.xattrs,
        })
    }
}

/// Which entry to look at, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatRequest {
    /// The entry.
    pub path: BoxPath,
    /// Follow a final symlink, instead of looking at the link itself.
    pub follow: bool,
    /// Tell its `user.*` extended attributes too.
    pub xattrs: bool,
}

impl StatRequest {
    /// The entry at `path` itself, without extended attributes.
    #[must_use]
    pub fn of(path: BoxPath) -> Self {
        Self { path, follow: false, xattrs: false }
    }

    /// What `path` leads to, without extended attributes.
    #[must_use]
    pub fn target_of(path: BoxPath) -> Self {
        Self { follow: true, ..Self::of(path) }
    }
}

/// Which entries of a directory are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest {
    /// The directory.
    pub path: BoxPath,
    /// 1: its entries; 2: theirs too, and so on. Symlinks are listed, never followed.
    pub depth: u32,
    /// The name after which to go on, relative to `path`: the cursor of the page before.
    pub cursor: Option<Vec<u8>>,
    /// The most entries in a page, 1 to [`Self::MAX_LIMIT`].
    pub limit: usize,
}

impl ListRequest {
    /// The longest page, which bounds the memory of agent, server and client.
    pub const MAX_LIMIT: usize = 1000;
    /// The deepest listing: deeper trees are listed by their sub-directories.
    pub const MAX_DEPTH: u32 = 64;

    /// The first page of the entries directly in `path`.
    #[must_use]
    pub fn of(path: BoxPath) -> Self {
        Self { path, depth: 1, cursor: None, limit: Self::MAX_LIMIT }
    }
}

/// One page of a listing, in byte order of the paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ListPage {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the next page begins; absent on the last. Base64, opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_the_wire_with_every_field() {
        for path in [&b"/a/b"[..], b"/caf\xe9", b"/"] {
            let entry = Entry {
                path: BoxPath::parse(path).expect("a path").into(),
                kind: EntryKind::Symlink,
                size_bytes: u64::MAX,
                mode: 0o7777,
                uid: 1,
                gid: 2,
                owner: Some("user".to_owned()),
                modified: Timestamp::from_nanoseconds(-1),
                changed: Timestamp::from_nanoseconds(1),
                links: 3,
                target: Some(b"\xff".to_vec()),
                etag: Some("\"a\"".parse().expect("a tag")),
                xattrs: Some(vec![Xattr { name: b"user.a".to_vec(), value: vec![0] }]),
            };
            let bare = Entry { owner: None, target: None, etag: None, xattrs: None, ..entry.clone() };
            for entry in [entry, bare] {
                let json = serde_json::to_string(&entry).expect("JSON");
                assert_eq!(serde_json::from_str::<Entry>(&json).expect("an entry"), entry, "{json}");
            }
        }
    }
}
