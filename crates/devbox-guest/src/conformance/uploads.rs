//! Files in pieces.

use bytes::Bytes;
use devbox_types::file::WriteRequest;
use devbox_types::upload::{ChunkChecksum, ChunkRequest, UploadRequest, UploadRole, UploadStatus};
use devbox_types::{BoxPath, Digests, ErrorCode, Grant, ListRequest, Problem, UploadId, WriteCondition};

use super::ground::{Ground, broken, chunked, fails_with, noise};
use crate::body::Body;

/// The SHA-256 of "abc" (FIPS 180-4, appendix B).
const ABC: [u8; 32] = [
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0,
    0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
];
/// The SHA-1 of "abc" (FIPS 180-4, appendix A).
const ABC_SHA1: [u8; 20] = [
    0xa9, 0x99, 0x3e, 0x36, 0x47, 0x06, 0x81, 0x6a, 0xba, 0x3e, 0x25, 0x71, 0x78, 0x50, 0xc2, 0x6c, 0x9c,
    0xd0, 0xd8, 0x9d,
];

fn to(path: BoxPath, length: u64) -> UploadRequest {
    let write = WriteRequest { length: Some(length), ..WriteRequest::to(path) };
    UploadRequest { write, digest_follows: false, metadata: String::new(), role: UploadRole::File }
}

fn at(id: &UploadId, offset: u64) -> ChunkRequest {
    ChunkRequest { id: id.clone(), offset, length: None, checksum: None, digests: Digests::default() }
}

fn part(length: u64) -> UploadRequest {
    UploadRequest { role: UploadRole::Part, ..to(BoxPath::root(), length) }
}

fn joined(path: BoxPath, parts: &[&UploadStatus]) -> UploadRequest {
    let parts = parts.iter().map(|part| part.id.clone()).collect();
    let request = to(path, 0);
    let write = WriteRequest { length: None, ..request.write };
    UploadRequest { write, role: UploadRole::Joined(parts), ..request }
}

impl Ground {
    async fn part(&self, bytes: &'static str) -> UploadStatus {
        let begun = self.begin(part(u64::try_from(bytes.len()).expect("a length"))).await;
        if bytes.is_empty() {
            return begun;
        }
        self.add(at(&begun.id, 0), bytes).await.expect("a part is stored")
    }

    async fn join(&self, request: UploadRequest) -> Result<UploadStatus, Problem> {
        self.guest.create_upload(&self.grant, request).await
    }

    async fn begin(&self, request: UploadRequest) -> UploadStatus {
        self.guest.create_upload(&self.grant, request).await.expect("an upload is begun")
    }

    async fn add(&self, chunk: ChunkRequest, bytes: impl Into<Bytes>) -> Result<UploadStatus, Problem> {
        self.guest.append_upload(&self.grant, chunk, Body::from_bytes(bytes)).await
    }

    async fn offset(&self, id: &UploadId) -> Result<u64, Problem> {
        let status = self.guest.look_at_upload(&self.grant, id.clone()).await?;
        Ok(status.offset_bytes)
    }
}

pub(super) async fn pieces_become_a_file(ground: Ground) {
    let content = noise(3_000_000);
    let request = to(ground.path("made/file"), 3_000_000);
    let write = WriteRequest { make_parents: true, mode: Some(0o640), ..request.write };
    let begun = ground.begin(UploadRequest { write, ..request }).await;
    assert_eq!((begun.offset_bytes, begun.length_bytes), (0, 3_000_000));
    let mut offset = 0;
    for piece in content.chunks(1_100_000) {
        let body = chunked(piece, 70_000, true);
        let added = ground.guest.append_upload(&ground.grant, at(&begun.id, offset), body).await;
        let added = added.expect("a piece is stored");
        offset += u64::try_from(piece.len()).expect("a length");
        assert_eq!(added.offset_bytes, offset);
        match added.entry {
            Some(entry) => {
                assert!(added.offset_bytes == added.length_bytes && entry.mode == 0o640, "{entry:?}");
            }
            None => ground.holds(&["made"]).await,
        }
    }
    assert!(ground.read("made/file").await == content);
    assert_eq!(ground.offset(&begun.id).await, Ok(3_000_000));
}

pub(super) async fn an_upload_of_nothing_is_complete_at_once(ground: Ground) {
    let begun = ground.begin(to(ground.path("empty"), 0)).await;
    assert!(begun.is_complete() && begun.entry.is_some(), "{begun:?}");
    assert_eq!(ground.read("empty").await, "");
}

