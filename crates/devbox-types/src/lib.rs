//! The words of the Devbox API: ids, box paths, requests, responses, error codes.
//!
//! Nothing here does I/O and everything here builds everywhere. A value of these types has been
//! parsed: whoever holds a [`BoxPath`] need not look for `..` again.
//!
//! | module | subject |
//! |---|---|
//! | [`id`] | ids of boxes, processes, uploads and requests |
//! | [`path`] | paths inside a box, from raw request targets and from JSON |
//! | [`error`] | the closed list of error codes, and what each means to HTTP and to a shell |
//! | [`problem`] | the RFC 9457 body that carries one |
//! | [`etag`] | entity tags and the conditions made of them |
//! | [`user`] | the user a call acts as |
//! | [`digest`] | digests of contents, and how they are made |
//! | [`entry`] | what is known of one name in a box |
//! | [`file`] | reading and writing whole files and ranges |
//! | [`patch`] | changing a part of a file |
//! | [`metadata`] | metadata that callers set |
//! | [`upload`] | large files in pieces |
//! | [`idempotency`] | keys that make a repeated call harmless |
//! | [`operation`] | changes to names: make, move, copy, link, delete |
//! | [`archive`] | many files as one stream |
//! | [`process`] | running programs |
//! | [`grant`] | what a caller may do, enforced by the engine |
//! | [`devbox`] | boxes: specification, state, record |
//! | [`agent`] | what an agent says of itself |
//! | [`audit`] | what was done, by whom, and how it ended |

pub mod agent;
pub mod archive;
pub mod audit;
pub mod devbox;
pub mod digest;
pub mod entry;
pub mod error;
pub mod etag;
pub mod file;
pub mod grant;
pub mod id;
pub mod idempotency;
pub mod metadata;
pub mod operation;
pub mod patch;
pub mod path;
pub mod problem;
pub mod process;
#[cfg(feature = "schema")]
pub mod schema;
pub mod time;
pub mod upload;
pub mod user;

mod bytes_text;

pub use digest::{Algorithms, DigestAlgorithm, DigestHasher, Digests};
pub use entry::{Entry, EntryKind, ListPage, ListRequest};
pub use error::{Coded, ErrorCode};
pub use etag::{Etag, WriteCondition};
pub use grant::{Grant, Right, Rights};
pub use id::{BoxId, ProcessId, RequestId, UploadId};
pub use idempotency::{IdempotencyKey, IdempotencyKeyError};
pub use path::{BoxPath, BoxPathError, WirePath};
pub use problem::Problem;
pub use time::Timestamp;
pub use user::ActingUser;
