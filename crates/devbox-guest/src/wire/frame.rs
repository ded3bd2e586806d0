//! Frames of a process stream: one byte of type, four of length (big-endian), the payload.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use devbox_types::process::{ExitStatus, ProcessEvent, ProcessInput, ProcessRequest};
use devbox_types::{Coded, ErrorCode, Problem, ProcessId};
use futures_util::Stream;
use futures_util::stream::StreamExt as _;
use serde::{Deserialize, Serialize};

use crate::body::BodyError;

/// The longest payload: a control frame is gathered in memory, so its length bounds what a peer can make us keep.
pub const MAX_PAYLOAD: usize = 1 << 20;

const HEAD: usize = 5;
/// Payloads up to this length are copied behind their head: two small buffers cost more than one copy.
const COPIED: usize = 4096;

/// The types of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Client to agent, first: the [`ProcessRequest`] as JSON.
    Request,
    /// Client to agent: bytes of standard input.
    Stdin,
    /// Client to agent: the end of standard input.
    EndOfStdin,
    /// Client to agent: one byte, the number of a signal.
    Signal,
    /// Agent to client, first: `{"id":…,"pid":…}`.
    Started,
    /// Agent to client: bytes of standard output.
    Stdout,
    /// Agent to client: bytes of standard error.
    Stderr,
    /// Agent to client, last: the [`ExitStatus`] as JSON.
    Exited,
    /// Agent to client, last: the [`Problem`] that ended the stream, as JSON.
    Problem,
}

impl FrameKind {
    const ALL: [(u8, Self); 9] = [
        (0x01, Self::Request),
        (0x02, Self::Stdin),
        (0x03, Self::EndOfStdin),
        (0x04, Self::Signal),
        (0x11, Self::Started),
        (0x12, Self::Stdout),
        (0x13, Self::Stderr),
        (0x14, Self::Exited),
        (0x1f, Self::Problem),
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.iter().find(|(code, _)| *code == byte).map(|(_, kind)| *kind)
    }

    fn byte(self) -> u8 {
        match self {
            Self::Request => 0x01,
            Self::Stdin => 0x02,
            Self::EndOfStdin => 0x03,
            Self::Signal => 0x04,
            Self::Started => 0x11,
            Self::Stdout => 0x12,
            Self::Stderr => 0x13,
            Self::Exited => 0x14,
            Self::Problem => 0x1f,
        }
    }

    /// Whether the payload is a stretch of a byte stream, which may be handed on in pieces.
    fn is_stream(self) -> bool {
        matches!(self, Self::Stdin | Self::Stdout | Self::Stderr)
    }
}

/// Why bytes are no frames.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// There is no such type.
    #[error("there is no frame type {byte:#04x}")]
    UnknownKind {
        /// What stands in its place.
        byte: u8,
    },
    /// It says that it is longer than [`MAX_PAYLOAD`].
    #[error("a frame of {length} bytes is longer than {MAX_PAYLOAD}")]
    TooLong {
        /// What it says.
        length: u32,
    },
    /// A frame that may not come here.
    #[error("a {kind:?} frame may not come here")]
    OutOfPlace {
        /// Its type.
        kind: FrameKind,
    },
    /// The payload is not what its type demands.
    #[error("the payload of a {kind:?} frame is malformed")]
    BadPayload {
        /// Its type.
        kind: FrameKind,
    },
    /// The stream ended within a frame.
    #[error("the stream ended within a frame")]
    CutOff,
}

impl Coded for FrameError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownKind { .. }
            | Self::TooLong { .. }
            | Self::OutOfPlace { .. }
            | Self::BadPayload { .. } => ErrorCode::InvalidRequest,
            Self::CutOff => ErrorCode::Interrupted,
        }
    }
}

/// One frame; of a long stretch of a byte stream, one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: FrameKind,
    /// Its payload.
    pub payload: Bytes,
}

impl Frame {
    fn json(kind: FrameKind, value: &impl Serialize) -> Self {
        // The values of this protocol have string keys only and no floats: they always have a JSON form.
        Self { kind, payload: serde_json::to_vec(value).unwrap_or_default().into() }
    }

    fn parse_json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, FrameError> {
        serde_json::from_slice(&self.payload).map_err(|_| FrameError::BadPayload { kind: self.kind })
    }

