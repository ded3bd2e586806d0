//! The control plane: boxes, keys, guards around the `Guest` contract, audit, metrics, TLS.
//!
//! A request comes in through the [edge](server), which gives it an id, measures it and catches what panics. What
//! concerns the inside of a box goes, after authentication, to the guest router over a client of the box's agent,
//! wrapped in guards; everything else is a control route.
//!
//! | module | subject |
//! |---|---|
//! | [`config`] | what can be chosen |
//! | [`server`] | starting, serving, stopping |
//! | [`error`] | why a server could not start |
//! | [`tls`] | certificate and key |
//! | [`mod@openapi`] | the description of the whole API |

mod allotment;
mod answer;
mod app;
mod auth;
mod body;
mod census;
pub mod config;
mod control;
mod edge;
pub mod error;
mod extract;
mod guard;
mod guests;
mod idle;
mod listener;
mod metrics;
mod name;
pub mod openapi;
mod patience;
pub mod rate;
mod reconcile;
mod refusal;
mod request_id;
mod route;
mod runtime;
pub mod server;
mod steady;
pub mod tls;
mod unstalled;

pub use config::{Limits, ServerConfig, Timeouts};
pub use error::ServerError;
pub use openapi::openapi;
pub use rate::Rate;
pub use server::Server;
pub use tls::{TlsFiles, TlsIdentity};
