//! Exchanges against every operation: while a call is under way, what it goes through becomes a link to the outside and back.
//!
//! This is how files of the host were read and written through `docker cp` (CVE-2018-15664), how its helper was made to load a
//! library of the container (CVE-2019-14271), how `kubectl cp` was led out of its target (CVE-2019-11246, CVE-2019-11249), and
//! how runc was made to mount over the host (CVE-2021-30465).

use bytes::Bytes;
use devbox_archive::{ArchiveWriter, EntryHead};
use devbox_guest::contract::UploadPart;
use devbox_guest::{Archives as _, Body, Files as _, Uploads as _};
use devbox_types::archive::{ArchiveFormat, ArchiveRequest, UnpackRequest};
use devbox_types::digest::Digests;
use devbox_types::entry::StatRequest;
use devbox_types::file::WriteRequest;
use devbox_types::metadata::{Group, MetadataChange, XattrChange};
use devbox_types::operation::Operation;
use devbox_types::patch::{PatchPlace, PatchRequest};
use devbox_types::upload::{ChunkRequest, UploadRequest, UploadRole};
use devbox_types::{ActingUser, Entry, ListRequest, Timestamp};
use futures_util::stream::{self, StreamExt as _};

use crate::arena::{Arena, attack, path};
use crate::canary::{ONLY_HERE, SIZE};
use crate::rounds;

/// Rounds of each attack in a quick run, over all ways.
const QUICK: usize = 2000;

#[test]
fn attack_exchange_read() {
    attack(rounds(QUICK), |arena| match arena.round % 3 {
        0 => arena.read(arena.at(ONLY_HERE)).map(|content| panic!("read {content:?}")),
        1 => arena.read(arena.at("sub/deep")).map(drop),
        _ => arena.read(arena.at("file")).map(drop),
    });
}

#[test]
fn attack_exchange_write() {
    attack(rounds(QUICK), |arena| {
        let name = ["file", ONLY_HERE, "sub/deep", "made"][arena.round % 4];
        let request = WriteRequest { nofollow: arena.round % 8 < 4, ..WriteRequest::to(arena.at(name)) };
        let written = arena.run(arena.guest.write(&arena.grant, request, Body::from_bytes("written")));
        if let Ok(written) = &written {
            assert_harmless(&written.entry);
        }
        arena.remove(&[ONLY_HERE, "made"]);
        written.map(drop)
    });
}

#[test]
fn attack_exchange_write_streamed() {
    attack(rounds(QUICK), |arena| {
        let request = WriteRequest {
            make_parents: true,
            ..WriteRequest::to(arena.at(["file", "new/made"][arena.round % 2]))
        };
        let chunks = (0..3).map(|_| Ok(Bytes::from_static(b"piece")));
        let written = arena.run(arena.guest.write(
            &arena.grant,
            request,
            Body::from_stream(stream::iter(chunks), None),
        ));
        arena.remove(&["new"]);
        written.map(drop)
    });
}

#[test]
fn attack_exchange_write_in_place() {
    attack(rounds(QUICK), |arena| {
        let name = ["file", ONLY_HERE, "sub/deep", "made"][arena.round % 4];
        let request = WriteRequest { in_place: true, ..WriteRequest::to(arena.at(name)) };
        let written = arena.run(arena.guest.write(&arena.grant, request, Body::from_bytes("written")));
        arena.remove(&[ONLY_HERE, "made"]);
        written.map(drop)
    });
}

#[test]
fn attack_exchange_patch() {
    attack(rounds(QUICK), |arena| {
        let place = [PatchPlace::End, PatchPlace::Offset(2)][arena.round / 4 % 2];
        let request = PatchRequest {
            atomic: arena.round % 16 < 8,
            create: arena.round % 32 < 16,
            truncate: Some(3),
            ..PatchRequest::at(arena.at(["file", ONLY_HERE, "sub/deep", "made"][arena.round % 4]), place)
        };
        let patched = arena.run(arena.guest.patch(&arena.grant, request, Body::from_bytes("piece")));
        arena.remove(&[ONLY_HERE, "made"]);
        patched.map(drop)
    });
}

#[test]
fn attack_exchange_stat() {
    attack(rounds(QUICK), |arena| {
        let (name, follow) =
            [("file", true), (ONLY_HERE, true), ("sub", true), ("sub/deep", false)][arena.round % 4];
        let entry = arena
            .run(arena.guest.stat(&arena.grant, StatRequest { follow, ..StatRequest::of(arena.at(name)) }))?;
        assert_harmless(&entry);
        Ok(())
    });
}