    /// The first frame of a request.
    #[must_use]
    pub fn of_request(request: &ProcessRequest) -> Self {
        Self::json(FrameKind::Request, request)
    }

    /// The request that a first frame is.
    ///
    /// # Errors
    /// If it is another frame, or its payload no request.
    pub fn into_request(self) -> Result<ProcessRequest, Problem> {
        if self.kind != FrameKind::Request {
            return Err(Problem::of(&FrameError::OutOfPlace { kind: self.kind }));
        }
        let invalid =
            |error| Problem::new(ErrorCode::InvalidRequest, format!("the process request: {error}"));
        serde_json::from_slice(&self.payload).map_err(invalid)
    }

    /// The frame of an input.
    #[must_use]
    pub fn of_input(input: ProcessInput<Bytes>) -> Self {
        match input {
            ProcessInput::Stdin(payload) => Self { kind: FrameKind::Stdin, payload },
            ProcessInput::EndOfStdin => Self { kind: FrameKind::EndOfStdin, payload: Bytes::new() },
            ProcessInput::Signal(signal) => {
                Self { kind: FrameKind::Signal, payload: Bytes::copy_from_slice(&[signal]) }
            }
        }
    }

    /// The input that a frame of a client is.
    ///
    /// # Errors
    /// [`FrameError`] if it is none.
    pub fn into_input(self) -> Result<ProcessInput<Bytes>, FrameError> {
        match (self.kind, &self.payload[..]) {
            (FrameKind::Stdin, _) => Ok(ProcessInput::Stdin(self.payload)),
            (FrameKind::EndOfStdin, []) => Ok(ProcessInput::EndOfStdin),
            (FrameKind::Signal, [signal @ 1..=64]) => Ok(ProcessInput::Signal(*signal)),
            (FrameKind::EndOfStdin | FrameKind::Signal, _) => Err(FrameError::BadPayload { kind: self.kind }),
            (kind, _) => Err(FrameError::OutOfPlace { kind }),
        }
    }

    /// The frame of an event, or of the problem that ends a stream of them.
    #[must_use]
    pub fn of_event(event: Result<ProcessEvent<Bytes>, Problem>) -> Self {
        match event {
            Ok(ProcessEvent::Started { id, pid }) => Self::json(FrameKind::Started, &Started { id, pid }),
            Ok(ProcessEvent::Stdout(payload)) => Self { kind: FrameKind::Stdout, payload },
            Ok(ProcessEvent::Stderr(payload)) => Self { kind: FrameKind::Stderr, payload },
            Ok(ProcessEvent::Exited(status)) => Self::json(FrameKind::Exited, &status),
            Err(problem) => Self::json(FrameKind::Problem, &problem),
        }
    }

    /// The event that a frame of an agent is.
    ///
    /// # Errors
    /// The problem that it carries, or that it is no event.
    pub fn into_event(self) -> Result<ProcessEvent<Bytes>, Problem> {
        let bad = |error: FrameError| Problem::new(ErrorCode::BadAgentAnswer, error.to_string());
        match self.kind {
            FrameKind::Started => {
                let Started { id, pid } = self.parse_json().map_err(bad)?;
                Ok(ProcessEvent::Started { id, pid })
            }
            FrameKind::Stdout => Ok(ProcessEvent::Stdout(self.payload)),
            FrameKind::Stderr => Ok(ProcessEvent::Stderr(self.payload)),
            FrameKind::Exited => self.parse_json::<ExitStatus>().map(ProcessEvent::Exited).map_err(bad),
            FrameKind::Problem => Err(self.parse_json::<Problem>().unwrap_or_else(bad)),
            kind => Err(bad(FrameError::OutOfPlace { kind })),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Started {
    id: ProcessId,
    pid: u32,
}

/// Cuts chunks into frames. Stretches of byte streams are handed on as they come, without a copy; only control frames
/// are gathered.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    chunk: Bytes,
    head: BytesMut,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    kind: FrameKind,
    left: usize,
    gathered: BytesMut,
}

impl FrameDecoder {
    /// Takes the next chunk. Only once [`Self::decode`] has said that it needs one.
    pub fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "the chunk before has not been used up");
        self.chunk = chunk;
    }

