//! The file engine: every system call on a box's files, below one root descriptor.
//!
//! A [`BoxRoot`] is opened once; each call enters it with a `Grant` and gets a [`View`]: the grant's folder as `/`, its user
//! as the one whom the kernel checks, its limits. Everything blocks, on the thread that calls it.
//!
//! | what | where |
//! |---|---|
//! | a path becomes a descriptor, and none leads out | `confine`, `view`, `reserved` |
//! | the kernel checks the acting user | `acting`, `accounts`, `account_cache` |
//! | looking and reading | `attributes`, `read`, `digest`, `list`, `walk` |
//! | one file is written aside and published | `stage`, `condition`, `publish`, `held`, `locks`, `xattrs` |
//! | a file is changed in its place, or in a copy | `inplace`, `patch`, `verify` |
//! | many changes, all or none | `batch`, `extract`, `apply`, `moving`, `copy`, `linking`, `inline`, `metadata`, `transaction`, `undo`, `under_way` |
//! | what a kill leaves is repaired | `state`, `journal`, `directory_table` |
//! | a repeat is answered, not done | `outcomes`, `fingerprint` |
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
mod digest;
mod directories;
mod directory_table;
mod error;
mod extract;
mod fingerprint;
#[doc(hidden)]
pub mod fuzzing;
mod held;
mod inline;
mod inplace;
mod journal;
mod linking;
mod list;
mod locks;
mod metadata;
mod moving;
mod notes;
mod outcomes;
mod parked;
mod patch;
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
mod under_way;
mod undo;
mod verify;
mod view;
mod walk;
mod xattrs;

pub use accounts::Account;
pub use batch::Batch;
pub use confine::Confinement;
pub use digest::Hashed;
pub use error::FsError;
pub use extract::Spool;
pub use fingerprint::{Fingerprint, Fingerprinter};
pub use inplace::InPlace;
pub use notes::Note;
pub use outcomes::{Attempt, Repeat, Ticket};
pub use parked::{Parked, Resting};
pub use patch::Writer;
pub use read::Reader;
pub use root::{BoxRoot, RootOptions};
pub use stage::Staged;
pub use view::View;
pub use walk::{Choose, Walk};
pub use xattrs::ExtendedAttributes;
