//! What a box sees as its files: a synthesised `/`, the host's `/usr` behind a mask, devices.
//!
//! | module | subject |
//! |---|---|
//! | [`host`] | the `host` template: its layers, made once at the start |
//! | [`etc`] | the synthesised `/` |
//! | [`mask`] | what of the host's `/usr` a box must not see |
//! | [`devices`] | `/dev` |
//! | [`overlay`] | the mounts of one box |
//! | [`runtimes`] | which programming languages the host's `/usr` provides |

mod devices;
mod etc;
mod host;
mod mask;
mod overlay;
mod runtimes;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

pub(crate) use host::{HostTemplate, name_box};
pub(crate) use overlay::BoxMounts;

/// Makes a directory with this mode, or leaves the one that is there as it is.
pub(crate) fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}