    /// The next frame; `None`: another chunk is needed.
    ///
    /// # Errors
    /// [`FrameError`] if the bytes are no frames. The decoder is of no use after that.
    pub fn decode(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.current.is_none() {
            let missing = (HEAD - self.head.len()).min(self.chunk.len());
            self.head.extend_from_slice(&self.chunk.split_to(missing));
            if self.head.len() < HEAD {
                return Ok(None);
            }
            self.current = Some(begin(&mut self.head)?);
        }
        let Some(mut current) = self.current.take() else { return Ok(None) };
        let piece = self.chunk.split_to(current.left.min(self.chunk.len()));
        current.left -= piece.len();
        let kind = current.kind;
        if kind.is_stream() || (current.left == 0 && current.gathered.is_empty()) {
            let ended = current.left == 0;
            if !ended {
                self.current = Some(current);
            }
            let worth = ended || !piece.is_empty();
            return Ok(worth.then_some(Frame { kind, payload: piece }));
        }
        current.gathered.extend_from_slice(&piece);
        if current.left > 0 {
            self.current = Some(current);
            return Ok(None);
        }
        Ok(Some(Frame { kind, payload: current.gathered.freeze() }))
    }

    /// Whether the stream may end here: not within a frame.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.current.is_none() && self.head.is_empty() && self.chunk.is_empty()
    }
}

fn begin(head: &mut BytesMut) -> Result<Current, FrameError> {
    let byte = head.get_u8();
    let length = head.get_u32();
    let kind = FrameKind::from_byte(byte).ok_or(FrameError::UnknownKind { byte })?;
    let left = usize::try_from(length).ok().filter(|left| *left <= MAX_PAYLOAD);
    let left = left.ok_or(FrameError::TooLong { length })?;
    Ok(Current { kind, left, gathered: BytesMut::new() })
}

/// Why a stream of frames ended early.
#[derive(Debug, thiserror::Error)]
pub enum FrameStreamError {
    /// The bytes are no frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The bytes ended early.
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl Coded for FrameStreamError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Frame(error) => error.code(),
            Self::Body(error) => error.code(),
        }
    }
}

/// The frames in a stream of chunks. Ends after the first error.
#[derive(Debug)]
pub struct FrameReader<S> {
    chunks: S,
    decoder: FrameDecoder,
    ended: bool,
}

impl<S> FrameReader<S> {
    /// Reads frames from these chunks.
    pub fn new(chunks: S) -> Self {
        Self { chunks, decoder: FrameDecoder::default(), ended: false }
    }
}

impl<S: Stream<Item = Result<Bytes, BodyError>> + Unpin> Stream for FrameReader<S> {
    type Item = Result<Frame, FrameStreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.ended {
            let failed: FrameStreamError = match self.decoder.decode() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Err(error) => error.into(),
                Ok(None) => match std::task::ready!(self.chunks.poll_next_unpin(context)) {
                    Some(Ok(chunk)) => {
                        self.decoder.push(chunk);
                        continue;
                    }
                    Some(Err(error)) => error.into(),
                    None if self.decoder.is_between_frames() => break,
                    None => FrameError::CutOff.into(),
                },
            };
            self.ended = true;
            return Poll::Ready(Some(Err(failed)));
        }
        self.ended = true;
        Poll::Ready(None)
    }
}

/// Turns frames into chunks: short ones are one chunk each, of long ones the payload is a chunk of its own, not copied.
/// A stretch of a byte stream longer than [`MAX_PAYLOAD`] becomes several frames.
#[derive(Debug)]
pub struct FrameWriter<S> {
    frames: S,
    payload: Bytes,
    rest: Option<Frame>,
}

impl<S> FrameWriter<S> {
    /// Writes these frames.
    pub fn new(frames: S) -> Self {
        Self { frames, payload: Bytes::new(), rest: None }
    }

    /// Keeps what does not fit into one frame or one chunk, and answers what comes first.
    fn begin(&mut self, Frame { kind, mut payload }: Frame) -> Bytes {
        if payload.len() > MAX_PAYLOAD && kind.is_stream() {
            self.rest = Some(Frame { kind, payload: payload.split_off(MAX_PAYLOAD) });
        }
        let mut chunk =
            BytesMut::with_capacity(HEAD + if payload.len() <= COPIED { payload.len() } else { 0 });
        chunk.put_u8(kind.byte());
        chunk.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        if payload.len() <= COPIED {
            chunk.extend_from_slice(&payload);
            payload.clear();
        }
        self.payload = payload;
        chunk.freeze()
    }
}

