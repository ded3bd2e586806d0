//! The guest routes as OpenAPI has them: what `devbox-router` serves below a box. Nothing calls these functions.
#![expect(dead_code, reason = "utoipa describes functions, and these exist to be described")]

use devbox_types::archive::{ArchiveFormat, ArchiveRequest};
use devbox_types::file::Written;
use devbox_types::metadata::MetadataChange;
use devbox_types::operation::{Operations, Report};
use devbox_types::process::{ProcessEventLine, ProcessList, ProcessRequest, SignalRequest};
use devbox_types::upload::UploadStatus;
use devbox_types::{Entry, ListPage, Problem};

/// The two forms of the answer.
#[derive(utoipa::ToSchema)]
#[serde(untagged)]
enum EntryOrPage {
    /// Without `depth`.
    Entry(Entry),
    /// With it.
    Page(ListPage),
}

/// Read a file
///
/// The bytes are of the version that `ETag` names, whatever happens to the file meanwhile. `Devbox-Entry` is its metadata
/// as compact JSON.
#[utoipa::path(
    get,
    path = "/v1/devboxes/{id}/files/{path}",
    tag = "files",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("path" = String, Path, description = "The path in the box, each name percent-encoded; a final symlink is followed"),
        ("user" = Option<String>, Query, description = "Act as this user of the box, by name or number"),
        ("Range" = Option<String>, Header, description = "One range of bytes"),
        ("If-Range" = Option<String>, Header, description = "Honour `Range` only for this version"),
        ("If-None-Match" = Option<String>, Header, description = "Answer 304 for these versions"),
        ("Accept-Encoding" = Option<String>, Header, description = "`gzip`, `zstd`: compresses whole files above 1 KiB"),
        ("Want-Repr-Digest" = Option<String>, Header, description = "`sha-256=1` (RFC 9530; also sha-512 and md5): `Repr-Digest` of the whole file, for which it is read once more"),
        ("Want-Content-Digest" = Option<String>, Header, description = "The same, and `Content-Digest` where the answer is the whole file")
    ),
    responses(
        (status = 200, description = "The whole file", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, description = "The range", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 304, description = "Not modified"),
        (status = 404, description = "`not_found`, `devbox_not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`is_a_directory`, `not_a_regular_file`, `not_running`",
            body = Problem, content_type = "application/problem+json"),
        (status = 416, description = "`range_not_satisfiable`", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn read_file() {}

/// Look at a file without reading it
#[utoipa::path(
    head,
    path = "/v1/devboxes/{id}/files/{path}",
    tag = "files",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("path" = String, Path, description = "The path in the box, each name percent-encoded"),
        ("user" = Option<String>, Query, description = "Act as this user of the box, by name or number")
    ),
    responses(
        (status = 200, description = "The headers of a read"),
        (status = "default", description = "A problem, without its body")
    )
)]
fn head_file() {}

