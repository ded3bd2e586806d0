//! `devbox meta`.

use devbox_types::entry::StatRequest;
use devbox_types::{Entry, EntryKind};

use super::connect;
use crate::cli::MetaArgs;
use crate::output::{self, harmless};

pub(super) async fn meta(args: MetaArgs) -> anyhow::Result<()> {
    let change = args.change();
    let place = args.entry.in_box()?;
    let sandbox = connect(&args.connection)?.sandbox(&place.reference).await?;
    let sandbox = sandbox.as_user(args.user.unwrap_or_default());
    if change.steps() > 0 {
        sandbox.set_metadata(&place.path, change).await?;
    }
    let request = StatRequest { path: sandbox.resolve(&place.path)?, follow: !args.nofollow, xattrs: true };
    let entry =
        sandbox.guest().stat(sandbox.grant(), request).await.map_err(devbox_client::ClientError::from)?;
    if args.json { output::json(&entry) } else { output::bytes(details(&entry).as_bytes()) }
}

fn details(entry: &Entry) -> String {
    let owner = match &entry.owner {
        Some(name) => format!("{} ({})", harmless(name), entry.uid),
        None => entry.uid.to_string(),
    };
    let mut lines = vec![
        ("path", harmless(&entry.path.0.to_string())),
        ("kind", kind(entry.kind).to_owned()),
        ("size", entry.size_bytes.to_string()),
        ("mode", format!("{:04o}", entry.mode)),
        ("owner", owner),
        ("group", entry.gid.to_string()),
        ("links", entry.links.to_string()),
        ("modified", entry.modified.to_string()),
        ("changed", entry.changed.to_string()),
    ];
    if let Some(target) = &entry.target {
        lines.push(("target", harmless(&String::from_utf8_lossy(target))));
    }
    if let Some(etag) = &entry.etag {
        lines.push(("etag", etag.to_string()));
    }
    for xattr in entry.xattrs.iter().flatten() {
        let text = |bytes: &[u8]| harmless(&bytes.escape_ascii().to_string());
        lines.push(("xattr", format!("{}={}", text(&xattr.name), text(&xattr.value))));
    }
    lines.iter().map(|(name, value)| format!("{name:<10}{value}\n")).collect()
}

fn kind(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory => "directory",
        EntryKind::Symlink => "symlink",
        EntryKind::Fifo => "fifo",
        EntryKind::Socket => "socket",
        EntryKind::BlockDevice => "block device",
        EntryKind::CharacterDevice => "character device",
    }
}

#[cfg(test)]
mod tests {
    use devbox_types::metadata::Xattr;
    use devbox_types::{BoxPath, Etag, Timestamp};

    use super::*;

    #[test]
    fn an_entry_is_shown_line_by_line() {
        let entry = Entry {
            path: BoxPath::parse(b"/workspace/a\x1b[31m").expect("a path").into(),
            kind: EntryKind::File,
            size_bytes: 7,
            mode: 0o640,
            uid: 1000,
            gid: 1000,
            owner: Some("user".to_owned()),
            modified: Timestamp::EPOCH,
            changed: Timestamp::EPOCH,
            links: 2,
            target: None,
            etag: Some(Etag::of_version(1, 2, 3, false)),
            xattrs: Some(vec![Xattr { name: b"user.a".to_vec(), value: b"x\xff".to_vec() }]),
        };
        insta::assert_snapshot!(details(&entry));
    }
}
