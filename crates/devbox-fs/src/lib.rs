//! The file engine: every system call on a box's files, below one root descriptor.
//!
//! A [`BoxRoot`] is opened once; each call enters it with a `Grant` and gets a [`View`]: the grant's folder as `/`, its user
//! as the one whom the kernel checks, its limits. Everything blocks, on the thread that calls it.
//!
//! | what | where |
//! |---|---|
//! | a path becomes a descriptor, and none leads out | `confine`, `view`, `reserved` |
//! | the kernel checks the acting user | `acting`, `accounts`, `account_cache` |
//! | looking and reading | `attributes`, `read`, `list`, `walk` |
//! | one file is written aside and published | `stage`, `condition`, `publish`, `locks`, `xattrs` |
//! | many changes, all or none | `batch`, `extract`, `apply`, `moving`, `copy`, `metadata`, `transaction`, `undo` |
//! | what a kill leaves is repaired | `state`, `journal`, `directory_table` |
//! | what goes on after this process | `notes`, `parked` |
//! | trees | `tree`, `removable`, `directories`, `content` |

mod account_cache;
mod accounts;
mod acting;
mod apply;
mod attributes;
mod batch;
mod condition;
mod confine;
mod content;
mod copy;
mod directories;
mod directory_table;
mod error;
mod extract;
mod journal;
mod list;
mod locks;
mod metadata;
mod moving;
mod notes;
mod parked;
mod procfs;
mod publish;
mod read;
mod removable;
mod reserved;
mod root;
mod stage;
mod state;
mod transaction;
mod tree;
mod undo;
mod view;
mod walk;
mod xattrs;

pub use accounts::Account;
pub use batch::Batch;
pub use confine::Confinement;
pub use error::FsError;
pub use extract::Spool;
pub use notes::Note;
pub use parked::{Parked, Resting};
pub use read::Reader;
pub use root::{BoxRoot, RootOptions};
pub use stage::Staged;
pub use view::View;
pub use walk::{Choose, Walk};
pub use xattrs::ExtendedAttributes;
