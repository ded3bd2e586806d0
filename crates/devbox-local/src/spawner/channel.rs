//! Whole messages with descriptors over a `SOCK_SEQPACKET` socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::protocol::{MAX_DESCRIPTORS, MAX_MESSAGE};

/// Sends one message, whole or not at all.
///
/// # Errors
/// `InvalidInput` if it is longer than [`MAX_MESSAGE`]; what sendmsg(2) says.
pub(crate) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    send_encoded(socket, &encode(message)?, descriptors)
}

/// Writes a message out, and checks its length.
pub(crate) fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
    }
    Ok(bytes)
}

/// Sends what [`encode`] wrote.
pub(crate) fn send_encoded(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Receives one message with the descriptors that this process may have, or `None` when the other end is gone.
pub(crate) fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    // Descriptors are cut off where this process may open no more of them: whoever waits for one finds none, but the words
    // are whole.
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was cut short"));
    }
    Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, descriptors)))
}

/// A connected pair of sockets, each of which takes the longest message.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    for socket in [ours.as_fd(), theirs.as_fd()] {
        sockopt::set_socket_send_buffer_size(socket, 2 * MAX_MESSAGE)?;
    }
    Ok((ours, theirs))
}

#[cfg(test)]
mod tests {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;

    /// The limit is the whole process's, so this test runs alone in a child: a copy of this process with one thread.
    #[test]
    fn a_message_is_heard_where_its_descriptors_find_no_room() {
        let (ours, theirs) = pair().expect("sockets");
        let child = crate::sys::clone::child(0, None, || {
            send(ours.as_fd(), &"words", &[ours.as_fd(), theirs.as_fd()]).expect("sent");
            let limits = getrlimit(Resource::Nofile);
            let open = rustix::io::dup(&ours).expect("a number");
            let next = std::os::fd::AsRawFd::as_raw_fd(&open);
            drop(open);
            setrlimit(Resource::Nofile, Rlimit { current: u64::try_from(next).ok(), ..limits }).expect("a limit");
            let heard = receive::<String>(theirs.as_fd());
            i32::from(!matches!(heard, Ok(Some((words, descriptors))) if words == "words" && descriptors.is_empty()))
        })
        .expect("a child");
        assert_eq!(child.wait().expect("collected"), Some(0));
    }
}