/// Create or replace a file
///
/// A reader sees the old bytes or the new. The answer means: stored, complete, and of the announced digest; a problem means
/// that the old file is as it was.
#[utoipa::path(
    put,
    path = "/v1/devboxes/{id}/files/{path}",
    tag = "files",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("path" = String, Path, description = "The path in the box, each name percent-encoded"),
        ("user" = Option<String>, Query, description = "Act as this user of the box, by name or number"),
        ("mode" = Option<String>, Query, description = "Permission bits in octal"),
        ("mtime" = Option<String>, Query, description = "Modification time, RFC 3339"),
        ("parents" = Option<bool>, Query, description = "Make missing directories on the way"),
        ("nofollow" = Option<bool>, Query, description = "Replace a final symlink itself"),
        ("inplace" = Option<bool>, Query, description = "Write into the file that is there, which keeps its inode; not atomic"),
        ("verify" = Option<bool>, Query, description = "Read the stored bytes back before they are published, else `verify_failed`"),
        ("sync" = Option<bool>, Query, description = "Safe against power loss before it answers"),
        ("If-Match" = Option<String>, Header, description = "Only if the file is one of these versions; `*`: only if there is one"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is none"),
        ("Repr-Digest" = Option<String>, Header, description = "`sha-256=:BASE64:` (RFC 9530; also sha-512 and md5) of the bytes as they are sent, checked before the file is replaced"),
        ("Content-Digest" = Option<String>, Header, description = "The same, under its other name"),
        ("Content-MD5" = Option<String>, Header, description = "Their MD5 in base64 (RFC 1864)"),
        ("Devbox-Content-Digest" = Option<String>, Header, description = "As `Repr-Digest`, of the bytes as they are stored"),
        ("Content-Encoding" = Option<String>, Header, description = "`gzip` or `zstd`: what is stored is decoded, and limits count that")
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "Replaced", body = Written),
        (status = 201, description = "Created", body = Written),
        (status = 412, description = "`precondition_failed`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`too_large`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`digest_mismatch`", body = Problem, content_type = "application/problem+json"),
        (status = 507, description = "`no_space`", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn write_file() {}

/// Change a part of a file
///
/// Writes the content at an offset (`Content-Range` or `offset`) or after the end (`append`), after `truncate` has cut or
/// extended the file. The file itself is changed, piece by piece; a problem that comes halfway has `stands`: how many bytes of
/// the content are in the file, and how long it is. With `atomic` a copy is changed and published instead: a reader sees the old
/// bytes or the new, and a problem means that the old file is as it was.
#[utoipa::path(
    patch,
    path = "/v1/devboxes/{id}/files/{path}",
    tag = "files",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("path" = String, Path, description = "The path in the box, each name percent-encoded; a final symlink is followed"),
        ("user" = Option<String>, Query, description = "Act as this user of the box, by name or number"),
        ("Content-Range" = Option<String>, Header, description = "`bytes FIRST-LAST/*`: where the content goes; `bytes FIRST-LAST/TOTAL`: and how long the file must be with it"),
        ("offset" = Option<u64>, Query, description = "The same for content of any length"),
        ("append" = Option<bool>, Query, description = "The content goes after the end; who appends at once overwrites nothing"),
        ("truncate" = Option<u64>, Query, description = "Cut or extend the file to this size first; alone, without content, do only that"),
        ("create" = Option<bool>, Query, description = "Make the file, empty, if it is missing"),
        ("atomic" = Option<bool>, Query, description = "Change a copy, and replace the file with it"),
        ("verify" = Option<bool>, Query, description = "Read the stored bytes back before they are published; only with `atomic`"),
        ("nofollow" = Option<bool>, Query, description = "Refuse a final symlink"),
        ("sync" = Option<bool>, Query, description = "Safe against power loss before it answers"),
        ("If-Match" = Option<String>, Header, description = "Only if the file is one of these versions"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is none; with `create`"),
        ("Content-Digest" = Option<String>, Header, description = "Digests of the content. It is compared before the file changes if it is at most 64 KiB or `atomic`, else afterwards")
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "Changed", body = Written),
        (status = 201, description = "Created", body = Written),
        (status = 409, description = "`conflict`: it was replaced or changed meanwhile; `is_a_directory`, `not_a_regular_file`", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "`precondition_failed`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`too_large`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`digest_mismatch`", body = Problem, content_type = "application/problem+json"),
        (status = 507, description = "`no_space`", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn patch_file() {}

/// Delete an entry
#[utoipa::path(
    delete,
    path = "/v1/devboxes/{id}/files/{path}",
    tag = "files",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("path" = String, Path, description = "The path in the box, each name percent-encoded; a final symlink is not followed"),
        ("user" = Option<String>, Query, description = "Act as this user of the box, by name or number"),
        ("recursive" = Option<bool>, Query, description = "A directory with all it holds"),
        ("missing_ok" = Option<bool>, Query, description = "Succeed if there is none")
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "`directory_not_empty`", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn delete_file() {}

/// Write many files, all or none
///
/// Each part's `name` is the absolute path, percent-encoded. A part may have `Devbox-Mode`, `Devbox-Modified` and
/// `Content-Digest` headers. At most 10,000 parts.
#[utoipa::path(
    post,
    path = "/v1/devboxes/{id}/files",
    tag = "files",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("user" = Option<String>, Query, description = "Act as this user of the box, by name or number"),
        ("parents" = Option<bool>, Query, description = "Make missing directories on the way"),
        ("verify" = Option<bool>, Query, description = "Read all stored bytes back before anything is published"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "Up to 255 visible ASCII characters. A repeat of one of the last 1,000 calls that succeeded with a key gets the \
                same report and has no effect")
    ),
    request_body(content = Object, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "All are written", body = Report),
        (status = "default", description = "A problem: none is written", body = Problem, content_type = "application/problem+json")
    )
)]
fn write_files() {}

