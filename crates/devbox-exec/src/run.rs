//! The stream of events of one process.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use devbox_types::ProcessId;
use devbox_types::process::{ExitStatus, ProcessEvent};
use futures_util::Stream;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::engine::Process;
use crate::error::ExecError;

/// How long output is waited for after the program itself has ended, while something it left behind still holds its
/// output open. Long enough for the rest of a pipeline to finish its words, short enough not to be felt.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// The largest piece of output in one event, and the capacity of a Linux pipe.
const CHUNK: usize = 64 * 1024;
/// The piece that is made room for until a program has shown that it says more.
const FIRST_CHUNK: usize = 4 * 1024;

/// A running program: the stream of what it says.
///
/// `Started` comes first. Then output as it comes: nothing is read before it is polled for, so that a program whose
/// output nobody takes stops at its next write. `Exited` comes last, after all output, and the stream ends.
///
/// Output ends when every process that has it open is gone. A daemon that was left behind does not hold the run open for
/// ever: half a second after the program itself has ended, what lies in the pipes is still delivered, then the stream ends
/// and the daemon keeps running; what it writes to that output from then on fails with EPIPE.
///
/// Dropped before `Exited`, the whole process tree is killed, in the background.
pub struct Run {
    process: Arc<Process>,
    stdout: Output,
    stderr: Output,
    stdout_first: bool,
    exited: oneshot::Receiver<Result<ExitStatus, ExecError>>,
    state: State,
}

enum State {
    /// `Started` is still to be delivered.
    New,
    Running,
    /// The program has ended, its output may not have.
    Ended {
        status: ExitStatus,
        grace: Pin<Box<Sleep>>,
    },
    Finished,
}

impl Run {
    pub(crate) fn new(
        process: Arc<Process>,
        stdout: pipe::Receiver,
        stderr: pipe::Receiver,
        exited: oneshot::Receiver<Result<ExitStatus, ExecError>>,
    ) -> Self {
        let (stdout, stderr) = (Output::new(stdout), Output::new(stderr));
        Self { process, stdout, stderr, stdout_first: true, exited, state: State::New }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ProcessId {
        self.process.id()
    }

    /// Lets go of a child that never became a program, and has ended by itself.
    pub(crate) fn discard(mut self) {
        self.state = State::Finished;
    }

    /// Takes a piece of output that is there, from one stream and the other in turn.
    fn poll_output(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<ProcessEvent<Bytes>, ExecError>>> {
        let mut open = false;
        for _ in 0..2 {
            let from_stdout = self.stdout_first;
            self.stdout_first = !from_stdout;
            let output = if from_stdout { &mut self.stdout } else { &mut self.stderr };
            match output.poll_chunk(context) {
                Poll::Ready(Some(Ok(bytes))) if from_stdout => {
                    return Poll::Ready(Some(Ok(ProcessEvent::Stdout(bytes))));
                }
                Poll::Ready(Some(Ok(bytes))) => return Poll::Ready(Some(Ok(ProcessEvent::Stderr(bytes)))),
                Poll::Ready(Some(Err(source))) => {
                    return Poll::Ready(Some(Err(ExecError::Io { step: "read the output", source })));
                }
                Poll::Ready(None) => (),
                Poll::Pending => open = true,
            }
        }
        if open { Poll::Pending } else { Poll::Ready(None) }
    }

    fn poll_exit(&mut self, context: &mut Context<'_>) -> Poll<Result<ExitStatus, ExecError>> {
        let exited = ready!(Pin::new(&mut self.exited).poll(context));
        Poll::Ready(exited.unwrap_or(Err(ExecError::StatusLost)))
    }
}

impl Stream for Run {
    type Item = Result<ProcessEvent<Bytes>, ExecError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let run = &mut *self;
        if let State::New = run.state {
            run.state = State::Running;
            return Poll::Ready(Some(Ok(run.process.started_event())));
        }
        if let State::Running = run.state {
            match run.poll_exit(context) {
                Poll::Ready(Ok(status)) => {
                    run.state = State::Ended { status, grace: Box::pin(tokio::time::sleep(GRACE)) };
                }
                Poll::Ready(Err(error)) => {
                    run.state = State::Finished;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Pending => (),
            }
        }
        if let State::Finished = run.state {
            return Poll::Ready(None);
        }
        if let State::Ended { grace, .. } = &mut run.state
            && grace.as_mut().poll(context).is_ready()
        {
            run.stdout.end_with_what_is_there();
            run.stderr.end_with_what_is_there();
        }
        if let Some(event) = ready!(run.poll_output(context)) {
            return Poll::Ready(Some(event));
        }
        match std::mem::replace(&mut run.state, State::Finished) {
            State::Ended { status, .. } => Poll::Ready(Some(Ok(ProcessEvent::Exited(status)))),
            // All output has ended and the program has not: `poll_exit` has registered to be woken.
            running => {
                run.state = running;
                Poll::Pending
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !matches!(self.state, State::Finished) {
            self.process.kill_tree_later();
        }
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Run").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Our end of standard output or standard error.
struct Output {
    pipe: Option<pipe::Receiver>,
    buffer: BytesMut,
    chunk: usize,
    /// How much is still taken, once the end was decided.
    left: Option<usize>,
}

impl Output {
    fn new(pipe: pipe::Receiver) -> Self {
        Self { pipe: Some(pipe), buffer: BytesMut::new(), chunk: FIRST_CHUNK, left: None }
    }

    /// Decides that what lies in the pipe now is the last of it.
    fn end_with_what_is_there(&mut self) {
        if let (Some(pipe), None) = (&self.pipe, self.left) {
            let waiting = rustix::io::ioctl_fionread(pipe).unwrap_or(0);
            self.left = Some(usize::try_from(waiting).unwrap_or(usize::MAX));
        }
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(None) };
        let wanted = self.left.map_or(self.chunk, |left| left.min(self.chunk));
        if wanted == 0 {
            self.pipe = None;
            return Poll::Ready(None);
        }
        self.buffer.resize(wanted, 0);
        let mut target = ReadBuf::new(&mut self.buffer);
        let read = Pin::new(pipe).poll_read(context, &mut target);
        let length = target.filled().len();
        match read {
            Poll::Ready(Ok(())) if length > 0 => {
                if length == self.chunk {
                    self.chunk = CHUNK;
                }
                self.left = self.left.map(|left| left.saturating_sub(length));
                Poll::Ready(Some(Ok(self.buffer.split_to(length).freeze())))
            }
            Poll::Ready(Ok(())) => {
                self.pipe = None;
                Poll::Ready(None)
            }
            Poll::Ready(Err(error)) => {
                self.pipe = None;
                Poll::Ready(Some(Err(error)))
            }
            Poll::Pending if self.left.is_some() => {
                self.pipe = None;
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
