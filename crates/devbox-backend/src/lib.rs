//! The `Backend` contract: how boxes are made, found, reached and deleted.
//!
//! | module | subject |
//! |---|---|
//! | [`contract`] | the trait and what it promises |
//! | [`error`] | why a backend could not |

pub mod contract;
pub mod error;

pub use contract::{Backend, Capabilities, Reach};
pub use error::BackendError;
