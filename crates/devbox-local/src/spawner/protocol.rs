//! The words between the unprivileged server and the privileged spawner.
//!
//! One message is one packet of a `SOCK_SEQPACKET` pair: JSON of these types, at most [`MAX_MESSAGE`] bytes, with at
//! most [`MAX_DESCRIPTORS`] descriptors. Both ends are the same executable, so there is no version to agree on.

use devbox_types::BoxId;
use devbox_types::devbox::{BoxSpec, BoxStatus, Template};
use serde::{Deserialize, Serialize};

use crate::config::Settings;

/// The longest message in bytes. The environment of a box is by far the largest thing in one, and the kernel takes no
/// more than 128 KiB of it in one variable; a longer message is refused by the sender.
pub(crate) const MAX_MESSAGE: usize = 128 * 1024;

/// The most descriptors in one message.
pub(crate) const MAX_DESCRIPTORS: usize = 2;

/// How many boxes one page of [`Call::List`] holds, so that it stays far below [`MAX_MESSAGE`].
pub(crate) const PAGE: usize = 512;

/// From the server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Chosen by the server; the answer bears it.
    pub(crate) sequence: u64,
    pub(crate) call: Call,
}

/// What the spawner can be asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    /// The first message, once; with the sealed agent as its descriptor.
    Hello(Settings),
    /// The boxes whose ids follow this one.
    List { after: Option<BoxId> },
    /// Makes a box and starts it. It is provisional until [`Call::Confirm`]: it does not outlive the spawner.
    Create { id: BoxId, spec: BoxSpec },
    /// The agent answers: writes the box's record.
    Confirm { id: BoxId },
    /// Starts a stopped or failed box.
    Start { id: BoxId },
    /// Kills every process of a box.
    Stop { id: BoxId },
    /// Removes a box and all it holds.
    Delete { id: BoxId },
    /// Stops every box and ends.
    Shutdown,
}

/// From the spawner.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) sequence: u64,
    pub(crate) outcome: Result<Answer, Failure>,
}

/// How a call went well.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// To [`Call::Hello`]; its descriptor is the directory of the agents' sockets.
    Ready(Ready),
    /// To [`Call::List`]; `more` if another page follows.
    Boxes { boxes: Vec<(BoxId, BoxStatus)>, more: bool },
    /// To [`Call::Create`] and [`Call::Start`]; its descriptor is the pidfd of the box's PID 1.
    Started,
    /// To everything else.
    Done,
}

/// What the server has to know about this machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) templates: Vec<Template>,
    /// Which pool was chosen.
    pub(crate) pool: String,
    /// Whether limits of cpu, memory and processes hold.
    pub(crate) limits: bool,
}

/// How a call went wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Failure {
    NoSuchBox,
    Exists,
    NotStopped,
    NoSuchTemplate { name: String },
    Full(Room),
    Step { step: String, errno: i32 },
}

/// What there is no more of.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Room {
    /// The host's disk would fall under its reserve.
    HostDisk,
    /// The pool is full.
    Pool,
    /// Every range of user ids is taken.
    UidRanges,
}

impl From<crate::error::StepError> for Failure {
    fn from(error: crate::error::StepError) -> Self {
        match error.errno() {
            libc::ENOSPC | libc::EDQUOT => Self::Full(Room::Pool),
            errno => Self::Step { step: error.step, errno },
        }
    }
}
