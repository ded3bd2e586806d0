//! The parts of a batch.

use arbitrary::Unstructured;
use bytes::Bytes;
use devbox_guest::Body;
use devbox_types::{BoxPath, ErrorCode};
use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};

use crate::MAX_GATHERED;

const BOUNDARY: &str = "xYzZY";
const CONTENT_TYPE: &str = "multipart/form-data; boundary=xYzZY";

/// What a body was read as: its parts, and how it ended.
type Read = (Vec<(BoxPath, Vec<u8>)>, Option<ErrorCode>);

/// Reads a body that comes in pieces of these lengths, over and over.
fn read(content_type: &str, body: &[u8], lengths: &[usize]) -> Option<Read> {
    let mut rest = body;
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*length).clamp(1, rest.len()));
        pieces.push(Ok(Bytes::copy_from_slice(piece)));
        rest = behind;
    }
    let mut parts =
        devbox_router::fuzzing::parts(content_type, Body::from_stream(stream::iter(pieces), None))?;
    let reading = async move {
        let mut found = Vec::new();
        while let Some(part) = parts.next().await {
            let part = match part {
                Ok(part) => part,
                Err(problem) => return (found, Some(problem.code)),
            };
            let path = part.request.path;
            match part.body.collect(MAX_GATHERED).await {
                Ok(content) => found.push((path, content.to_vec())),
                Err(error) => return (found, Some(error.to_problem().code)),
            }
        }
        (found, None)
    };
    Some(reading.now_or_never().expect("all pieces are there"))
}

/// Reads a body, cut into pieces in several ways.
///
/// # Panics
/// If it matters how it was cut, or more content comes out than went in.
pub fn cut_anywhere(data: &[u8]) {
    let whole = read(CONTENT_TYPE, data, &[usize::MAX]).expect("a content type");
    let length: usize = whole.0.iter().map(|(_, content)| content.len()).sum();
    assert!(length <= data.len(), "{length} bytes of {}", data.len());
    for lengths in [&[1][..], &[2, 3, 1], &[7, 1, 64], &[4096]] {
        let cut = read(CONTENT_TYPE, data, lengths).expect("a content type");
        assert_eq!(cut, whole, "cut into {lengths:?}");
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = read(text, b"--x--", &[1]);
    }
}

/// Writes parts, and reads them.
///
/// # Panics
/// If they do not come back as they went in.
pub fn round_trip(data: &[u8]) {
    let mut source = Unstructured::new(data);
    let Ok((parts, lengths)) = parts(&mut source) else { return };
    let mut body = Vec::new();
    for (path, content) in &parts {
        let head =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n", path.to_target());
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    assert_eq!(read(CONTENT_TYPE, &body, &lengths), Some((parts, None)));
}

#[expect(clippy::type_complexity, reason = "the parts, and the lengths of pieces")]
fn parts(source: &mut Unstructured<'_>) -> arbitrary::Result<(Vec<(BoxPath, Vec<u8>)>, Vec<usize>)> {
    let delimiter = format!("\r\n--{BOUNDARY}");
    let mut parts = Vec::new();
    for _ in 0..source.int_in_range(0..=5)? {
        let length = source.int_in_range(1..=300)?;
        let path = BoxPath::parse(source.bytes(length.min(source.len()))?);
        let mut content = Vec::new();
        for _ in 0..source.int_in_range(0..=6)? {
            let piece = source.int_in_range(0..=delimiter.len())?;
            content.extend_from_slice(&delimiter.as_bytes()[..piece]);
            let more = source.int_in_range(0..=40)?;
            content.extend_from_slice(source.bytes(more.min(source.len()))?);
        }
        let whole = [b"\r\n", &content[..]].concat();
        let has_delimiter = whole.windows(delimiter.len()).any(|window| window == delimiter.as_bytes());
        if let (Ok(path), false) = (path, has_delimiter) {
            parts.push((path, content));
        }
    }
    let mut lengths = vec![1];
    for _ in 0..source.int_in_range(0..=4)? {
        lengths.push(source.int_in_range(1..=100)?);
    }
    Ok((parts, lengths))
}

/// Bodies as they should be, and almost.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let part = |head: &str, content: &str| format!("--{BOUNDARY}\r\n{head}\r\n\r\n{content}\r\n");
    let named = |name: &str| format!("content-disposition: form-data; name=\"{name}\"");
    let end = format!("--{BOUNDARY}--\r\n");
    let extra = format!(
        "{}\r\ndevbox-mode: 0755\r\ndevbox-parents: true\r\nif-none-match: *\r\ncontent-length: 1",
        named("/a%20b")
    );
    [
        end.clone(),
        part(&named("/a"), "content") + &end,
        part(&named("a/b"), "") + &part(&extra, "x") + &end,
        format!("preamble\r\n{}", part(&named("c\\\"d"), "\r\n--xYzZ\r\n--xYz")) + &end + "epilogue",
    ]
    .map(String::into_bytes)
    .to_vec()
}
