//! What can be typed about parts and metadata of files.

use clap::Args;
use devbox_types::metadata::{Group, MetadataChange, XattrChange};
use devbox_types::{ActingUser, Timestamp};

use super::{ConnectionArgs, parse};
use crate::reference::Location;

/// Cut or extend a file of a box
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  devbox truncate try-1:build.log 0")]
pub(crate) struct TruncateArgs {
    /// File in a box
    #[arg(value_name = "BOX:PATH")]
    pub(crate) file: Location,

    /// Its new size; what is new of it reads as zeros
    #[arg(value_parser = parse::length)]
    pub(crate) size: u64,

    /// User in the box, by name or number [default: the box's own]
    #[arg(short, long, value_parser = parse::user)]
    pub(crate) user: Option<ActingUser>,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Show the metadata of a file, directory or link, or set it
///
/// What is to be set is set as a whole, or not at all.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    devbox meta try-1:main.py\n  \
    devbox meta try-1:run.sh --mode 755 --owner user --xattr user.origin=upload")]
pub(crate) struct MetaArgs {
    /// File, directory or link in a box
    #[arg(value_name = "BOX:PATH")]
    pub(crate) entry: Location,

    /// Set permissions, octal
    #[arg(long, value_parser = parse::mode)]
    mode: Option<u32>,

    /// Set the owner, by name or number
    #[arg(long, value_name = "USER", value_parser = parse::user)]
    owner: Option<ActingUser>,

    /// Set the group, by name or number
    #[arg(long)]
    group: Option<Group>,

    /// Set the time of the last modification, such as 2026-11-24T20:18:33Z
    #[arg(long, value_name = "TIME")]
    mtime: Option<Timestamp>,

    /// Set the time of the last access
    #[arg(long, value_name = "TIME")]
    atime: Option<Timestamp>,

    /// Set an extended attribute, whose name begins with `user.`; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    xattr: Vec<(String, String)>,

    /// Remove an extended attribute; may be repeated
    #[arg(long, value_name = "NAME")]
    remove_xattr: Vec<String>,

    /// Look at a link itself, instead of what it leads to
    #[arg(long)]
    pub(crate) nofollow: bool,

    /// Print the entry as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// User in the box, by name or number [default: the box's own]
    #[arg(short, long, value_parser = parse::user)]
    pub(crate) user: Option<ActingUser>,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

impl MetaArgs {
    /// What is to be set.
    pub(crate) fn change(&self) -> MetadataChange {
        let set = self.xattr.iter().map(|(name, value)| XattrChange {
            name: name.clone().into_bytes(),
            value: Some(value.clone().into_bytes()),
        });
        let removed =
            self.remove_xattr.iter().map(|name| XattrChange { name: name.clone().into_bytes(), value: None });
        MetadataChange {
            mode: self.mode,
            owner: self.owner.clone(),
            group: self.group.clone(),
            modified: self.mtime,
            accessed: self.atime,
            xattrs: set.chain(removed).collect(),
            if_match: Vec::new(),
            nofollow: self.nofollow,
        }
    }
}
