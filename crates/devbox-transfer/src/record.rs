//! What is remembered of an upload while nobody works on it.
//!
//! It lies where the box's root can write, so it is read back as hostile input: one line of a SHA-256 and JSON, bounded,
//! every field parsed again. A checksum finds torn writes; it is no signature, and whoever forges a record forges an upload
//! in a box that is his already.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use devbox_types::etag::parse_list;
use devbox_types::file::{Durability, WriteRequest};
use devbox_types::upload::UploadRole;
use devbox_types::{ActingUser, BoxPath, Digests, Timestamp, UploadId, WirePath, WriteCondition};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::TransferError;

/// The version of the form. A record of another version is damaged: uploads do not outlive an upgrade that changes it.
const VERSION: u32 = 2;
/// The hexadecimal digits of a SHA-256.
const SUM: usize = 64;

/// Everything that an upload is, but for its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its id.
    pub id: UploadId,
    /// Who began it, and alone may go on.
    pub user: ActingUser,
    /// The folder that was `/` to who began it.
    pub root: BoxPath,
    /// Where the file goes and how. `length` is known.
    pub write: WriteRequest,
    /// Whether pieces are hashed as they come though no digest is known yet.
    pub digest_follows: bool,
    /// The metadata that it was begun with.
    pub metadata: String,
    /// When it may be swept away.
    pub expires: Timestamp,
    /// Where its bytes are.
    pub staging: Staging,
    /// From here on, bytes belong to a piece whose checksum was not compared yet: unless somebody is at work, they do not
    /// count.
    pub unverified_from: Option<u64>,
    /// How far it is.
    pub phase: Phase,
    /// What it is to become.
    pub role: UploadRole,
    /// The upload that its bytes went into, if it was a part.
    pub joined_into: Option<UploadId>,
    /// How many of the directories on the way to its file, the last ones, were made for it. They are taken back with it.
    pub made_directories: usize,
}

/// Where the bytes of an upload are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staging {
    /// The directory, relative to the box's root.
    pub directory: Vec<u8>,
    /// The reserved name in it.
    pub name: Vec<u8>,
    /// The file's inode number.
    pub inode: u64,
}

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Bytes may come.
    Open,
    /// All have come; the file is about to be published, or was in the moment before a kill.
    Publishing,
    /// The file is published, or the part complete. It is remembered for a client that did not get the answer.
    Done,
}

impl Record {
    /// The longest record, in bytes: a path of 4 KiB thrice, metadata, sixteen tags, the ids of all parts, all in their longest
    /// form.
    pub const MAX_BYTES: usize = 64 << 10;

    /// The length that was announced.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.write.length.unwrap_or(0)
    }

    /// How many of `stored` bytes count.
    #[must_use]
    pub fn counted(&self, stored: u64) -> u64 {
        stored.min(self.unverified_from.unwrap_or(u64::MAX)).min(self.length())
    }

    /// Whether nothing is stored of it any more but this record.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Done && (self.role != UploadRole::Part || self.joined_into.is_some())
    }

    /// Writes it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Plain data with text keys always has a JSON form.
        let json = serde_json::to_vec(&Written::from(self)).unwrap_or_default();
        let mut line = hexadecimal(&Sha256::digest(&json)).into_bytes();
        line.extend_from_slice(&json);
        line.push(b'\n');
        line
    }

    /// Reads it back.
    ///
    /// # Errors
    /// [`TransferError::Damaged`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TransferError> {
        let parse = || {
            // Behind the line may be the rest of a longer one that it was written over.
            let end = bytes.iter().position(|byte| *byte == b'\n')?;
            let line = Some(&bytes[..end]).filter(|line| line.len() <= Self::MAX_BYTES)?;
            let (sum, json) = line.split_at_checked(SUM)?;
            if sum != hexadecimal(&Sha256::digest(json)).as_bytes() {
                return None;
            }
            serde_json::from_slice::<Written>(json).ok()?.parse()
        };
        parse().ok_or(TransferError::Damaged)
    }
}

/// The form on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    id: UploadId,
    user: ActingUser,
    root: WireText,
    target: WireText,
    if_match: Option<String>,
    if_none_match: Option<String>,
    mode: Option<u32>,
    modified: Option<Timestamp>,
    parents: bool,
    nofollow: bool,
    sync: bool,
    length: u64,
    digests: Digests,
    digest_follows: bool,
    metadata: String,
    expires: Timestamp,
    directory: String,
    name: String,
    inode: u64,
    unverified_from: Option<u64>,
    phase: Phase,
    role: UploadRole,
    joined_into: Option<UploadId>,
    made_directories: usize,
}

/// A path of its own JSON object.
#[derive(Serialize, Deserialize)]
struct WireText(WirePath);

