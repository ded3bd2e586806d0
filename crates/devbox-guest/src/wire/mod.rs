//! How the contract is written in HTTP: what client and router must agree on, in one place.

pub mod digest;
pub mod frame;
pub mod json;
pub mod query;
pub mod tus;

use http::HeaderName;

/// Carries the [`devbox_types::Grant`] from a server to an agent, as compact ASCII JSON.
pub const GRANT: HeaderName = HeaderName::from_static("devbox-grant");
/// Carries the [`devbox_types::Entry`] of a file beside its bytes, as compact ASCII JSON.
pub const ENTRY: HeaderName = HeaderName::from_static("devbox-entry");
/// The code of the problem that an answer is: an answer to HEAD has no body to say it.
pub const ERROR: HeaderName = HeaderName::from_static("devbox-error");
/// The request's id: chosen by the client or made at the edge, on every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Names a call that makes many changes, so that a repeat is answered and not done again.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Query parameter beside such a key: an agent that does not know keys refuses what it does not know, where it would pass over a
/// header.
pub const IDEMPOTENT: &str = "idempotent";
/// Which sending of a call this is, from a client that repeats one: a number from 2 on. It is counted and means nothing else.
pub const ATTEMPT: HeaderName = HeaderName::from_static("devbox-attempt");
/// RFC 9530: digests of the whole representation, that is of the file under the content coding of the message.
pub const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// RFC 9530: digests of the bytes of this message; the same as the former where these are not a range.
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// RFC 1864: the MD5 of the bytes of this message.
pub const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
/// Digests of the bytes as they are stored, whatever the content coding of the message; written as those of RFC 9530.
pub const STORED_DIGEST: HeaderName = HeaderName::from_static("devbox-content-digest");
/// RFC 9530: which digest of the whole representation is wanted.
pub const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");
/// RFC 9530: which digest of the bytes of the answer is wanted.
pub const WANT_CONTENT_DIGEST: HeaderName = HeaderName::from_static("want-content-digest");

/// The version of the tus protocol, on requests and answers about uploads.
pub const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
/// The one version of it that is spoken here.
pub const TUS_VERSION: &str = "1.0.0";
/// Where a piece begins, and how far an upload is.
pub const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// How long the whole will be.
pub const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
/// Pairs of a name and base64 that an upload is begun with; `path` is where the file goes.
pub const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
/// The digest of one piece: `sha1 BASE64` or `sha256 BASE64`.
pub const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
/// What an upload is to become: `partial`, or `final;` and the addresses of parts; without it, a file of its own.
pub const UPLOAD_CONCAT: HeaderName = HeaderName::from_static("upload-concat");
/// When an upload that is not complete is swept away.
pub const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
/// Media type of a piece.
pub const PIECE: &str = "application/offset+octet-stream";

/// Part header of a batch: permission bits, in octal.
pub const PART_MODE: HeaderName = HeaderName::from_static("devbox-mode");
/// Part header of a batch: modification time, RFC 3339.
pub const PART_MODIFIED: HeaderName = HeaderName::from_static("devbox-modified");
/// Part header of a batch: `true` makes missing directories on the way.
pub const PART_PARENTS: HeaderName = HeaderName::from_static("devbox-parents");
/// Part header of a batch: `true` replaces a final symlink itself.
pub const PART_NOFOLLOW: HeaderName = HeaderName::from_static("devbox-nofollow");
/// Part header of a batch: `true` reads the stored bytes back before anything is published.
pub const PART_VERIFY: HeaderName = HeaderName::from_static("devbox-verify");
/// Part header of a batch: `true` syncs the file before it is acknowledged.
pub const PART_SYNC: HeaderName = HeaderName::from_static("devbox-sync");

/// Media type of process frames, both ways.
pub const FRAMES: &str = "application/vnd.devbox.frames";
/// Media type of JSON values, one a line.
pub const NDJSON: &str = "application/x-ndjson";
/// Media type of one JSON value.
pub const JSON: &str = "application/json";
/// Media type of an error (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";
/// Media type of the bytes of a file.
pub const OCTETS: &str = "application/octet-stream";

/// The most files in one batch: more are refused before anything is published.
pub const MAX_PARTS: usize = 10_000;
/// The longest JSON value: 10,000 operations on long paths fit, and one request cannot fill the memory.
pub const MAX_JSON_BYTES: usize = 8 << 20;
/// The longest error answer: more is not read.
pub const MAX_PROBLEM_BYTES: usize = 64 << 10;
/// The longest line of an NDJSON answer: an entry whose path and target are all escapes fits several times.
pub const MAX_LINE_BYTES: usize = 256 << 10;
