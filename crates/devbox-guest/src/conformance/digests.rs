//! Digests, of what is written and of what is read.

use bytes::Bytes;
use devbox_types::file::{ByteRange, ReadRequest, WriteRequest};
use devbox_types::{Algorithms, DigestAlgorithm, DigestHasher, Digests, ErrorCode};

use super::ground::{Ground, chunked, fails_with, noise};
use crate::body::Body;

fn digests(algorithms: &[DigestAlgorithm], content: &[u8]) -> Digests {
    let wanted = algorithms.iter().fold(Algorithms::default(), |all, one| all.with(*one));
    DigestHasher::digest(wanted, content)
}

pub(super) async fn right_digests_are_accepted(ground: Ground) {
    let content = noise(200_000);
    for (number, algorithm) in DigestAlgorithm::ALL.into_iter().enumerate() {
        let name = number.to_string();
        let request =
            WriteRequest { digests: digests(&[algorithm], &content), ..WriteRequest::to(ground.path(&name)) };
        ground.try_write(request, chunked(&content, 7_000, false)).await.expect("a file is written");
        assert_eq!(ground.read(&name).await, content, "{algorithm:?}");
    }
    let request = WriteRequest {
        digests: digests(&DigestAlgorithm::ALL, b"abc"),
        ..WriteRequest::to(ground.path("all"))
    };
    ground.try_write(request, Body::from_bytes("abc")).await.expect("a file is written");
}

pub(super) async fn each_wrong_digest_leaves_the_old_file(ground: Ground) {
    ground.write("file", "old").await;
    let all = digests(&DigestAlgorithm::ALL, b"abc");
    let wrong = [
        Digests { sha256: Some([0; 32]), ..all },
        Digests { sha512: Some([0; 64]), ..all },
        Digests { md5: Some([0; 16]), ..all },
    ];
    let alone = DigestAlgorithm::ALL.map(|algorithm| digests(&[algorithm], b"abd"));
    for digests in wrong.into_iter().chain(alone) {
        for (name, body) in [("file", Body::from_bytes("abc")), ("new", chunked(b"abc", 1, false))] {
            let request = WriteRequest { digests, ..WriteRequest::to(ground.path(name)) };
            fails_with(ground.try_write(request, body).await, ErrorCode::DigestMismatch);
        }
    }
    assert_eq!(ground.read("file").await, "old");
    ground.holds(&["file"]).await;
}

pub(super) async fn a_read_tells_the_digest_of_the_whole(ground: Ground) {
    for content in [Bytes::new(), Bytes::from("abc"), Bytes::from(noise(300_000))] {
        ground.write("file", content.clone()).await;
        for algorithm in DigestAlgorithm::ALL {
            let whole =
                ReadRequest { want_digest: Some(algorithm), ..ReadRequest::whole(ground.path("file")) };
            let last = ReadRequest { range: ByteRange::Suffix { length: 2 }, ..whole.clone() };
            let head = ReadRequest { head: true, ..whole.clone() };
            let requests = if content.is_empty() { vec![whole, head] } else { vec![whole, last, head] };
            for request in requests {
                let (range, is_head) = (request.range, request.head);
                let read = ground.guest.read(&ground.grant, request).await.expect("a file is read");
                assert_eq!(read.head.digests, digests(&[algorithm], &content), "{algorithm:?} {range:?}");
                let length = read.head.length;
                let bytes = read.body.collect(1 << 20).await.expect("its bytes");
                let all_came = u64::try_from(bytes.len()) == Ok(length);
                assert!(all_came || is_head, "the content comes beside its digest");
            }
        }
    }
    let unasked = ReadRequest::whole(ground.path("file"));
    let read = ground.guest.read(&ground.grant, unasked).await.expect("a file is read");
    assert!(read.head.digests.is_empty(), "nobody asked for a digest");
}
