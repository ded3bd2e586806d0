//! The spawner's main loop: one request after the other, and what ends meanwhile.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::boxes::Boxes;
use super::channel;
use super::protocol::{Answer, Call, Failure, Reply, Request};
use crate::error::{Step, StepError};

/// Where a reply goes, once there is one.
pub(super) type Ticket = u64;

/// Serves until the server, or the spawner's parent, has gone.
pub(super) fn run(socket: BorrowedFd<'_>, parent: BorrowedFd<'_>) -> Result<(), StepError> {
    let Some(mut boxes) = greet(socket)? else { return Ok(()) };
    loop {
        let woken = wait(socket, parent, &boxes)?;
        if woken.parent_gone {
            break;
        }
        boxes.keep_reserve();
        if woken.request {
            let Some((request, _)) = hear(socket)? else { break };
            if matches!(request.call, Call::Shutdown) {
                boxes.end_all()?;
                return reply(socket, request.sequence, Ok(Answer::Done), &[]);
            }
            obey(socket, &mut boxes, request)?;
        }
        for (ticket, outcome) in boxes.collect() {
            reply(socket, ticket, outcome, &[])?;
        }
    }
    boxes.end_all()
}

/// Hears the first message and gets everything ready. `None` if the server went away or could not be served.
fn greet(socket: BorrowedFd<'_>) -> Result<Option<Boxes>, StepError> {
    let Some((Request { sequence, call: Call::Hello(settings) }, mut descriptors)) = hear(socket)? else {
        return Ok(None);
    };
    let Some(agent) = descriptors.pop() else { return Ok(None) };
    match Boxes::open(&settings, agent) {
        Ok(boxes) => {
            let ready = Answer::Ready(boxes.describe());
            reply(socket, sequence, Ok(ready), &[boxes.sockets()])?;
            Ok(Some(boxes))
        }
        Err(error) => {
            reply(socket, sequence, Err(Failure::from(error)), &[])?;
            Ok(None)
        }
    }
}

fn obey(socket: BorrowedFd<'_>, boxes: &mut Boxes, request: Request) -> Result<(), StepError> {
    let Request { sequence, call } = request;
    match call {
        Call::List { after } => reply(socket, sequence, Ok(boxes.list(after.as_ref())), &[]),
        Call::Create { id, spec } => started(socket, sequence, boxes.create(&id, spec)),
        Call::Start { id } => started(socket, sequence, boxes.start(&id)),
        Call::Confirm { id } => reply(socket, sequence, boxes.confirm(&id).map(|()| Answer::Done), &[]),
        Call::Stop { id } => later(socket, sequence, boxes.stop(&id, sequence)),
        Call::Delete { id } => later(socket, sequence, boxes.delete(&id, sequence)),
        Call::Hello(_) | Call::Shutdown => {
            let failure = Failure::Step { step: "hear that here".to_owned(), errno: libc::EPROTO };
            reply(socket, sequence, Err(failure), &[])
        }
    }
}

fn started(
    socket: BorrowedFd<'_>,
    sequence: u64,
    outcome: Result<BorrowedFd<'_>, Failure>,
) -> Result<(), StepError> {
    match outcome {
        Ok(pidfd) => reply(socket, sequence, Ok(Answer::Started), &[pidfd]),
        Err(failure) => reply(socket, sequence, Err(failure), &[]),
    }
}

/// Answers now, unless [`Boxes::collect`] will.
fn later(socket: BorrowedFd<'_>, sequence: u64, outcome: Result<bool, Failure>) -> Result<(), StepError> {
    match outcome {
        Ok(true) => reply(socket, sequence, Ok(Answer::Done), &[]),
        Ok(false) => Ok(()),
        Err(failure) => reply(socket, sequence, Err(failure), &[]),
    }
}

fn hear(socket: BorrowedFd<'_>) -> Result<Option<(Request, Vec<OwnedFd>)>, StepError> {
    channel::receive(socket).step("understand the server")
}

/// Replies. A server that has gone meanwhile is noticed at the next message.
fn reply(
    socket: BorrowedFd<'_>,
    sequence: u64,
    outcome: Result<Answer, Failure>,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), StepError> {
    match channel::send(socket, &Reply { sequence, outcome }, descriptors) {
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            Ok(())
        }
        sent => sent.step("answer the server"),
    }
}

/// How often the host's disk is looked at while nothing else happens. Its reserve is far more than is written in so short a
/// time by others than boxes, whose writing the pool counts at once.
const PATROL: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Why the loop goes on.
struct Woken {
    request: bool,
    parent_gone: bool,
}

/// Waits for a request, or for the end of a child or of the parent.
fn wait(socket: BorrowedFd<'_>, parent: BorrowedFd<'_>, boxes: &Boxes) -> Result<Woken, StepError> {
    let mut watched = vec![
        PollFd::from_borrowed_fd(socket, PollFlags::IN),
        PollFd::from_borrowed_fd(parent, PollFlags::IN),
    ];
    watched.extend(boxes.children().map(|child| PollFd::from_borrowed_fd(child, PollFlags::IN)));
    rustix::io::retry_on_intr(|| poll(&mut watched, Some(&PATROL))).step("wait for the server")?;
    Ok(Woken { request: !watched[0].revents().is_empty(), parent_gone: !watched[1].revents().is_empty() })
}
