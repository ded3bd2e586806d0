//! The one HTTP router over the [`Guest`](devbox_guest::Guest) contract: the agent serves it over the engines, the
//! server serves it over a client of the agent, wrapped in guards.
//!
//! A handler extracts a call, makes it, renders what came of it. Nothing here knows whose guest it is.
//!
//! | module | subject |
//! |---|---|
//! | [`routes`] | which handler answers what; the whole router of an agent |
//! | [`call`] | whose guest, on whose behalf |
//! | [`failure`] | problems as answers |
//! | [`request_id`] | the id of a request, on every answer |
//! | `codings` | contents that travel compressed |
//! | `digests` | what a request says and wants to know of digests |
//! | `content`, `json` | request bodies: streams, and bounded JSON |
//! | `files`, `patch`, `entries`, `batch`, `archive`, `uploads`, `processes`, `agent` | the handlers |
//! | `multipart` | the parser of batches: streaming, bounded, one part at a time |

mod agent;
mod archive;
mod batch;
pub mod call;
mod codings;
mod content;
mod digests;
mod entries;
pub mod failure;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod json;
mod multipart;
mod patch;
mod processes;
pub mod request_id;
pub mod routes;
mod uploads;

pub use call::{GrantSource, GuestHandle};
pub use failure::Failure;
pub use request_id::RequestIdLayer;
pub use routes::{agent_router, agent_routes, guest_routes};
