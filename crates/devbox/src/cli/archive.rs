//! What can be typed about archives.

use std::path::PathBuf;

use clap::Args;
use devbox_types::ActingUser;
use devbox_types::archive::ArchiveFormat;

use super::{ConnectionArgs, parse};
use crate::reference::Location;

/// Pack files and directories of a box into an archive
///
/// Directories are packed with all they hold. An entry is called as its path in the box is, without the leading slash, as
/// tar has it. All formats keep modes, times and symbolic links; the tars also hard links, owners, user.* attributes and
/// the holes of sparse files. FIFOs, sockets and devices are left out; what cannot be read ends the command.
///
/// The archive goes to standard output, unless that is a terminal, or with -o into a file, which appears whole or not at
/// all. Patterns are those of gitignore(5), seen from each PATH.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    devbox pack try-1:/workspace/out -o out.tar.gz\n  \
    devbox pack try-1:src --gitignore --exclude '*.log' -o src.zip\n  \
    devbox pack try-1:src | tar -xv --strip-components=2")]
pub(crate) struct PackArgs {
    /// Files and directories of one box; relative paths start from its working directory
    #[arg(value_name = "BOX:PATH", required = true, num_args = 1..)]
    pub(crate) sources: Vec<Location>,

    /// File to write, - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,

    /// zip, tar, tar.gz or tar.zst [default: as FILE ends (also .tgz, .tzst); tar to standard output]
    #[arg(short, long, value_name = "FORMAT", value_parser = parse::archive_format)]
    pub(crate) format: Option<ArchiveFormat>,

    /// Pack only what matches, with all below it; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) include: Vec<String>,

    /// Leave out what matches, with all below it; the last that matches decides, !PATTERN takes back; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,

    /// Leave out what .gitignore files say, and .git
    #[arg(long)]
    pub(crate) gitignore: bool,

    /// User in the box, by name or number [default: the box's own]
    #[arg(short, long, value_parser = parse::user)]
    pub(crate) user: Option<ActingUser>,

    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Unpack an archive into a directory of a box: all of it, or nothing
///
/// Files and links replace what has their name; directories that are there stay as they are. Modes, times, links, user.*
/// attributes and holes are kept; owners, set-user-ID and sticky bits are not: all belongs to the acting user. An archive
/// with a name or link that leads out of DIR, a device, or anything that two readers could read in two ways is refused, and
/// then nothing has changed.
///
/// What kind of archive it is shows from its first bytes: zip, or tar, plain or through gzip or zstd.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    devbox unpack project.tar.gz try-1:\n  \
    devbox unpack --strip 1 --parents release.zip try-1:/workspace/app\n  \
    tar -c src | devbox unpack - try-1:/workspace")]
pub(crate) struct UnpackArgs {
    /// Archive here, - for standard input
    #[arg(value_name = "ARCHIVE")]
    pub(crate) archive: PathBuf,

    /// Directory in a box; a relative one starts from the box's working directory
    #[arg(value_name = "BOX:DIR")]
    pub(crate) directory: Location,

    /// zip, tar, tar.gz or tar.zst [default: as the first bytes say]
    #[arg(short, long, value_name = "FORMAT", value_parser = parse::archive_format)]
    pub(crate) format: Option<ArchiveFormat>,

    /// Take so many leading names off every path; what has no more is left out
    #[arg(long, value_name = "N", default_value_t = 0, alias = "strip-components")]
    pub(crate) strip: u32,

    /// Make DIR, and directories on the way, if missing
    #[arg(short, long)]
    pub(crate) parents: bool,

    /// User in the box, by name or number [default: the box's own]
    #[arg(short, long, value_parser = parse::user)]
    pub(crate) user: Option<ActingUser>,

    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}