impl<S: Stream<Item = Frame> + Unpin> Stream for FrameWriter<S> {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.payload.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.payload))));
        }
        let frame = match self.rest.take() {
            Some(rest) => Some(rest),
            None => std::task::ready!(self.frames.poll_next_unpin(context)),
        };
        Poll::Ready(frame.map(|frame| Ok(self.begin(frame))))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    fn written(frames: Vec<Frame>) -> Vec<u8> {
        let chunks = FrameWriter::new(stream::iter(frames)).map(|chunk| chunk.expect("a chunk"));
        futures_util::FutureExt::now_or_never(chunks.collect::<Vec<_>>()).expect("no waiting").concat()
    }

    /// Reads frames from bytes cut into pieces, and joins stretches of the same byte stream.
    fn read(bytes: &[u8], piece: usize) -> Result<Vec<Frame>, FrameStreamError> {
        let chunks: Vec<_> = bytes.chunks(piece).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        let frames = FrameReader::new(stream::iter(chunks)).collect::<Vec<_>>();
        let mut joined: Vec<Frame> = Vec::new();
        for frame in futures_util::FutureExt::now_or_never(frames).expect("no waiting") {
            let frame = frame?;
            match joined.last_mut() {
                Some(last) if last.kind == frame.kind && frame.kind.is_stream() => {
                    last.payload = [&last.payload[..], &frame.payload[..]].concat().into();
                }
                _ => joined.push(frame),
            }
        }
        Ok(joined)
    }

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let frame = (0_usize..FrameKind::ALL.len(), proptest::collection::vec(any::<u8>(), 0..40));
        proptest::collection::vec(frame, 0..8).prop_map(|frames| {
            let mut all: Vec<Frame> = Vec::new();
            for (place, payload) in frames {
                let kind = FrameKind::ALL[place].1;
                match all.last_mut() {
                    Some(last) if last.kind == kind && kind.is_stream() => {}
                    _ => all.push(Frame { kind, payload: payload.into() }),
                }
            }
            all
        })
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(frames in frames(), piece in 1_usize..20) {
            prop_assert_eq!(read(&written(frames.clone()), piece).expect("frames"), frames);
        }

        #[test]
        fn any_bytes_are_frames_or_an_error(bytes: Vec<u8>, piece in 1_usize..20) {
            let _ = read(&bytes, piece);
        }
    }

    #[test]
    fn a_long_stretch_becomes_several_frames() {
        let payload = Bytes::from(vec![7; MAX_PAYLOAD + 5]);
        let bytes = written(vec![Frame { kind: FrameKind::Stdout, payload: payload.clone() }]);
        assert_eq!(bytes.len(), payload.len() + 2 * HEAD);
        assert_eq!(read(&bytes, 70_000).expect("frames"), [Frame { kind: FrameKind::Stdout, payload }]);
    }

    #[test]
    fn a_lie_about_the_length_is_refused_at_once() {
        assert!(matches!(
            read(&[0x12, 0, 0x10, 0, 1], 5),
            Err(FrameStreamError::Frame(FrameError::TooLong { .. }))
        ));
        assert!(matches!(read(&[0x12, 0, 0, 0, 9, 1], 6), Err(FrameStreamError::Frame(FrameError::CutOff))));
        assert!(matches!(
            read(&[0x99, 0, 0, 0, 0], 5),
            Err(FrameStreamError::Frame(FrameError::UnknownKind { byte: 0x99 }))
        ));
    }

    #[test]
    fn only_real_signals_and_inputs_are_taken() {
        let signal =
            |payload: &'static [u8]| Frame { kind: FrameKind::Signal, payload: Bytes::from_static(payload) };
        assert_eq!(signal(&[9]).into_input().expect("a signal"), ProcessInput::Signal(9));
        for bad in [&[][..], &[0], &[65], &[9, 9]] {
            assert!(signal(bad).into_input().is_err(), "{bad:?}");
        }
        assert!(Frame::of_event(Ok(ProcessEvent::Stdout(Bytes::new()))).into_input().is_err());
    }
}