/// Look at an entry, or list a directory
///
/// Without `depth`: the entry itself. With it: a page of the directory in byte order, or with `Accept:
/// application/x-ndjson` the whole as it is read, one entry a line.
#[utoipa::path(
    get,
    path = "/v1/devboxes/{id}/entries/{path}",
    tag = "files",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("path" = String, Path, description = "The path in the box, each name percent-encoded"),
        ("user" = Option<String>, Query, description = "Act as this user of the box, by name or number"),
        ("follow" = Option<bool>, Query, description = "Look at what a final symlink points to"),
        ("xattrs" = Option<bool>, Query, description = "Tell the `user.*` extended attributes too; not with `depth`"),
        ("depth" = Option<u32>, Query, description = "1 to 64: list the directory so deep"),
        ("limit" = Option<u32>, Query, description = "1 to 1000 entries a page"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")
    ),
    responses(
        (status = 200, description = "The entry; with `depth` a page, or lines of entries",
            content((EntryOrPage = "application/json"), (Entry = "application/x-ndjson"))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn look_at_entry() {}

/// Set metadata of an entry
///
/// Mode, owner, group, times and `user.*` extended attributes: all that is given, or nothing. The same as `set_metadata` among
/// operations.
#[utoipa::path(
    patch,
    path = "/v1/devboxes/{id}/entries/{path}",
    tag = "files",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("path" = String, Path, description = "The path in the box, each name percent-encoded; a final symlink is followed unless `nofollow`"),
        ("user" = Option<String>, Query, description = "Act as this user of the box, by name or number"),
        ("If-Match" = Option<String>, Header, description = "Only if the file is one of these versions")
    ),
    request_body = MetadataChange,
    responses(
        (status = 200, description = "The entry as it now is", body = Entry),
        (status = 412, description = "`precondition_failed`", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem: nothing is set", body = Problem, content_type = "application/problem+json")
    )
)]
fn set_metadata() {}

/// Change names and metadata, write small files
///
/// One or many of mkdir, move, copy, symlink, link, write, set_metadata, chmod, chown, utime, delete, in order. The first that
/// fails ends the call, and those before it are undone.
#[utoipa::path(
    post,
    path = "/v1/devboxes/{id}/entries",
    tag = "files",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("user" = Option<String>, Query, description = "Act as this user of the box, by name or number"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "Up to 255 visible ASCII characters. A repeat of one of the last 1,000 calls that succeeded with a key gets the \
                same report and has no effect")
    ),
    request_body = Operations,
    responses(
        (status = 200, description = "All are done", body = Report),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn apply_operations() {}

/// Download files and directories as one archive
#[utoipa::path(
    post,
    path = "/v1/devboxes/{id}/archive",
    tag = "files",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("user" = Option<String>, Query, description = "Act as this user of the box, by name or number")
    ),
    request_body = ArchiveRequest,
    responses(
        (status = 200, description = "The archive, as it is made", content(
            (Vec<u8> = "application/zip"),
            (Vec<u8> = "application/x-tar"),
            (Vec<u8> = "application/gzip"),
            (Vec<u8> = "application/zstd")
        )),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn pack_archive() {}

/// Unpack an archive into a directory
///
/// All of it, or nothing. Names that lead out of the directory, links used to leave it, devices and archives that two readers
/// would read differently are refused; owners and set-user-ID bits are not taken over.
#[utoipa::path(
    put,
    path = "/v1/devboxes/{id}/archive/{path}",
    tag = "files",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("path" = String, Path, description = "The directory; may hold `/`, percent-encoded per segment"),
        ("format" = Option<ArchiveFormat>, Query, description = "Its format; without it, `Content-Type` says so"),
        ("strip" = Option<u32>, Query, description = "How many leading segments names lose"),
        ("parents" = Option<bool>, Query, description = "Make the directory if it is missing"),
        ("user" = Option<String>, Query, description = "Act as this user of the box, by name or number"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "Up to 255 visible ASCII characters. A repeat of one of the last 1,000 calls that succeeded with a key gets the \
                same report and has no effect")
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "All is unpacked", body = Report),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn unpack_archive() {}