pub(super) async fn what_came_of_a_broken_piece_counts(ground: Ground) {
    let begun = ground.begin(to(ground.path("file"), 10)).await;
    let refused = ground.guest.append_upload(&ground.grant, at(&begun.id, 0), broken(b"abcd", None)).await;
    fails_with(refused, ErrorCode::Interrupted);
    let offset = ground.offset(&begun.id).await.expect("an upload");
    assert!(offset <= 4, "{offset}");
    let rest = &b"abcdefghij"[usize::try_from(offset).expect("an offset")..];
    ground.add(at(&begun.id, offset), rest).await.expect("the rest is stored");
    assert_eq!(ground.read("file").await, "abcdefghij");
}

pub(super) async fn a_piece_has_to_fit(ground: Ground) {
    let begun = ground.begin(to(ground.path("file"), 3)).await;
    fails_with(ground.add(at(&begun.id, 1), "bc").await, ErrorCode::Conflict);
    fails_with(ground.add(at(&begun.id, 0), "abcd").await, ErrorCode::InvalidRequest);
    ground.add(at(&begun.id, 0), "ab").await.expect("a piece is stored");
    fails_with(ground.add(at(&begun.id, 0), "ab").await, ErrorCode::Conflict);
    ground.add(at(&begun.id, 2), "c").await.expect("the last piece is stored");
    fails_with(ground.add(at(&begun.id, 2), "c").await, ErrorCode::Conflict);
    assert_eq!(ground.read("file").await, "abc");
}

pub(super) async fn a_piece_with_a_wrong_checksum_does_not_count(ground: Ground) {
    for checksum in [ChunkChecksum::Sha256(ABC), ChunkChecksum::Sha1(ABC_SHA1)] {
        let begun = ground.begin(to(ground.path("file"), 3)).await;
        let chunk = ChunkRequest { checksum: Some(checksum), ..at(&begun.id, 0) };
        fails_with(ground.add(chunk.clone(), "abd").await, ErrorCode::ChecksumMismatch);
        assert_eq!(ground.offset(&begun.id).await, Ok(0));
        let cut_off = broken(b"ab", None);
        let refused = ground.guest.append_upload(&ground.grant, chunk.clone(), cut_off).await;
        fails_with(refused, ErrorCode::Interrupted);
        assert_eq!(ground.offset(&begun.id).await, Ok(0));
        ground.add(chunk, "abc").await.expect("the right piece is stored");
        assert_eq!(ground.read("file").await, "abc");
    }
}

pub(super) async fn a_wrong_digest_of_the_whole_leaves_the_old_file(ground: Ground) {
    ground.write("file", "old").await;
    let digests = |given: bool| if given { Digests::of_sha256(ABC) } else { Digests::default() };
    for early in [true, false] {
        let mut request = to(ground.path("file"), 3);
        (request.digest_follows, request.write.digests) = (!early, digests(early));
        let begun = ground.begin(request.clone()).await;
        let last = ChunkRequest { digests: digests(!early), ..at(&begun.id, 0) };
        fails_with(ground.add(last, "abd").await, ErrorCode::DigestMismatch);
        fails_with(ground.offset(&begun.id).await, ErrorCode::UploadNotFound);
        assert_eq!(ground.read("file").await, "old");
        ground.holds(&["file"]).await;
        let begun = ground.begin(request).await;
        ground.add(at(&begun.id, 0), "ab").await.expect("a piece is stored");
        let last = ChunkRequest { digests: digests(true), ..at(&begun.id, 2) };
        ground.add(last, "c").await.expect("the right file is published");
        assert_eq!(ground.read("file").await, "abc");
        ground.write("file", "old").await;
    }
}

pub(super) async fn a_condition_is_kept_until_the_end(ground: Ground) {
    let absent = |request: UploadRequest| {
        let write = WriteRequest { condition: WriteCondition::Absent, ..request.write };
        UploadRequest { write, ..request }
    };
    let begun = ground.begin(absent(to(ground.path("file"), 3))).await;
    ground.write("file", "mine").await;
    fails_with(ground.add(at(&begun.id, 0), "abc").await, ErrorCode::PreconditionFailed);
    assert_eq!(ground.read("file").await, "mine");
    let refused = ground.guest.create_upload(&ground.grant, absent(to(ground.path("file"), 3))).await;
    fails_with(refused, ErrorCode::PreconditionFailed);
    ground.holds(&["file"]).await;
}