#[test]
fn attack_exchange_list() {
    attack(rounds(QUICK), |arena| {
        let request = ListRequest { depth: 3, ..ListRequest::of(arena.directory()) };
        let page = arena.run(arena.guest.list(&arena.grant, request))?;
        page.entries.iter().for_each(assert_harmless);
        Ok(())
    });
}

#[test]
fn attack_exchange_walk() {
    attack(rounds(QUICK), |arena| {
        let request = ListRequest { depth: 3, ..ListRequest::of(arena.directory()) };
        arena.run(async {
            let mut entries = arena.guest.walk(&arena.grant, request).await?;
            while let Some(entry) = entries.next().await {
                assert_harmless(&entry?);
            }
            Ok(())
        })
    });
}

#[test]
fn attack_exchange_delete() {
    attack(rounds(QUICK), |arena| {
        let name = ["file", ONLY_HERE, "sub/deep", "sub/only-here"][arena.round % 4];
        let deleted =
            arena.apply(Operation::Delete { path: arena.at(name), recursive: false, missing_ok: false });
        arena.restore();
        deleted
    });
}

#[test]
fn attack_exchange_delete_recursively() {
    attack(rounds(QUICK), |arena| {
        let delete = |path| arena.apply(Operation::Delete { path, recursive: true, missing_ok: false });
        let deleted = delete(arena.at("sub"));
        arena.restore();
        deleted
    });
}

#[test]
fn attack_exchange_mkdir() {
    attack(rounds(QUICK), |arena| {
        let name = ["made", "made/a/b", "sub/made"][arena.round % 3];
        let made = arena.apply(Operation::Mkdir { path: arena.at(name), mode: None, parents: true });
        arena.remove(&["made", "sub/made"]);
        made
    });
}

#[test]
fn attack_exchange_move_out() {
    attack(rounds(QUICK), |arena| {
        let from = arena.at(["file", ONLY_HERE, "sub", "sub/deep"][arena.round % 4]);
        let moved = arena.apply(Operation::Move { from, to: path("/stolen"), overwrite: true });
        assert_nothing_stolen(arena);
        arena.restore();
        moved
    });
}

#[test]
fn attack_exchange_move_in() {
    attack(rounds(QUICK), |arena| {
        let (from, to) = [("/plain", "file"), ("/plain", ONLY_HERE), ("/tree", "made")][arena.round % 3];
        let moved = arena.apply(Operation::Move { from: path(from), to: arena.at(to), overwrite: true });
        arena.remove(&[ONLY_HERE, "made"]);
        arena.restore();
        moved
    });
}

#[test]
fn attack_exchange_copy_out() {
    attack(rounds(QUICK), |arena| {
        let from = arena.at(["file", ONLY_HERE, "sub/deep", "sub/only-here"][arena.round % 4]);
        let copied =
            arena.apply(Operation::Copy { from, to: path("/stolen"), recursive: false, overwrite: true });
        assert_nothing_stolen(arena);
        copied
    });
}

#[test]
fn attack_exchange_copy_out_recursively() {
    attack(rounds(QUICK), |arena| {
        let from = if arena.round % 2 == 0 { arena.directory() } else { arena.at("sub") };
        let copied =
            arena.apply(Operation::Copy { from, to: path("/stolen"), recursive: true, overwrite: true });
        assert_nothing_stolen(arena);
        copied
    });
}

#[test]
fn attack_exchange_copy_in() {
    attack(rounds(QUICK), |arena| {
        let (from, to) =
            [("/plain", "file"), ("/plain", "sub/only-here"), ("/tree", "made")][arena.round % 3];
        let copied = arena.apply(Operation::Copy {
            from: path(from),
            to: arena.at(to),
            recursive: true,
            overwrite: true,
        });
        arena.remove(&["made", "sub/only-here"]);
        copied
    });
}

#[test]
fn attack_exchange_symlink() {
    attack(rounds(QUICK), |arena| {
        let name = ["made", "sub/made"][arena.round % 2];
        let made = arena.apply(Operation::Symlink { path: arena.at(name), target: b"anywhere".to_vec() });
        arena.remove(&["made", "sub/made"]);
        made
    });
}