/// Begin an upload in pieces
///
/// The tus protocol, version 1.0.0, with creation, creation-with-upload, checksum, expiration, termination and concatenation. The file shows
/// under its path when its last piece has come, all at once, if the condition holds and the digest is right.
#[utoipa::path(
    post,
    path = "/v1/devboxes/{id}/uploads",
    tag = "files",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("user" = Option<String>, Query, description = "Act as this user of the box, by name or number"),
        ("mode" = Option<String>, Query, description = "Permission bits, in octal"),
        ("mtime" = Option<String>, Query, description = "Modification time, RFC 3339"),
        ("parents" = Option<bool>, Query, description = "Make missing directories"),
        ("nofollow" = Option<bool>, Query, description = "Replace a final symlink itself"),
        ("sync" = Option<bool>, Query, description = "Acknowledge the last piece only once the file is safe against power loss"),
        ("digest_follows" = Option<bool>, Query, description = "The last piece will have a `Repr-Digest`"),
        ("Tus-Resumable" = String, Header, description = "`1.0.0`"),
        ("Upload-Length" = Option<u64>, Header, description = "How long the file, or the part, will be; not of a file that is joined"),
        ("Upload-Metadata" = Option<String>, Header, description = "With `path`, the base64 of the absolute path in the box; a part needs none"),
        ("Upload-Concat" = Option<String>, Header, description = "`partial` for a part of a file; `final;` and the addresses of complete parts to join them"),
        ("If-Match" = Option<String>, Header, description = "Only if the file is one of these versions; `*`: if there is one"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is none"),
        ("Repr-Digest" = Option<String>, Header, description = "`sha-256=:…:` (or sha-512, md5) of the whole file")
    ),
    responses(
        (status = 201, description = "It is begun; `Location` is where it goes on", body = UploadStatus),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn create_upload() {}

/// Look how far an upload is
///
/// With HEAD, as tus has it, in headers; with GET as JSON too.
#[utoipa::path(
    get,
    path = "/v1/devboxes/{id}/uploads/{upload}",
    tag = "files",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("upload" = String, Path, description = "Id of the upload"),
        ("user" = Option<String>, Query, description = "The user that it was begun as")
    ),
    responses((status = 200, description = "`Upload-Offset` bytes are stored", body = UploadStatus), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"))
)]
fn look_at_upload() {}

/// Add a piece to an upload
///
/// A piece that breaks off counts as far as it came, unless it has a checksum.
#[utoipa::path(
    patch,
    path = "/v1/devboxes/{id}/uploads/{upload}",
    tag = "files",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("upload" = String, Path, description = "Id of the upload"),
        ("user" = Option<String>, Query, description = "The user that it was begun as"),
        ("Tus-Resumable" = String, Header, description = "`1.0.0`"),
        ("Upload-Offset" = u64, Header, description = "Where the piece begins: where the upload ends"),
        ("Upload-Checksum" = Option<String>, Header, description = "`sha256 …` or `sha1 …` of the piece, base64"),
        ("Repr-Digest" = Option<String>, Header, description = "`sha-256=:…:` (or sha-512, md5) of the whole file")
    ),
    request_body(content = Vec<u8>, content_type = "application/offset+octet-stream"),
    responses(
        (status = 204, description = "It is stored; with the last one, the file is published and `Devbox-Entry` is its metadata"),
        (status = 200, description = "The same for who accepts JSON", body = UploadStatus),
        (status = 409, description = "`conflict`: it does not begin where the upload ends", body = Problem, content_type = "application/problem+json"),
        (status = 460, description = "`checksum_mismatch`: nothing of it counts", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn append_upload() {}

/// Give an upload up
#[utoipa::path(
    delete,
    path = "/v1/devboxes/{id}/uploads/{upload}",
    tag = "files",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("upload" = String, Path, description = "Id of the upload"),
        ("user" = Option<String>, Query, description = "The user that it was begun as"),
        ("Tus-Resumable" = String, Header, description = "`1.0.0`")
    ),
    responses((status = 204, description = "Nothing is left of it"), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"))
)]
fn delete_upload() {}

/// Run a program
///
/// As JSON, the answer is one event a line, `exited` last. As `application/vnd.devbox.frames` both bodies are frames (type,
/// big-endian length, payload) that stream at once; the first frame of the request is the JSON. When the client goes away, the
/// whole process tree is killed.
#[utoipa::path(
    post,
    path = "/v1/devboxes/{id}/processes",
    tag = "processes",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("user" = Option<String>, Query, description = "Run as this user of the box, by name or number")
    ),
    request_body = ProcessRequest,
    responses(
        (status = 200, description = "Events as they come", body = ProcessEventLine, content_type = "application/x-ndjson"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn run_process() {}

/// List the processes that were started through the API
#[utoipa::path(
    get,
    path = "/v1/devboxes/{id}/processes",
    tag = "processes",
    params(("id" = String, Path, description = "Id or name of the box")),
    responses(
        (status = 200, description = "Those that run, oldest first", body = ProcessList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn list_processes() {}

/// Send a signal
#[utoipa::path(
    post,
    path = "/v1/devboxes/{id}/processes/{process}/signal",
    tag = "processes",
    params(
        ("id" = String, Path, description = "Id or name of the box"),
        ("process" = u64, Path, description = "The `id` of the process")
    ),
    request_body = SignalRequest,
    responses(
        (status = 204, description = "It is sent"),
        (status = 404, description = "`process_not_found`", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Any other problem", body = Problem, content_type = "application/problem+json")
    )
)]
fn signal_process() {}
