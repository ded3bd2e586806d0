use std::io::Write as _;

use bytes::Bytes;
use devbox_types::{Algorithms, DigestHasher, ErrorCode, Problem};
use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use proptest::prelude::*;

use super::*;

fn in_chunks(bytes: &[u8], size: usize) -> Body {
    let chunks: Vec<_> = bytes.chunks(size).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    Body::from_stream(stream::iter(chunks), None)
}

fn all_of(body: Body) -> Result<Vec<u8>, Problem> {
    let read = body.collect(64 << 20).now_or_never().expect("no waiting");
    read.map(|bytes| bytes.to_vec()).map_err(Problem::from)
}

fn encoded(coding: ContentCoding, content: &[u8]) -> Vec<u8> {
    all_of(coding.encode(in_chunks(content, 10_000))).expect("it is encoded")
}

fn decoded(coding: ContentCoding, coded: &[u8], size: usize) -> Result<Vec<u8>, Problem> {
    all_of(coding.decode(in_chunks(coded, size), Digests::default()))
}

/// Some that compress well, some that do not.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        (any::<u8>(), 1_usize..300_000).prop_map(|(byte, length)| vec![byte; length]),
        proptest::collection::vec(any::<u8>(), 0..3_000),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn contents_come_back_however_they_are_cut(
        content in content(),
        cut in 1_usize..5_000,
        other in 1_usize..100_000,
    ) {
        for coding in ContentCoding::ALL {
            let coded = all_of(coding.encode(in_chunks(&content, other)))?;
            prop_assert_eq!(decoded(coding, &coded, cut)?, content.clone());
        }
    }

    #[test]
    fn a_changed_content_is_an_error_or_the_same(
        content in content(),
        place in any::<prop::sample::Index>(),
        bit in 0_u32..8,
    ) {
        for coding in ContentCoding::ALL {
            let mut coded = encoded(coding, &content);
            let place = place.index(coded.len());
            coded[place] ^= 1 << bit;
            // Some bits mean nothing, such as the time in a gzip's head.
            if let Ok(found) = decoded(coding, &coded, 1_000) {
                prop_assert_eq!(&found, &content);
            }
        }
    }

    #[test]
    fn a_truncated_content_is_an_error(content in content(), place in any::<prop::sample::Index>()) {
        for coding in ContentCoding::ALL {
            let coded = encoded(coding, &content);
            let cut = decoded(coding, &coded[..place.index(coded.len())], 777);
            prop_assert_eq!(cut.map_err(|problem| problem.code), Err(ErrorCode::InvalidRequest));
        }
    }
}

#[test]
fn what_follows_the_end_is_an_error_unless_it_is_more_of_the_same() {
    for coding in ContentCoding::ALL {
        let coded = encoded(coding, b"first ");
        for rubbish in [&b"x"[..], &[0; 20], b"rubbish that is longer than a head"] {
            let found = decoded(coding, &[&coded[..], rubbish].concat(), 9);
            assert_eq!(found.map_err(|problem| problem.code), Err(ErrorCode::InvalidRequest), "{coding:?}");
        }
        let two = [coded, encoded(coding, b"second")].concat();
        assert_eq!(decoded(coding, &two, 9).as_deref(), Ok(&b"first second"[..]), "{coding:?}");
    }
}

#[test]
fn the_coded_bytes_must_have_their_digest() {
    for coding in ContentCoding::ALL {
        let coded = encoded(coding, b"content");
        let right = DigestHasher::digest(Algorithms::SHA_256, &coded);
        let read = |sent| all_of(coding.decode(in_chunks(&coded, 3), sent));
        assert_eq!(read(right).as_deref(), Ok(&b"content"[..]));
        let wrong = DigestHasher::digest(Algorithms::SHA_256, b"content");
        assert_eq!(read(wrong).map_err(|problem| problem.code), Err(ErrorCode::DigestMismatch));
    }
}

#[test]
fn a_bomb_comes_out_in_small_pieces() {
    for coding in ContentCoding::ALL {
        let bomb = encoded(coding, &vec![0; 32 << 20]);
        assert!(bomb.len() < 512 << 10, "{}", bomb.len());
        // All of it at once, and still nothing comes out faster than it is asked for.
        let mut pieces = coding.decode(Body::from_bytes(bomb), Digests::default());
        let mut all = 0;
        while let Some(piece) = pieces.next().now_or_never().expect("no waiting") {
            let length = piece.expect("a piece").len();
            assert!(length <= 512 << 10, "{length}");
            all += length;
        }
        assert_eq!(all, 32 << 20);
    }
}

#[test]
fn large_windows_are_refused() {
    let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.set_parameter(::zstd::stream::raw::CParameter::WindowLog(24)).expect("a window");
    encoder.write_all(&vec![7; 1 << 20]).expect("written");
    let coded = encoder.finish().expect("coded");
    let refused = decoded(ContentCoding::Zstd, &coded, 1 << 16).expect_err("its window is large");
    assert_eq!(refused.code, ErrorCode::InvalidRequest);
    assert!(refused.hint.is_some_and(|hint| hint.contains("8 MiB")));
}
