//! What the next start finds on the box's disk, where the box's root could write.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use devbox_fs::{BoxRoot, RootOptions};
use devbox_transfer::{Phase, Record, Staging};
use devbox_types::file::WriteRequest;
use devbox_types::upload::UploadRole;
use devbox_types::{ActingUser, BoxPath, Etag, Timestamp, UploadId, WriteCondition};
use sha2::{Digest as _, Sha256};

/// Opens a root in whose state directory lies a journal: lines of JSON that are given their checksums, or, if the first byte is
/// odd, bytes as they are.
///
/// # Panics
/// If anything outside of the root, or of the root but names that the engine keeps for itself and those that undoing may touch,
/// is not what it was; or the next start finds something left to do.
pub fn journal(data: &[u8]) {
    let Some((how, lines)) = data.split_first() else { return };
    let journal: Vec<u8> = match how & 1 {
        0 => lines.split(|byte| *byte == b'\n').flat_map(devbox_fs::fuzzing::journal_line).collect(),
        _ => lines.to_vec(),
    };
    let whole = tempfile::tempdir().expect("a directory");
    let (root, outside) = (whole.path().join("root"), whole.path().join("outside"));
    for directory in [root.join(".~devbox-state"), root.join("a/b"), outside.clone()] {
        fs::create_dir_all(directory).expect("directories");
    }
    for file in
        [root.join("a/file"), root.join("a/.~devbox-0-1"), outside.join("file"), outside.join(".~devbox-0-1")]
    {
        fs::write(file, "content").expect("written");
    }
    for (link, target) in [("out", "../outside"), ("a/out", "../../outside"), ("absolute", "/outside")] {
        std::os::unix::fs::symlink(target, root.join(link)).expect("a link");
    }
    let state = root.join(".~devbox-state");
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("a mode");
    fs::write(state.join("journal-0"), &journal).expect("written");
    let before = describe(&outside);
    drop(BoxRoot::open(&root, RootOptions::default()));
    assert_eq!(describe(&outside), before, "outside of the root");
    let content = fs::read(root.join("a/file"));
    assert!(content.is_err() || content.is_ok_and(|content| content == b"content"), "a file was written to");
    let after = describe(&root);
    drop(BoxRoot::open(&root, RootOptions::default()));
    assert_eq!(describe(&root), after, "a second start does more");
}

/// Names, kinds, modes, owners and contents of a tree, but for what changes at each start: the state directory.
fn describe(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(about) = path.symlink_metadata() else { continue };
            if path.ends_with(".~devbox-state") {
                continue;
            }
            let content = if about.is_file() { fs::read(&path).unwrap_or_default() } else { Vec::new() };
            found.push(format!("{path:?} {:o} {} {} {content:?}", about.mode(), about.uid(), about.gid()));
            if about.is_dir() {
                pending.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Journals of each kind of record.
#[must_use]
pub fn journal_seeds() -> Vec<Vec<u8>> {
    // Base64 without padding: "a", "out", ".~devbox-0-1", "file".
    let directory = r#"{"Directory":{"path":"YQ","inode":1,"prefix":"Ln5kZXZib3gtMC0"}}"#;
    let out = r#"{"Directory":{"path":"b3V0","inode":1,"prefix":"Ln5kZXZib3gtMC0"}}"#;
    let remove = r#"{"Undo":{"Remove":{"at":{"directory":0,"name":"ZmlsZQ"},"inode":1,"tree":true}}}"#;
    let exchange = r#"{"Undo":{"ExchangeBack":{"target":{"directory":0,"name":"ZmlsZQ"},"staged":"Ln5kZXZib3gtMC0x","inode":1}}}"#;
    let restore =
        r#"{"Undo":{"Restore":{"at":{"directory":0,"name":"ZmlsZQ"},"inode":1,"saved":{"Mode":511}}}}"#;
    let doomed = r#"{"Doomed":{"at":{"directory":0,"name":"ZmlsZQ"},"inode":1}}"#;
    [
        vec![directory, remove],
        vec![directory, out, exchange, restore],
        vec![out, remove, doomed, r#""Committed""#],
        vec![directory, r#""Remaining""#, doomed],
    ]
    .map(|lines| format!("\0{}", lines.join("\n")).into_bytes())
    .to_vec()
}

/// Reads a record of an upload: JSON that is given its checksum, or, if the first byte is odd, bytes as they are.
///
/// # Panics
/// If what was read is not read again as it is written, or counts more bytes than there are.
pub fn upload_record(data: &[u8]) {
    let Some((how, json)) = data.split_first() else { return };
    let bytes = match how & 1 {
        0 => {
            let sum: String = Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect();
            [sum.as_bytes(), json, b"\n"].concat()
        }
        _ => json.to_vec(),
    };
    let Ok(record) = Record::decode(&bytes) else { return };
    for stored in [0, 1, record.length(), u64::MAX] {
        let counted = record.counted(stored);
        assert!(counted <= stored && counted <= record.length(), "{record:?}");
    }
    let written = record.encode();
    if written.len() <= Record::MAX_BYTES {
        assert_eq!(Record::decode(&written), Ok(record));
    }
}

/// A record as it is written.
#[must_use]
pub fn upload_record_seeds() -> Vec<Vec<u8>> {
    let path = BoxPath::parse(b"/workspace/\xff data").expect("a path");
    let write = WriteRequest {
        condition: WriteCondition::Matches(vec![Etag::of_version(1, 2, 3, false)]),
        mode: Some(0o750),
        modified: Some(Timestamp::from_nanoseconds(-1)),
        length: Some(10),
        ..WriteRequest::to(path)
    };
    let id = |byte| UploadId::from_random([byte; 10]);
    let record = Record {
        id: id(7),
        user: ActingUser::Uid(1000),
        root: BoxPath::root(),
        write,
        digest_follows: true,
        metadata: "path L3dvcmtzcGFjZQ==".to_owned(),
        expires: Timestamp::from_nanoseconds(1_000),
        staging: Staging { directory: b"workspace".to_vec(), name: b".~devbox-00-1".to_vec(), inode: 7 },
        unverified_from: Some(5),
        phase: Phase::Open,
        role: UploadRole::Joined(vec![id(1), id(2)]),
        joined_into: Some(id(3)),
        made_directories: 2,
    };
    let line = record.encode();
    let json = line.get(64..line.len() - 1).unwrap_or_default();
    vec![[&[0], json].concat(), [&[1], &line[..]].concat()]
}
