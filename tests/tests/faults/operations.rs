//! What is done while something fails: each takes effect in full, or not at all.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::Result;
use devbox_testkit::{AgentOptions, BareAgent};
use tempfile::TempDir;

use crate::tree::{SET_TIME, set_attribute, settle};
use crate::wire::{Answer, Message};

/// Whom calls act as, as in a box.
pub(crate) const USER: u32 = 1000;

/// One call that takes effect in full or not at all.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// Makes the request; a condition needs a look first.
    pub(crate) request: fn(&BareAgent) -> Message,
}

impl Operation {
    pub(crate) fn run(&self, agent: &BareAgent) -> Answer {
        (self.request)(agent).send(agent)
    }
}

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "create", request: |_| put("/fresh", &[], b"new content") },
    Operation {
        name: "create with mode, time and sync",
        request: |_| put("/fresh?mode=0600&mtime=2004-11-09T11:33:20Z&sync=true", &[], b"new content"),
    },
    Operation {
        name: "create in missing directories",
        request: |_| put("/x/y/z/fresh?parents=true", &[], b"new content"),
    },
    Operation {
        name: "create in missing directories, large",
        request: |_| put("/x/y/fresh?parents=true", &[], &large()),
    },
    Operation { name: "replace", request: |_| put("/file", &[], b"new content") },
    Operation { name: "replace, large", request: |_| put("/file", &[], &large()) },
    Operation {
        name: "replace with mode, time and sync",
        request: |_| put("/file?mode=0600&mtime=2004-11-09T11:33:20Z&sync=true", &[], b"new content"),
    },
    Operation {
        name: "replace a version",
        request: |agent| {
            let seen = call("GET /v1/files/file", &[], b"").send(agent).given();
            let etag = seen.header("etag").expect("an ETag").to_owned();
            put("/file", &[("If-Match", &etag)], b"new content")
        },
    },
    Operation {
        name: "change a part, in a copy",
        request: |_| call("PATCH /v1/files/file?offset=4&atomic=true", &[], b"new"),
    },
    Operation {
        name: "append, in a copy",
        request: |_| call("PATCH /v1/files/new?append=true&create=true&atomic=true", &[], b"new"),
    },
    Operation {
        name: "set metadata",
        request: |_| {
            let json = [("Content-Type", "application/json")];
            let set = r#"{"mode":384,"modified":"2004-11-09T11:33:20Z","xattrs":[
                {"name":"user.colour","value_b64":"cmVk"},{"name":"user.shape","value_b64":"Ym94"}]}"#;
            call("PATCH /v1/entries/file", &json, set.as_bytes())
        },
    },
    Operation { name: "replace through a link", request: |_| put("/link", &[], b"new content") },
    Operation { name: "delete", request: |_| call("DELETE /v1/files/file", &[], b"") },
    Operation { name: "delete a tree", request: |_| call("DELETE /v1/files/tree?recursive=true", &[], b"") },
    Operation {
        name: "copy a tree",
        request: |_| entries(r#"{"op":"copy","from":"/tree","to":"/copy","recursive":true}"#),
    },
    Operation {
        name: "make directories",
        request: |_| entries(r#"{"op":"mkdir","path":"/x/y/z","parents":true}"#),
    },
    Operation {
        name: "a list of operations",
        request: |_| {
            entries(
                r#"{"op":"mkdir","path":"/x/y","parents":true,"mode":448},
               {"op":"copy","from":"/tree","to":"/x/y/tree","recursive":true},
               {"op":"move","from":"/file","to":"/other","overwrite":true},
               {"op":"move","from":"/tree/sub","to":"/x/sub"},
               {"op":"symlink","path":"/x/link","target":"nowhere"},
               {"op":"chmod","path":"/tree/a","mode":256},
               {"op":"utime","path":"/tree/a","modified":"2004-11-09T11:33:20Z"},
               {"op":"copy","from":"/other","to":"/tree/a","overwrite":true},
               {"op":"link","from":"/other","to":"/x/again"},
               {"op":"write","path":"/x/z/small","content":"small","parents":true},
               {"op":"set_metadata","path":"/x/z/small","set":{"mode":256,"modified":"2004-11-09T11:33:20Z"}},
               {"op":"delete","path":"/tree","recursive":true}"#,
            )
        },
    },
    Operation {
        name: "a batch of files",
        request: |_| {
            let files = [
                ("file", "one"),
                ("other", "two"),
                ("x/fresh", "three"),
                ("x/y/fresh", "four"),
                ("tree/a", "five"),
            ];
            multipart("?parents=true", &files)
        },
    },
    Operation {
        name: "a batch of files with sync",
        request: |_| multipart("?parents=true&sync=true", &[("file", "one"), ("x/fresh", "two")]),
    },
    Operation {
        name: "an unpacked tar",
        request: |_| call("PUT /v1/archive/tree/to?format=tar&parents=true", &[], &tar()),
    },
    Operation {
        name: "a tar unpacked over what is there",
        request: |_| call("PUT /v1/archive/?format=tar", &[], &tar()),
    },
    Operation { name: "an unpacked zip", request: |_| call("PUT /v1/archive/tree?format=zip", &[], &zip()) },
];

/// A folder as every operation finds it: owned by the box's user, all its times old.
pub(crate) fn prepare() -> Result<TempDir> {
    let folder = TempDir::with_prefix("devbox-faults-")?;
    fill(folder.path())?;
    Ok(folder)
}

pub(crate) fn fill(root: &Path) -> Result<()> {
    for folder in ["tree/sub/deep", "tree/empty"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for (name, mode) in [
        ("file", 0o640),
        ("other", 0o644),
        ("tree/a", 0o600),
        ("tree/sub/b", 0o755),
        ("tree/sub/deep/c", 0o644),
    ] {
        fs::write(root.join(name), format!("old {name}"))?;
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode))?;
    }
    set_attribute(&root.join("file"), "user.colour", "blue")?;
    set_attribute(&root.join("tree/a"), "user.colour", "green")?;
    symlink("file", root.join("link"))?;
    symlink("/nowhere", root.join("tree/dangling"))?;
    settle(root, USER)?;
    Ok(())
}