#[test]
fn attack_exchange_chmod() {
    attack(rounds(QUICK), |arena| {
        let name = ["file", ONLY_HERE, "sub", "sub/deep"][arena.round % 4];
        arena.apply(Operation::Chmod { path: arena.at(name), mode: 0o4777 })
    });
}

#[test]
fn attack_exchange_chown() {
    attack(rounds(QUICK), |arena| {
        let name = ["file", ONLY_HERE, "sub", "sub/deep"][arena.round % 4];
        arena.apply(Operation::Chown {
            path: arena.at(name),
            owner: Some(ActingUser::Uid(1000)),
            gid: Some(1000),
            nofollow: arena.round % 8 < 4,
        })
    });
}

#[test]
fn attack_exchange_utime() {
    attack(rounds(QUICK), |arena| {
        let name = ["file", ONLY_HERE, "sub", "sub/deep"][arena.round % 4];
        arena.apply(Operation::Utime {
            path: arena.at(name),
            modified: Some(Timestamp::EPOCH),
            nofollow: arena.round % 8 < 4,
        })
    });
}

#[test]
fn attack_exchange_set_metadata() {
    attack(rounds(QUICK), |arena| {
        let attribute = XattrChange { name: b"user.attack".to_vec(), value: Some(b"set".to_vec()) };
        let set = MetadataChange {
            mode: Some(0o4777),
            owner: Some(ActingUser::Uid(1000)),
            group: Some(Group::Gid(1000)),
            modified: Some(Timestamp::EPOCH),
            xattrs: vec![attribute],
            ..MetadataChange::default()
        };
        let path = arena.at(["file", ONLY_HERE, "sub", "sub/deep"][arena.round % 4]);
        arena.apply(Operation::SetMetadata { path, set })
    });
}

#[test]
fn attack_exchange_hard_link_out() {
    attack(rounds(QUICK), |arena| {
        let from = arena.at(["file", ONLY_HERE, "sub/deep", "sub/only-here"][arena.round % 4]);
        let linked = arena.apply(Operation::Link { from, to: path("/stolen") });
        assert_nothing_stolen(arena);
        linked
    });
}

#[test]
fn attack_exchange_hard_link_in() {
    attack(rounds(QUICK), |arena| {
        let to = arena.at(["made", "sub/made"][arena.round % 2]);
        let linked = arena.apply(Operation::Link { from: path("/plain"), to });
        arena.remove(&["made", "sub/made"]);
        linked
    });
}

#[test]
fn attack_exchange_write_among_operations() {
    attack(rounds(QUICK), |arena| {
        let write = |name: &str, parents| Operation::Write {
            path: arena.at(name),
            content: b"written".to_vec(),
            mode: None,
            parents,
            overwrite: true,
            nofollow: arena.round % 2 == 0,
        };
        let operations = vec![write("file", false), write("sub/only-here", false), write("new/a", true)];
        let written = arena.run(arena.guest.apply(&arena.grant, operations)).map(drop);
        arena.remove(&["new", "sub/only-here"]);
        written
    });
}

#[test]
fn attack_exchange_many_operations() {
    attack(rounds(QUICK), |arena| {
        let delete =
            |name: &str| Operation::Delete { path: arena.at(name), recursive: true, missing_ok: true };
        let operations = vec![
            Operation::Mkdir { path: arena.at("made"), mode: None, parents: false },
            Operation::Move { from: arena.at("file"), to: arena.at("made/file"), overwrite: false },
            Operation::Chmod { path: arena.at("sub"), mode: 0o700 },
            Operation::Copy {
                from: arena.at("sub"),
                to: arena.at("made/sub"),
                recursive: true,
                overwrite: false,
            },
            delete("sub"),
            Operation::Symlink { path: arena.at("sub"), target: b"made/sub".to_vec() },
            delete("made"),
            // Every other call fails at its end, and what it did is undone under attack.
            delete(if arena.round % 2 == 0 { "sub" } else { "missing/or/link" }),
            Operation::Symlink { path: arena.at("file"), target: b"anywhere".to_vec() },
        ];
        let applied = arena.run(arena.guest.apply(&arena.grant, operations)).map(drop);
        arena.remove(&["made"]);
        arena.restore();
        applied
    });
}

#[test]
fn attack_exchange_batch() {
    attack(rounds(QUICK), |arena| {
        let part = |name: &str, make_parents| {
            let request = WriteRequest { make_parents, ..WriteRequest::to(arena.at(name)) };
            Ok(UploadPart { request, body: Body::from_bytes("written") })
        };
        let parts =
            [part("file", false), part("sub/deep", false), part("new/a/b", true), part(ONLY_HERE, false)];
        let written = arena.run(arena.guest.write_many(&arena.grant, stream::iter(parts).boxed()));
        arena.remove(&["new", ONLY_HERE]);
        written.map(drop)
    });
}

