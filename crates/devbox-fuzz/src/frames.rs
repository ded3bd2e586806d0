//! Streams of processes.

use bytes::Bytes;
use devbox_guest::BodyError;
use devbox_guest::wire::frame::{Frame, FrameReader, FrameWriter, MAX_PAYLOAD};
use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};

/// Reads frames from bytes that come in pieces. A stretch of a byte stream may come in several frames, so those that follow each
/// other are joined.
fn read(bytes: &[u8], piece: usize) -> (Vec<Frame>, bool) {
    let chunks: Vec<Result<Bytes, BodyError>> =
        bytes.chunks(piece.max(1)).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let reading = FrameReader::new(stream::iter(chunks)).collect::<Vec<_>>();
    let mut frames: Vec<Frame> = Vec::new();
    let mut whole = true;
    for frame in reading.now_or_never().expect("all pieces are there") {
        match frame {
            Ok(frame) => {
                assert!(frame.payload.len() <= MAX_PAYLOAD);
                frames.push(frame);
            }
            Err(_) => whole = false,
        }
    }
    (frames, whole)
}

/// The bytes of each stream and the control frames, in order, whatever the streams were cut into.
fn meaning(frames: &[Frame]) -> Vec<(String, Vec<u8>)> {
    let mut meaning: Vec<(String, Vec<u8>)> = Vec::new();
    for Frame { kind, payload } in frames {
        let name = format!("{kind:?}");
        let streams = matches!(&*name, "Stdin" | "Stdout" | "Stderr");
        match meaning.last_mut() {
            Some((last, bytes)) if streams && *last == name => bytes.extend_from_slice(payload),
            _ => meaning.push((name, payload.to_vec())),
        }
    }
    meaning.retain(|(name, bytes)| !bytes.is_empty() || !name.starts_with("Std"));
    meaning
}

/// Reads frames, cut into pieces in several ways, and writes them again.
///
/// # Panics
/// If it matters how they were cut, or they are not read again as they are written.
pub fn frames(data: &[u8]) {
    let (frames, whole) = read(data, usize::MAX);
    for piece in [1, 3, 64] {
        let (cut, cut_whole) = read(data, piece);
        assert_eq!(cut_whole, whole, "cut into {piece}");
        if whole {
            assert_eq!(meaning(&cut), meaning(&frames), "cut into {piece}");
        }
    }
    for frame in &frames {
        let _ = frame.clone().into_request();
        let _ = frame.clone().into_event();
        if let Ok(input) = frame.clone().into_input() {
            assert_eq!(Frame::of_input(input), *frame);
        }
    }
    let writing = FrameWriter::new(stream::iter(frames.clone())).map(|chunk| chunk.expect("a chunk"));
    let written = writing.collect::<Vec<_>>().now_or_never().expect("no waiting").concat();
    let (again, complete) = read(&written, usize::MAX);
    assert!(complete);
    assert_eq!(meaning(&again), meaning(&frames));
}

/// One of each kind.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let frame = |kind: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len()).expect("small");
        [&[kind][..], &length.to_be_bytes(), payload].concat()
    };
    vec![
        [frame(1, br#"{"argv":["sh"]}"#), frame(2, b"input"), frame(4, &[9]), frame(3, b"")].concat(),
        [frame(0x11, br#"{"id":"p_1","pid":7}"#), frame(0x12, b"out"), frame(0x13, b""), frame(0x14, b"{}")]
            .concat(),
        vec![0x12, 0, 0x10, 0, 1],
    ]
}
