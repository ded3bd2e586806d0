//! Running programs.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use devbox_guest::contract::{EventStream, InputStream};
use devbox_guest::wire::frame::{Frame, FrameReader, FrameStreamError, FrameWriter};
use devbox_guest::{BodyError, wire};
use devbox_types::process::{
    ProcessEvent, ProcessEventLine, ProcessList, ProcessRequest, SignalRequest, StdinSource,
};
use devbox_types::{Problem, ProcessId};
use futures_util::stream::{self, Stream, StreamExt as _};
use http::{HeaderValue, StatusCode, header};
use tokio::sync::oneshot;

use crate::call::{Call, invalid};
use crate::content::Content;
use crate::failure::Failure;
use crate::json;

pub(crate) async fn list(mut call: Call) -> Result<Response, Failure> {
    call.finish_query()?;
    let processes = call.guest.processes(&call.grant).await?;
    json::answer(StatusCode::OK, &ProcessList { processes })
}

pub(crate) async fn signal(
    mut call: Call,
    id: Result<Path<String>, axum::extract::rejection::PathRejection>,
    content: Content,
) -> Result<Response, Failure> {
    call.finish_query()?;
    let Path(id) = id.map_err(|error| invalid(error.body_text()))?;
    let id: ProcessId = id.parse().map_err(|error: devbox_types::id::IdError| invalid(error.to_string()))?;
    let request: SignalRequest = json::body(content).await?;
    if !(1..=64).contains(&request.signal) {
        return Err(Failure(invalid("a signal is a number from 1 to 64")));
    }
    call.guest.signal(&call.grant, id, request).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Both forms of running a program: JSON in and lines out, or frames both ways.
pub(crate) async fn run(mut call: Call, content: Content) -> Result<Response, Failure> {
    call.finish_query()?;
    if json::is_type(&call.headers, wire::FRAMES) {
        return run_framed(call, content.0).await;
    }
    let request = json::body(content).await?;
    run_lined(call, request).await
}

async fn run_lined(call: Call, request: ProcessRequest) -> Result<Response, Failure> {
    if request.stdin == StdinSource::Frames {
        let problem = invalid("`stdin` as frames needs the framed form of this request");
        return Err(Failure(problem.with_hint("send the input as text")));
    }
    let events = call.guest.run(&call.grant, request, stream::empty().boxed()).await?;
    let lines = events.map(|event| Ok::<_, BodyError>(line_of(event)));
    Ok(streaming(Body::from_stream(lines), wire::NDJSON))
}

async fn run_framed(call: Call, body: devbox_guest::Body) -> Result<Response, Failure> {
    let mut frames = FrameReader::new(body);
    let first = match frames.next().await {
        Some(first) => first.map_err(|error| Problem::of(&error))?,
        None => return Err(Failure(invalid("the first frame, the request, is missing"))),
    };
    let (broken, input_problem) = oneshot::channel();
    let input = input_of(frames, broken);
    let events = call.guest.run(&call.grant, first.into_request()?, input).await?;
    let output = Output { events: Some(events), input_problem: Some(input_problem) };
    Ok(streaming(Body::from_stream(FrameWriter::new(output)), wire::FRAMES))
}

fn streaming(body: Body, media_type: &'static str) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// The input in the frames that follow the request. What is no input ends it, and ends the process with that problem.
fn input_of(frames: FrameReader<devbox_guest::Body>, broken: oneshot::Sender<Problem>) -> InputStream {
    let next = async |(mut frames, broken): (FrameReader<devbox_guest::Body>, oneshot::Sender<Problem>)| {
        let input = match frames.next().await? {
            Ok(frame) => frame.into_input().map_err(FrameStreamError::from),
            Err(error) => Err(error),
        };
        match input {
            Ok(input) => Some((input, (frames, broken))),
            Err(error) => {
                // If nobody listens, the process has ended and there is nothing to break.
                let _ = broken.send(Problem::of(&error));
                None
            }
        }
    };
    stream::unfold((frames, broken), next).boxed()
}

/// What a process says, until it ends or its input turns out to be broken.
struct Output {
    events: Option<EventStream>,
    input_problem: Option<oneshot::Receiver<Problem>>,
}

impl Output {
    fn poll_input_problem(&mut self, context: &mut Context<'_>) -> Option<Problem> {
        let receiver = self.input_problem.as_mut()?;
        let Poll::Ready(received) = Pin::new(receiver).poll(context) else { return None };
        self.input_problem = None;
        received.ok()
    }
}

impl Stream for Output {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        if self.events.is_none() {
            return Poll::Ready(None);
        }
        if let Some(problem) = self.poll_input_problem(context) {
            self.events = None;
            return Poll::Ready(Some(Frame::of_event(Err(problem))));
        }
        let Some(events) = &mut self.events else { return Poll::Ready(None) };
        let event = std::task::ready!(events.poll_next_unpin(context));
        // Where the events end with the input, the reason may have come with that end.
        let event = event.or_else(|| self.poll_input_problem(context).map(Err));
        if !matches!(event, Some(Ok(_))) {
            self.events = None;
        }
        Poll::Ready(event.map(Frame::of_event))
    }
}

fn line_of(event: Result<ProcessEvent<Bytes>, Problem>) -> Bytes {
    let line = match event {
        Ok(ProcessEvent::Started { id, pid }) => ProcessEventLine::Started { id, pid },
        Ok(ProcessEvent::Stdout(bytes)) => ProcessEventLine::Stdout((&bytes[..]).into()),
        Ok(ProcessEvent::Stderr(bytes)) => ProcessEventLine::Stderr((&bytes[..]).into()),
        Ok(ProcessEvent::Exited(status)) => ProcessEventLine::Exited(status),
        Err(problem) => ProcessEventLine::Error { problem },
    };
    // Lines are made of text and numbers: they always have a JSON form.
    let mut json = serde_json::to_vec(&line).unwrap_or_default();
    json.push(b'\n');
    json.into()
}