pub(super) async fn an_upload_can_be_given_up(ground: Ground) {
    let begun = ground.begin(to(ground.path("file"), 3)).await;
    ground.add(at(&begun.id, 0), "ab").await.expect("a piece is stored");
    ground.guest.delete_upload(&ground.grant, begun.id.clone()).await.expect("it is given up");
    fails_with(ground.offset(&begun.id).await, ErrorCode::UploadNotFound);
    fails_with(ground.add(at(&begun.id, 2), "c").await, ErrorCode::UploadNotFound);
    ground.holds(&[]).await;
    let again = ground.guest.delete_upload(&ground.grant, begun.id).await;
    fails_with(again, ErrorCode::UploadNotFound);
}

pub(super) async fn attack_upload_of_somebody_else(ground: Ground) {
    if !ground.facts.takes_narrow_grants {
        return;
    }
    let begun = ground.begin(to(ground.path("file"), 3)).await;
    let narrow = Grant { root: ground.folder.clone(), ..ground.grant.clone() };
    let looked = ground.guest.look_at_upload(&narrow, begun.id.clone()).await;
    fails_with(looked, ErrorCode::UploadNotFound);
    let added = ground.guest.append_upload(&narrow, at(&begun.id, 0), Body::from_bytes("abc")).await;
    fails_with(added, ErrorCode::UploadNotFound);
    let ended = ground.guest.delete_upload(&narrow, begun.id.clone()).await;
    fails_with(ended, ErrorCode::UploadNotFound);
    assert_eq!(ground.offset(&begun.id).await, Ok(0));
}

pub(super) async fn an_impossible_target_is_refused_at_once(ground: Ground) {
    ground.mkdir("directory").await;
    for (name, code) in [("directory", ErrorCode::IsADirectory), ("missing/file", ErrorCode::NotFound)] {
        let refused = ground.guest.create_upload(&ground.grant, to(ground.path(name), 3)).await;
        fails_with(refused, code);
    }
    ground.holds(&["directory"]).await;
}

pub(super) async fn parts_become_a_file(ground: Ground) {
    ground.write("file", "old").await;
    let (one, none, other) = (ground.part("abc").await, ground.part("").await, ground.part("defgh").await);
    assert!(one.part && one.is_complete() && none.is_complete() && one.entry.is_none(), "{one:?}");
    ground.holds(&["file"]).await;
    assert_eq!(ground.read("file").await, "old");
    let request = joined(ground.path("file"), &[&other, &none, &one, &other]);
    let write = WriteRequest { mode: Some(0o640), ..request.write };
    let done = ground.join(UploadRequest { write, ..request }).await.expect("a file");
    assert_eq!((done.offset_bytes, done.length_bytes, done.parts.len()), (13, 13, 4));
    assert_eq!(done.entry.map(|entry| entry.mode), Some(0o640));
    assert_eq!(ground.read("file").await, "defghabcdefgh");
    let seen = ground.guest.look_at_upload(&ground.grant, done.id.clone()).await.expect("it is remembered");
    assert!(seen.parts == [other.id.clone(), none.id, one.id, other.id] && !seen.part, "{seen:?}");
    fails_with(ground.add(at(&done.id, 13), "x").await, ErrorCode::PermissionDenied);
    ground.holds(&["file"]).await;
}

pub(super) async fn large_parts_become_a_file(ground: Ground) {
    let content = noise(5_000_000);
    let mut parts = Vec::new();
    for bytes in content.chunks(1_700_001) {
        let begun = ground.begin(part(u64::try_from(bytes.len()).expect("a length"))).await;
        let half = bytes.len() / 2;
        ground.add(at(&begun.id, 0), Bytes::copy_from_slice(&bytes[..half])).await.expect("half a part");
        let offset = u64::try_from(half).expect("an offset");
        let rest = Bytes::copy_from_slice(&bytes[half..]);
        parts.push(ground.add(at(&begun.id, offset), rest).await.expect("a part"));
    }
    let parts: Vec<_> = parts.iter().collect();
    ground.join(joined(ground.path("file"), &parts)).await.expect("a file");
    assert!(ground.read("file").await == content);
}

