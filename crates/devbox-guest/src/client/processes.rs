//! Processes over HTTP.

use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use devbox_types::process::{
    ProcessEvent, ProcessInput, ProcessList, ProcessRequest, ProcessSummary, SignalRequest, StdinSource,
};
use devbox_types::{ErrorCode, Grant, Problem, ProcessId};
use futures_util::Stream;
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderValue, Method, StatusCode, header};

use super::answer::{self, nonsense};
use super::guest::{GrantMode, GuestClient};
use crate::body::Body;
use crate::contract::{EventStream, InputStream, Processes};
use crate::wire;
use crate::wire::frame::{Frame, FrameReader, FrameStreamError, FrameWriter, MAX_PAYLOAD};

#[async_trait]
impl Processes for GuestClient {
    async fn run(
        &self,
        grant: &Grant,
        mut request: ProcessRequest,
        input: InputStream,
    ) -> Result<EventStream, Problem> {
        let input = with_long_text(&mut request, input);
        let first = Frame::of_request(&request);
        if first.payload.len() > MAX_PAYLOAD {
            let detail = format!("arguments and environment take more than {MAX_PAYLOAD} bytes");
            return Err(Problem::new(ErrorCode::TooLarge, detail)
                .with_hint("pass large data through standard input or a file"));
        }
        let frames = stream::once(std::future::ready(first)).chain(input.map(Frame::of_input));
        let body = Body::from_stream(FrameWriter::new(frames), None);
        let mut call = self.call(grant, Method::POST, self.target("/processes", None), body)?;
        call.header(header::CONTENT_TYPE, HeaderValue::from_static(wire::FRAMES));
        let answer = self.send_duplex(call, &[StatusCode::OK]).await?;
        if !answer::has_type(answer.headers(), wire::FRAMES) {
            return Err(nonsense("the answer is no stream of frames"));
        }
        let frames = FrameReader::new(answer.into_body());
        Ok(Events { frames, next: Next::Started, mode: self.mode }.boxed())
    }

    async fn processes(&self, grant: &Grant) -> Result<Vec<ProcessSummary>, Problem> {
        let call = self.call(grant, Method::GET, self.target("/processes", None), Body::empty())?;
        let list: ProcessList = answer::json(self.send(call, &[StatusCode::OK]).await?).await?;
        Ok(list.processes)
    }

    async fn signal(&self, grant: &Grant, id: ProcessId, request: SignalRequest) -> Result<(), Problem> {
        let target = self.target(&format!("/processes/{id}/signal"), None);
        let call = self.json_call(grant, target, &request)?;
        answer::nothing(self.send(call, &[StatusCode::NO_CONTENT]).await?).await
    }
}

/// Text for standard input that may not fit into the first frame goes in frames of its own, and ends as it would there.
fn with_long_text(request: &mut ProcessRequest, input: InputStream) -> InputStream {
    /// Escaped, a byte of text becomes six at the most.
    const LONG: usize = MAX_PAYLOAD / 16;
    match &mut request.stdin {
        StdinSource::Text(text) if text.len() > LONG => {
            let text = std::mem::take(text);
            request.stdin = StdinSource::Frames;
            let text = [ProcessInput::Stdin(text.into()), ProcessInput::EndOfStdin];
            stream::iter(text).chain(input).boxed()
        }
        StdinSource::Null | StdinSource::Text(_) | StdinSource::Frames => input,
    }
}

/// The events of a process, held to their order: `Started`, output, `Exited`.
struct Events {
    frames: FrameReader<Body>,
    next: Next,
    mode: GrantMode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Started,
    Output,
    Nothing,
}

impl Events {
    fn check(&mut self, frame: Result<Frame, FrameStreamError>) -> Result<ProcessEvent<Bytes>, Problem> {
        let event = match frame {
            Ok(frame) => frame.into_event().map_err(|problem| self.mode.believe(problem))?,
            Err(FrameStreamError::Frame(error)) => return Err(nonsense(error.to_string())),
            Err(FrameStreamError::Body(error)) => return Err(answer::broken_off(error)),
        };
        match (&event, self.next) {
            (ProcessEvent::Started { .. }, Next::Started) => self.next = Next::Output,
            (ProcessEvent::Stdout(_) | ProcessEvent::Stderr(_), Next::Output) => {}
            (ProcessEvent::Exited(_), Next::Output) => self.next = Next::Nothing,
            _ => return Err(nonsense("the events of the process are out of order")),
        }
        Ok(event)
    }
}

impl Stream for Events {
    type Item = Result<ProcessEvent<Bytes>, Problem>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.next == Next::Nothing {
            return Poll::Ready(None);
        }
        let event = match std::task::ready!(self.frames.poll_next_unpin(context)) {
            Some(frame) => self.check(frame),
            None => Err(nonsense("the process stream ended before the process did")),
        };
        if event.is_err() {
            self.next = Next::Nothing;
        }
        Poll::Ready(Some(event))
    }
}
