use devbox_types::BoxPath;
use futures_util::FutureExt as _;
use futures_util::stream;
use proptest::prelude::*;

use super::*;

/// Parses a batch whose bytes come in pieces of this size.
fn parse(bytes: &[u8], piece: usize) -> Result<Vec<(BoxPath, Bytes)>, Problem> {
    let chunks: Vec<_> = bytes.chunks(piece).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let body = Body::from_stream(stream::iter(chunks), None);
    let boundary = Boundary::of("multipart/form-data; boundary=\"B\"").expect("a boundary");
    let read = async {
        let mut parts = parts(body, &boundary, Defaults(WriteRequest::to(BoxPath::root())));
        let mut found = Vec::new();
        while let Some(part) = parts.next().await.transpose()? {
            found.push((part.request.path, part.body.collect(1 << 20).await?));
        }
        Ok(found)
    };
    read.now_or_never().expect("no waiting")
}

/// Contents made of what boundaries are made of, so that they come near to one.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'B'), any::<u8>()];
    proptest::collection::vec(byte, 0..60)
        .prop_filter("no boundary is in it", |bytes| memchr::memmem::find(bytes, b"--B").is_none())
}

proptest! {
    #[test]
    fn contents_survive_any_cut(contents in proptest::collection::vec(content(), 0..5), piece in 1_usize..20) {
        let mut bytes = Vec::new();
        for (number, content) in contents.iter().enumerate() {
            let head = format!("--B\r\ncontent-disposition: form-data; name=\"/{number}\"\r\n\r\n");
            bytes.extend([head.as_bytes(), content, b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"--B--\r\n");
        let found = parse(&bytes, piece).expect("a batch");
        let found: Vec<_> = found.into_iter().map(|(_, content)| content.to_vec()).collect();
        prop_assert_eq!(found, contents);
    }

    #[test]
    fn any_bytes_are_a_batch_or_an_error(bytes in content(), piece in 1_usize..20) {
        let _ = parse(&[b"--B\r\n", &bytes[..]].concat(), piece);
    }
}

#[test]
fn a_stale_part_never_reads_the_bytes_of_the_next() {
    let chunk = "--B\r\ncontent-disposition: form-data; name=a\r\n\r\nold";
    let rest = "\r\n--B\r\ncontent-disposition: form-data; name=b\r\n\r\nnew\r\n--B--";
    let chunks = [chunk, rest].map(|text| Ok(Bytes::from_static(text.as_bytes())));
    let body = Body::from_stream(stream::iter(chunks), None);
    let boundary = Boundary::of("multipart/form-data; boundary=B").expect("a boundary");
    let mut parts = parts(body, &boundary, Defaults(WriteRequest::to(BoxPath::root())));
    let mut next = || parts.next().now_or_never().flatten().expect("a part").expect("no problem");
    let stale = next();
    let current = next();
    assert!(stale.body.collect(100).now_or_never().expect("no waiting").is_err());
    assert_eq!(current.body.collect(100).now_or_never().expect("no waiting").expect("content"), "new");
}

/// Content that was there at once was `interrupted` where it was longer than announced, which is for what is shorter.
#[test]
fn it_does_not_matter_how_a_part_of_a_wrong_length_is_cut() {
    for (content, code) in [("xyz", ErrorCode::InvalidRequest), ("", ErrorCode::Interrupted)] {
        let head = "content-disposition: form-data; name=a\r\ncontent-length: 1";
        let bytes = format!("--B\r\n{head}\r\n\r\n{content}\r\n--B--\r\n");
        for piece in [1, 3, 1000] {
            assert_eq!(
                parse(bytes.as_bytes(), piece).expect_err("a problem").code,
                code,
                "{content} by {piece}"
            );
        }
    }
}