pub(super) async fn what_is_no_complete_part_is_not_joined(ground: Ground) {
    let (whole, half) = (ground.part("abc").await, ground.begin(part(3)).await);
    ground.add(at(&half.id, 0), "ab").await.expect("bytes of a part");
    let file = ground.begin(to(ground.path("other"), 3)).await;
    let missing = UploadStatus { id: UploadId::from_random([0; 10]), ..whole.clone() };
    for (parts, code) in [
        (&[&whole, &half][..], ErrorCode::Conflict),
        (&[&file][..], ErrorCode::InvalidRequest),
        (&[&whole, &missing][..], ErrorCode::UploadNotFound),
        (&[&whole][..], ErrorCode::NotFound),
    ] {
        let path =
            if code == ErrorCode::NotFound { ground.path("missing/file") } else { ground.path("file") };
        fails_with(ground.join(joined(path, parts)).await, code);
    }
    ground.holds(&[]).await;
    ground.add(at(&half.id, 2), "c").await.expect("the rest of a part");
    ground.join(joined(ground.path("file"), &[&whole, &half])).await.expect("a file");
    assert_eq!(ground.read("file").await, "abcabc");
}

pub(super) async fn a_failed_join_leaves_the_parts(ground: Ground) {
    ground.write("file", "old").await;
    let one = ground.part("abc").await;
    let request = joined(ground.path("file"), &[&one]);
    let absent = WriteRequest { condition: WriteCondition::Absent, ..request.write.clone() };
    let absent = UploadRequest { write: absent, ..request.clone() };
    fails_with(ground.join(absent).await, ErrorCode::PreconditionFailed);
    let wrong = WriteRequest { digests: Digests::of_sha256([1; 32]), ..request.write.clone() };
    let wrong = UploadRequest { write: wrong, ..request.clone() };
    fails_with(ground.join(wrong).await, ErrorCode::DigestMismatch);
    assert_eq!(ground.read("file").await, "old");
    ground.holds(&["file"]).await;
    let right = WriteRequest { digests: Digests::of_sha256(ABC), ..request.write.clone() };
    ground.join(UploadRequest { write: right, ..request }).await.expect("a file");
    assert_eq!(ground.read("file").await, "abc");
}

pub(super) async fn a_repeated_join_is_answered_and_not_done_again(ground: Ground) {
    let (one, other) = (ground.part("abc").await, ground.part("def").await);
    let request = joined(ground.path("file"), &[&one, &other]);
    let first = ground.join(request.clone()).await.expect("a file");
    ground.write("file", "newer").await;
    let second = ground.join(request).await.expect("the same answer");
    assert_eq!((first.id, first.length_bytes), (second.id, second.length_bytes));
    assert_eq!(ground.read("file").await, "newer");
    for parts in [&[&one][..], &[&other, &one][..]] {
        fails_with(ground.join(joined(ground.path("file"), parts)).await, ErrorCode::UploadNotFound);
    }
    let elsewhere = ground.join(joined(ground.path("elsewhere"), &[&one, &other])).await;
    fails_with(elsewhere, ErrorCode::UploadNotFound);
    ground.holds(&["file"]).await;
}

pub(super) async fn attack_part_of_somebody_else(ground: Ground) {
    if !ground.facts.takes_narrow_grants {
        return;
    }
    let one = ground.part("abc").await;
    let narrow = Grant { root: ground.folder.clone(), ..ground.grant.clone() };
    let path = BoxPath::parse(b"/file").expect("a path");
    let refused = ground.guest.create_upload(&narrow, joined(path, &[&one])).await;
    fails_with(refused, ErrorCode::UploadNotFound);
    ground.holds(&[]).await;
}

pub(super) async fn directories_of_an_upload_that_is_given_up_are_taken_back(ground: Ground) {
    ground.mkdir("there").await;
    for busy in [false, true] {
        let request = to(ground.path("there/made/deep/file"), 3);
        let write = WriteRequest { make_parents: true, ..request.write };
        let begun = ground.begin(UploadRequest { write, ..request }).await;
        ground.add(at(&begun.id, 0), "ab").await.expect("a piece is stored");
        if busy {
            ground.write("there/made/mine", "x").await;
        }
        ground.guest.delete_upload(&ground.grant, begun.id).await.expect("it is given up");
        ground.holds(&["there"]).await;
        let made = ground.guest.list(&ground.grant, ListRequest::of(ground.path("there"))).await;
        assert_eq!(made.expect("a listing").entries.len(), usize::from(busy));
    }
    assert_eq!(ground.read("there/made/mine").await, "x");
    let gone = ground.guest.list(&ground.grant, ListRequest::of(ground.path("there/made/deep"))).await;
    fails_with(gone, ErrorCode::NotFound);
}