#[test]
fn attack_exchange_pack() {
    attack(rounds(QUICK), |arena| {
        let paths = match arena.round % 3 {
            0 => vec![arena.directory().into()],
            1 => vec![arena.at("sub").into(), arena.at("file").into()],
            _ => vec![arena.at("sub/deep").into()],
        };
        let request = ArchiveRequest::of(paths, ArchiveFormat::Tar);
        arena.run(async {
            let body = arena.guest.pack(&arena.grant, request).await?;
            let archive = body.collect(1 << 20).await?;
            arena.assert_clean(&archive);
            assert!(!String::from_utf8_lossy(&archive).contains(ONLY_HERE), "the canary was listed");
            Ok(())
        })
    });
}

#[test]
fn attack_exchange_unpack() {
    attack(rounds(QUICK), |arena| {
        let (directory, prefix) = match arena.round % 3 {
            0 => (arena.directory(), ""),
            1 => (arena.at("sub"), ""),
            _ => (path("/"), "dir/"),
        };
        let format = [ArchiveFormat::Tar, ArchiveFormat::Zip][arena.round % 2];
        let names = ["file", ONLY_HERE, "sub/deep", "new/a"].map(|name| format!("{prefix}{name}"));
        let archive = archive_of(format, &names);
        let request = UnpackRequest { make_parents: true, ..UnpackRequest::into(directory, format) };
        let unpacked = arena.run(arena.guest.unpack(&arena.grant, request, Body::from_bytes(archive)));
        arena.remove(&["new", ONLY_HERE, "sub/new", "sub/sub", "sub/file", "sub/only-here"]);
        unpacked.map(drop)
    });
}

#[test]
fn attack_exchange_upload() {
    attack(rounds(QUICK), |arena| {
        let name = ["file", ONLY_HERE, "sub/deep", "new/made"][arena.round % 4];
        let write = WriteRequest { length: Some(10), make_parents: true, ..WriteRequest::to(arena.at(name)) };
        let begin =
            UploadRequest { write, digest_follows: false, metadata: String::new(), role: UploadRole::File };
        let uploaded = arena.run(async {
            let status = arena.guest.create_upload(&arena.grant, begin).await?;
            for offset in [0, 5] {
                let chunk = ChunkRequest {
                    id: status.id.clone(),
                    offset,
                    length: Some(5),
                    checksum: None,
                    digests: Digests::default(),
                };
                let piece = arena.guest.append_upload(&arena.grant, chunk, Body::from_bytes("piece")).await;
                if let Err(problem) = piece {
                    let _ = arena.guest.delete_upload(&arena.grant, status.id).await;
                    return Err(problem);
                }
            }
            arena.guest.delete_upload(&arena.grant, status.id).await
        });
        arena.remove(&["new", ONLY_HERE]);
        uploaded
    });
}

fn archive_of(format: ArchiveFormat, names: &[String]) -> Vec<u8> {
    let mut archive = ArchiveWriter::new(format, Vec::new()).expect("an archive");
    for name in names {
        let name = name.as_bytes();
        let modified = Timestamp::EPOCH;
        let head = EntryHead { name, mode: 0o644, modified, uid: 0, gid: 0, attributes: &[] };
        archive.add_file(&head, 7, &b"written"[..]).expect("added");
    }
    archive.finish().expect("an archive")
}

/// Asserts that what a call tells of is not the canary's.
fn assert_harmless(entry: &Entry) {
    let name = entry.path.0.name().unwrap_or_default();
    let told = name == ONLY_HERE.as_bytes() || entry.size_bytes == SIZE && entry.target.is_none();
    // What was written a moment ago under the name that only the canary has is this test's own.
    assert!(!told || entry.size_bytes == 7, "the canary was looked at: {entry:?}");
}

/// Asserts that nothing of the canary's was moved or copied to `/stolen`, and takes that away.
fn assert_nothing_stolen(arena: &Arena) {
    for (path, content) in arena.made("stolen") {
        arena.assert_clean(&content.unwrap_or_default());
        assert!(!path.ends_with(ONLY_HERE), "{path:?} was stolen");
    }
    arena.clear("stolen");
}