/// How the agent is started: as root, acting as the box's user.
pub(crate) fn options() -> AgentOptions {
    AgentOptions::default().acting_as(USER)
}

fn put(target: &str, headers: &[(&str, &str)], content: &[u8]) -> Message {
    call(&format!("PUT /v1/files{target}"), headers, content)
}

fn entries(operations: &str) -> Message {
    let body = format!(r#"{{"operations":[{operations}]}}"#);
    call("POST /v1/entries", &[("Content-Type", "application/json")], body.as_bytes())
}

fn multipart(query: &str, files: &[(&str, &str)]) -> Message {
    let kind = [("Content-Type", "multipart/form-data; boundary=limit")];
    call(&format!("POST /v1/files{query}"), &kind, multipart_body(files).as_bytes())
}

/// Files as parts between boundaries that are called `limit`.
pub(crate) fn multipart_body(files: &[(&str, &str)]) -> String {
    let part = |(name, content): &(&str, &str)| {
        format!("--limit\r\nContent-Disposition: form-data; name=\"/{name}\"\r\n\r\n{content}\r\n")
    };
    files.iter().map(part).collect::<String>() + "--limit--\r\n"
}

fn call(request: &str, headers: &[(&str, &str)], body: &[u8]) -> Message {
    Message::new(request, headers, body)
}

/// More than is written in one go.
fn large() -> Vec<u8> {
    (0..=255).cycle().take(3 << 20).collect()
}

/// A tar with a directory of a mode and a time, files over others, a long name, links of both kinds, attributes.
fn tar() -> Vec<u8> {
    let mut archive = Vec::new();
    member(&mut archive, "made/", b'5', 0o750, "", b"");
    member(&mut archive, "made/deep/", b'5', 0o755, "", b"");
    let record = b"27 SCHILY.xattr.user.x=why\n";
    member(&mut archive, "attributes", b'x', 0o644, "", record);
    member(&mut archive, "made/deep/file", b'0', 0o640, "", b"from the archive");
    member(&mut archive, "made/again", b'1', 0o640, "made/deep/file", b"");
    member(&mut archive, "made/link", b'2', 0o777, "deep/file", b"");
    member(&mut archive, "file", b'0', 0o600, "", b"over the old");
    member(&mut archive, "link", b'2', 0o777, "elsewhere", b"");
    archive.extend_from_slice(&[0; 1024]);
    archive
}

/// A tar of some files.
pub(crate) fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        member(&mut archive, name, b'0', 0o644, "", content);
    }
    archive.extend_from_slice(&[0; 1024]);
    archive
}

fn member(archive: &mut Vec<u8>, name: &str, kind: u8, mode: u32, target: &str, content: &[u8]) {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", content.len()));
    put(136, &format!("{SET_TIME:011o}"));
    put(148, "        ");
    put(157, target);
    put(257, "ustar\x0000");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive.extend_from_slice(&header);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512), 0);
}

/// A zip of stored members.
fn zip() -> Vec<u8> {
    let members = [
        ("made/", ""),
        ("made/file", "from the zip"),
        ("a", "over the old"),
        ("sub/fresh", "beside the old"),
    ];
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let offset = u32::try_from(archive.len()).expect("small");
        let size = u32::try_from(content.len()).expect("small").to_le_bytes();
        let length = u16::try_from(name.len()).expect("small").to_le_bytes();
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x28];
        common.extend_from_slice(&crc32(content.as_bytes()).to_le_bytes());
        common.extend_from_slice(&size);
        common.extend_from_slice(&size);
        common.extend_from_slice(&length);
        common.extend_from_slice(&[0, 0]);
        archive.extend_from_slice(b"PK\x03\x04");
        archive.extend_from_slice(&common);
        archive.extend_from_slice(name.as_bytes());
        archive.extend_from_slice(content.as_bytes());
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&common);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let start = u32::try_from(archive.len()).expect("small");
    let count = u16::try_from(members.len()).expect("small").to_le_bytes();
    archive.extend_from_slice(&directory);
    archive.write_all(b"PK\x05\x06\0\0\0\0").expect("memory");
    archive.extend_from_slice(&count);
    archive.extend_from_slice(&count);
    archive.extend_from_slice(&u32::try_from(directory.len()).expect("small").to_le_bytes());
    archive.extend_from_slice(&start.to_le_bytes());
    archive.extend_from_slice(&[0, 0]);
    archive
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}
