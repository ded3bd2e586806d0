//! Durable records of the control plane: keys, boxes, audit.
//!
//! One SQLite database in the data directory. Keys and boxes are few and asked for with every request, so all of them
//! are in memory too, loaded at the start and changed with each write: no call on the file path waits for a database.
//!
//! | module | subject |
//! |---|---|
//! | [`store`] | opening the database, and who writes to it when |
//! | [`secret`] | API keys as their holders have them |
//! | [`key`] | API keys as the store has them |
//! | [`boxes`] | records of boxes, and what made them |
//! | [`audit`] | records of operations: queued, committed in groups, read back in pages |
//! | [`first_key`] | the key that a new server makes for its owner |
//! | [`error`] | why the store could not |

pub mod audit;
pub mod boxes;
mod directory;
pub mod error;
pub mod first_key;
pub mod key;
pub mod secret;
pub mod store;

pub use audit::{AuditFilter, AuditSlot, AuditTrail};
pub use boxes::{BoxRecord, Creation};
pub use error::StoreError;
pub use first_key::FirstKey;
pub use key::{KeyRecord, NewKey};
pub use secret::ApiSecret;
pub use store::Store;