impl From<&Record> for Written {
    fn from(record: &Record) -> Self {
        let write = &record.write;
        let (if_match, if_none_match) = match &write.condition {
            WriteCondition::None => (None, None),
            WriteCondition::Absent => (None, Some("*".to_owned())),
            WriteCondition::Present => (Some("*".to_owned()), None),
            WriteCondition::Matches(tags) => {
                let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
                (Some(tags.join(", ")), None)
            }
        };
        Self {
            version: VERSION,
            id: record.id.clone(),
            user: record.user.clone(),
            root: WireText(record.root.clone().into()),
            target: WireText(write.path.clone().into()),
            if_match,
            if_none_match,
            mode: write.mode,
            modified: write.modified,
            parents: write.make_parents,
            nofollow: write.nofollow,
            sync: write.durability == Durability::Power,
            length: record.length(),
            digests: write.digests,
            digest_follows: record.digest_follows,
            metadata: record.metadata.clone(),
            expires: record.expires,
            directory: BASE64.encode(&record.staging.directory),
            name: BASE64.encode(&record.staging.name),
            inode: record.staging.inode,
            unverified_from: record.unverified_from,
            phase: record.phase,
            role: record.role.clone(),
            joined_into: record.joined_into.clone(),
            made_directories: record.made_directories,
        }
    }
}

impl Written {
    fn parse(self) -> Option<Record> {
        let condition = match (self.if_match.as_deref(), self.if_none_match.as_deref()) {
            (None, None) => WriteCondition::None,
            (None, Some("*")) => WriteCondition::Absent,
            (Some("*"), None) => WriteCondition::Present,
            (Some(list), None) => WriteCondition::Matches(parse_list(list).ok()?),
            _ => return None,
        };
        let sane = self.version == VERSION && self.mode.is_none_or(|mode| mode <= 0o7777);
        let durability = if self.sync { Durability::Power } else { Durability::Process };
        let write = WriteRequest {
            condition,
            mode: self.mode,
            modified: self.modified,
            make_parents: self.parents,
            nofollow: self.nofollow,
            durability,
            length: Some(self.length),
            digests: self.digests,
            ..WriteRequest::to(self.target.0.0)
        };
        let directory = BASE64.decode(self.directory).ok()?;
        let staging = Staging { directory, name: BASE64.decode(self.name).ok()?, inode: self.inode };
        sane.then_some(Record {
            id: self.id,
            user: self.user,
            root: self.root.0.0,
            write,
            digest_follows: self.digest_follows,
            metadata: self.metadata,
            expires: self.expires,
            staging,
            unverified_from: self.unverified_from,
            phase: self.phase,
            role: self.role,
            joined_into: self.joined_into,
            made_directories: self.made_directories,
        })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(length: u64) -> Record {
        let path = BoxPath::parse(b"/workspace/\xff data").expect("a path");
        Record {
            id: UploadId::from_random([7; 10]),
            user: ActingUser::Uid(1000),
            root: BoxPath::root(),
            write: WriteRequest {
                condition: WriteCondition::Matches(vec![devbox_types::Etag::of_version(1, 2, 3, false)]),
                mode: Some(0o750),
                modified: Some(Timestamp::from_nanoseconds(-1)),
                make_parents: true,
                length: Some(length),
                ..WriteRequest::to(path)
            },
            digest_follows: true,
            metadata: "path L3dvcmtzcGFjZQ==".to_owned(),
            expires: Timestamp::from_nanoseconds(1_000),
            staging: Staging {
                directory: b"workspace".to_vec(),
                name: b".~devbox-00-1".to_vec(),
                inode: u64::MAX,
            },
            unverified_from: Some(5),
            phase: Phase::Open,
            role: UploadRole::Joined(vec![UploadId::from_random([1; 10]), UploadId::from_random([2; 10])]),
            joined_into: Some(UploadId::from_random([3; 10])),
            made_directories: 2,
        }
    }

    #[test]
    fn a_record_is_read_back_as_it_was() {
        let record = record(10);
        assert_eq!(Record::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn a_torn_or_changed_record_is_damaged() {
        let whole = record(10).encode();
        for cut in [0, 1, SUM, whole.len() - 1] {
            assert_eq!(Record::decode(&whole[..cut]), Err(TransferError::Damaged), "{cut}");
        }
        for place in [0, SUM, whole.len() / 2, whole.len() - 3] {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            assert_eq!(Record::decode(&changed), Err(TransferError::Damaged), "{place}");
        }
    }

    #[test]
    fn the_rest_of_a_longer_record_behind_a_new_one_does_no_harm() {
        let whole = record(10).encode();
        let over_a_longer = [&whole[..], &whole[whole.len() / 2..]].concat();
        assert_eq!(Record::decode(&over_a_longer), Ok(record(10)));
    }
}
