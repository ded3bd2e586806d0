//! The `Backend` contract: how boxes are made, found, reached and deleted.
//!
//! | module | subject |
//! |---|---|
//! | [`contract`] | the trait and what it promises |
//! | [`error`] | why a backend could not |
//! | `memory` | a backend without boxes, for tests of its callers (feature `memory`) |
//! | `conformance` | what every backend is tested against (feature `conformance`) |

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod contract;
pub mod error;
#[cfg(feature = "memory")]
pub mod memory;

pub use contract::{Backend, Capabilities, Reach};
pub use error::BackendError;
