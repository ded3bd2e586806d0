//! What needs root: acting as other users, devices, mounts, full disks. Run by anybody else, these tests fail.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use devbox_fs::{BoxRoot, RootOptions, View};
use devbox_types::file::WriteRequest;
use devbox_types::operation::Operation;
use devbox_types::{ActingUser, ErrorCode, Grant, ListRequest};

use crate::fixture::{BOTH, Fixture, code, everything, path, read_from, write, write_to};

const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n\
    other:x:1001:1001::/home/other:/bin/sh\n";
const GROUP: &str = "root:x:0:\nuser:x:1000:\nteam:x:2000:user\n";

/// A root with users and a home for `user`.
fn box_with_users(options: RootOptions) -> Fixture {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
    let fixture = Fixture::with(options);
    std::fs::set_permissions(fixture.directory.path(), std::fs::Permissions::from_mode(0o755)).expect("mode");
    fixture.put("etc/passwd", PASSWD);
    fixture.put("etc/group", GROUP);
    std::fs::create_dir_all(fixture.host("home/user")).expect("a home");
    chown(fixture.host("home/user"), Some(1000), Some(1000)).expect("owned");
    std::fs::create_dir(fixture.host("root")).expect("root's home");
    std::fs::set_permissions(fixture.host("root"), std::fs::Permissions::from_mode(0o700)).expect("mode");
    fixture.put("root/secret", "root's");
    fixture
}

fn users() -> Fixture {
    box_with_users(RootOptions::default().with_default_user(ActingUser::Named("user".to_owned())))
}

fn as_user(fixture: &Fixture, user: &str) -> View {
    let grant = Grant::whole_box().with_user(user.parse().expect("a user"));
    fixture.root.enter(&grant).expect("a view")
}

/// A mount for as long as it is held.
struct Mount(PathBuf);

impl Mount {
    fn new(at: &Path, arguments: &[&str]) -> Self {
        std::fs::create_dir_all(at).expect("a mount point");
        let status = Command::new("mount").args(arguments).arg(at).status().expect("mount(8)");
        assert!(status.success(), "mount {arguments:?}");
        Self(at.to_path_buf())
    }

    fn tmpfs(at: &Path, size: &str) -> Self {
        Self::new(at, &["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn files_belong_to_the_acting_user_and_the_thread_is_itself_again() {
    let fixture = users();
    let view = fixture.view();
    let written = write_to(&view, "/home/user/a", "x").expect("written");
    assert_eq!((written.entry.uid, written.entry.gid), (1000, 1000));
    assert_eq!(written.entry.owner.as_deref(), Some("user"));
    let made = Operation::Mkdir { path: path("/home/user/d/e"), mode: None, parents: true };
    view.apply(&[made]).expect("made");
    assert_eq!(fixture.host("home/user/d/e").metadata().expect("metadata").uid(), 1000);
    fixture.put("home/user/by-this-thread", "");
    assert_eq!(fixture.host("home/user/by-this-thread").metadata().expect("metadata").uid(), 0);
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("status");
    assert!(status.contains("Uid:\t0\t0\t0\t0"), "{status}");
    let account = fixture.root.account(&ActingUser::Default).expect("an account");
    assert_eq!((account.name.as_str(), &account.groups[..]), ("user", &[1000, 2000][..]));
}

#[test]
fn a_user_has_its_groups_and_no_others() {
    let fixture = users();
    for (name, group, mode) in [("team", 2000, 0o770), ("others", 1001, 0o770), ("roots", 0, 0o770)] {
        std::fs::create_dir(fixture.host(name)).expect("a directory");
        chown(fixture.host(name), Some(0), Some(group)).expect("owned");
        std::fs::set_permissions(fixture.host(name), std::fs::Permissions::from_mode(mode)).expect("mode");
    }
    let denied = ErrorCode::PermissionDenied;
    let view = fixture.view();
    write_to(&view, "/team/a", "x").expect("a member");
    assert_eq!(code(write_to(&view, "/others/a", "x")), denied);
    assert_eq!(code(write_to(&view, "/roots/a", "x")), denied);
    let other = as_user(&fixture, "other");
    write_to(&other, "/others/b", "x").expect("the primary group");
    assert_eq!(code(write_to(&other, "/team/b", "x")), denied);
    assert_eq!(code(write_to(&other, "/roots/b", "x")), denied);
}

#[test]
fn the_kernel_checks_the_acting_user() {
    for confinement in BOTH {
        let options = RootOptions::default()
            .with_default_user(ActingUser::Named("user".to_owned()))
            .with_confinement(confinement);
        let fixture = box_with_users(options);
        let view = fixture.view();
        let denied = ErrorCode::PermissionDenied;
        assert_eq!(code(read_from(&view, "/root/secret")), denied);
        assert_eq!(code(view.stat(&path("/root/secret"), false)), denied);
        assert_eq!(code(write_to(&view, "/root/new", "x")), denied);
        assert_eq!(code(write_to(&view, "/new", "x")), denied);
        assert_eq!(code(write_to(&view, "/etc/passwd", "x")), denied);
        assert_eq!(code(view.list(&ListRequest::of(path("/root")))), denied);
        let operations = [
            Operation::Chmod { path: path("/etc/passwd"), mode: 0o777 },
            Operation::Chown {
                path: path("/etc/passwd"),
                owner: Some(ActingUser::Uid(1000)),
                gid: None,
                nofollow: false,
            },
            Operation::Utime { path: path("/etc/passwd"), modified: None, nofollow: false },
            Operation::Delete { path: path("/etc/passwd"), recursive: false, missing_ok: false },
            Operation::Move { from: path("/etc/passwd"), to: path("/home/user/p"), overwrite: false },
            Operation::Copy {
                from: path("/root/secret"),
                to: path("/home/user/p"),
                recursive: false,
                overwrite: false,
            },
            Operation::Mkdir { path: path("/etc/d"), mode: None, parents: false },
            Operation::Symlink { path: path("/etc/l"), target: b"x".to_vec() },
        ];
        let before = fixture.everything();
        for operation in operations {
            assert_eq!(code(view.apply(std::slice::from_ref(&operation))), denied, "{operation:?}");
        }
        assert_eq!(fixture.everything(), before);
        assert_eq!(read_from(&as_user(&fixture, "0"), "/root/secret").expect("read"), "root's");
        assert_eq!(
            code(fixture.root.enter(&Grant::whole_box().with_user("nobody".parse().expect("a user")))),
            ErrorCode::InvalidRequest
        );
    }
}

/// A link that the box's user plants gives nobody root: not the user, and root only what is in the box.
#[test]
fn attack_planted_link_write() {
    for confinement in BOTH {
        let options = RootOptions::default()
            .with_default_user(ActingUser::Named("user".to_owned()))
            .with_confinement(confinement);
        let fixture = box_with_users(options);
        let outside = tempfile::tempdir().expect("a directory");
        std::fs::write(outside.path().join("secret"), "outside").expect("written");
        let links = [
            ("to-secret", PathBuf::from("/root/secret")),
            ("to-passwd", PathBuf::from("../../etc/passwd")),
            ("to-outside", outside.path().join("secret")),
        ];
        for (name, target) in &links {
            std::os::unix::fs::symlink(target, fixture.host("home/user").join(name)).expect("a link");
        }
        let (user, root) = (fixture.view(), as_user(&fixture, "0"));
        assert_eq!(code(write_to(&user, "/home/user/to-secret", "x")), ErrorCode::PermissionDenied);
        assert_eq!(code(write_to(&user, "/home/user/to-passwd", "x")), ErrorCode::PermissionDenied);
        assert_eq!(code(write_to(&root, "/home/user/to-outside", "x")), ErrorCode::NotFound);
        assert_eq!(code(read_from(&root, "/home/user/to-outside")), ErrorCode::NotFound);
        write_to(&root, "/home/user/to-secret", "by root").expect("inside the box");
        assert_eq!(fixture.get("root/secret"), "by root");
        assert_eq!(fixture.get("etc/passwd"), PASSWD);
        let content = std::fs::read_to_string(outside.path().join("secret")).expect("read");
        assert_eq!(content, "outside");
    }
}

#[test]
fn the_owner_of_a_replaced_file_stays_or_the_write_is_refused() {
    let fixture = users();
    let (user, root) = (fixture.view(), as_user(&fixture, "0"));
    write_to(&user, "/home/user/a", "user's").expect("written");
    write_to(&root, "/home/user/a", "by root").expect("written");
    let metadata = fixture.host("home/user/a").metadata().expect("metadata");
    assert_eq!((metadata.uid(), metadata.gid()), (1000, 1000));
    fixture.put("home/user/roots", "x");
    std::fs::set_permissions(fixture.host("home/user/roots"), std::fs::Permissions::from_mode(0o666))
        .expect("mode");
    assert_eq!(code(write_to(&user, "/home/user/roots", "y")), ErrorCode::PermissionDenied);
    assert_eq!(fixture.get("home/user/roots"), "x");
    chown(fixture.host("home/user/a"), Some(1000), Some(2000)).expect("owned");
    write_to(&user, "/home/user/a", "group kept").expect("written");
    assert_eq!(fixture.host("home/user/a").metadata().expect("metadata").gid(), 2000);
    chown(fixture.host("home/user"), Some(1000), Some(2000)).expect("owned");
    std::fs::set_permissions(fixture.host("home/user"), std::fs::Permissions::from_mode(0o2775))
        .expect("mode");
    let made = Operation::Mkdir { path: path("/home/user/shared"), mode: None, parents: false };
    user.apply(&[made]).expect("made");
    let metadata = fixture.host("home/user/shared").metadata().expect("metadata");
    assert_eq!((metadata.gid(), metadata.mode() & 0o7777), (2000, 0o2755));
}

#[test]
fn a_tree_that_the_user_may_not_delete_whole_stays_whole() {
    let fixture = users();
    for name in ["tree/a/1", "tree/roots/2", "tree/z/3"] {
        fixture.put(&format!("home/user/{name}"), "x");
    }
    for name in ["tree", "tree/a", "tree/z"] {
        chown(fixture.host("home/user").join(name), Some(1000), Some(1000)).expect("owned");
    }
    let before = fixture.everything();
    let delete = Operation::Delete { path: path("/home/user/tree"), recursive: true, missing_ok: false };
    assert_eq!(code(fixture.view().apply(std::slice::from_ref(&delete))), ErrorCode::PermissionDenied);
    assert_eq!(fixture.everything(), before);
    as_user(&fixture, "0").apply(&[delete]).expect("root may");
}

#[test]
fn users_that_were_just_added_are_known() {
    let fixture = users();
    let new = Grant::whole_box().with_user("new".parse().expect("a user"));
    assert_eq!(code(fixture.root.enter(&new)), ErrorCode::InvalidRequest);
    fixture.put("etc/passwd", &format!("{PASSWD}new:x:1234:1234::/:\n"));
    fixture.root.enter(&new).expect("known now");
    std::thread::sleep(std::time::Duration::from_millis(50));
    std::fs::write(fixture.host("etc/p2"), PASSWD).expect("written");
    std::fs::rename(fixture.host("etc/p2"), fixture.host("etc/passwd")).expect("renamed");
    assert_eq!(code(fixture.root.enter(&new)), ErrorCode::InvalidRequest);
}

#[test]
fn devices_are_refused_at_once_and_never_opened() {
    let fixture = users();
    let device = rustix::fs::makedev(1, 5);
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        fixture.host("zero"),
        rustix::fs::FileType::CharacterDevice,
        mode,
        device,
    )
    .expect("a device");
    let view = as_user(&fixture, "0");
    assert_eq!(code(read_from(&view, "/zero")), ErrorCode::NotARegularFile);
    assert_eq!(code(write_to(&view, "/zero", "x")), ErrorCode::NotARegularFile);
    let copy = Operation::Copy { from: path("/zero"), to: path("/z"), recursive: false, overwrite: false };
    assert_eq!(code(view.apply(&[copy])), ErrorCode::NotARegularFile);
}

#[test]
fn a_full_disk_leaves_the_old_file_and_no_debris() {
    let fixture = users();
    let mount = fixture.host("small");
    let _mounted = Mount::tmpfs(&mount, "1m");
    std::fs::write(mount.join("a"), "old").expect("written");
    std::fs::write(mount.join("half"), vec![b'x'; 600 << 10]).expect("written");
    let before = everything(&mount);
    let view = as_user(&fixture, "0");
    let large = vec![b'y'; 2 << 20];
    let known = WriteRequest { length: Some(2 << 20), ..WriteRequest::to(path("/small/a")) };
    assert_eq!(code(view.stage(known)), ErrorCode::NoSpace);
    assert_eq!(code(write(&view, WriteRequest::to(path("/small/a")), &large)), ErrorCode::NoSpace);
    let mut batch = view.batch().expect("a batch");
    batch.begin(WriteRequest::to(path("/small/a"))).expect("begun");
    batch.write(b"new").expect("written");
    batch.finish().expect("finished");
    batch.begin(WriteRequest::to(path("/small/b"))).expect("begun");
    assert_eq!(code(batch.write(&large)), ErrorCode::NoSpace);
    drop(batch);
    let copy = Operation::Copy {
        from: path("/small/half"),
        to: path("/small/c"),
        recursive: false,
        overwrite: false,
    };
    assert_eq!(code(view.apply(std::slice::from_ref(&copy))), ErrorCode::NoSpace);
    let list = [Operation::Mkdir { path: path("/small/d"), mode: None, parents: false }, copy];
    assert_eq!(code(view.apply(&list)), ErrorCode::NoSpace);
    assert_eq!(everything(&mount), before);
}

#[test]
fn a_disk_that_is_full_at_any_moment_leaves_old_or_new() {
    let fixture = users();
    let mount = fixture.host("small");
    let _mounted = Mount::new(&mount, &["-t", "tmpfs", "-o", "size=64k,nr_inodes=24", "none"]);
    let root = BoxRoot::open(&mount, RootOptions::default()).expect("a root");
    let view = root.enter(&Grant::whole_box()).expect("a view");
    write_to(&view, "/a", "old").expect("written");
    // One inode fewer is free each time, so each step that needs one fails once.
    let mut results = Vec::new();
    for round in 0..24 {
        let before = everything(&mount);
        let list = [
            Operation::Mkdir { path: path(&format!("/d{round}")), mode: None, parents: false },
            Operation::Copy {
                from: path("/a"),
                to: path(&format!("/d{round}/a")),
                recursive: false,
                overwrite: false,
            },
            Operation::Symlink { path: path(&format!("/d{round}/l")), target: b"x".repeat(200) },
            Operation::Delete { path: path(&format!("/d{round}")), recursive: true, missing_ok: false },
        ];
        let result = view.apply(&list);
        assert_eq!(everything(&mount), before, "{result:?}");
        results.push(result.is_ok());
        if std::fs::write(mount.join(format!("filler{round}")), "").is_err() {
            break;
        }
    }
    assert!(results.contains(&true) && results.contains(&false), "{results:?}");
}

#[test]
fn a_read_only_file_system_says_so() {
    let fixture = users();
    fixture.put("ro-source/a", "x");
    let source = fixture.host("ro-source");
    let source = source.to_str().expect("text");
    let mount = fixture.host("ro");
    let mounted = Mount::new(&mount, &["--bind", source]);
    assert!(
        Command::new("mount").args(["-o", "remount,ro,bind"]).arg(&mount).status().expect("mount").success()
    );
    let view = as_user(&fixture, "0");
    assert_eq!(code(write_to(&view, "/ro/a", "y")), ErrorCode::ReadOnly);
    let delete = Operation::Delete { path: path("/ro/a"), recursive: false, missing_ok: false };
    assert_eq!(code(view.apply(&[delete])), ErrorCode::ReadOnly);
    let root = BoxRoot::open(&mount, RootOptions::default()).expect("a root without journals");
    assert!(!root.is_journalled());
    drop(mounted);
}

#[test]
fn a_move_across_file_systems_is_a_copy_and_says_so() {
    let fixture = users();
    let mount = fixture.host("mnt");
    let _mounted = Mount::tmpfs(&mount, "1m");
    fixture.put("tree/a", "a");
    chown(fixture.host("tree/a"), Some(1001), Some(1001)).expect("owned");
    std::os::unix::fs::symlink("a", fixture.host("tree/l")).expect("a link");
    let view = as_user(&fixture, "0");
    let across = Operation::Move { from: path("/tree"), to: path("/mnt/tree"), overwrite: false };
    let back = Operation::Move { from: path("/mnt/tree"), to: path("/tree"), overwrite: false };
    assert!(!view.apply(std::slice::from_ref(&across)).expect("moved").atomic);
    assert_eq!(everything(&mount), ["tree/", "tree/a a", "tree/l -> a"]);
    assert_eq!(mount.join("tree/a").metadata().expect("metadata").uid(), 1001);
    assert!(!fixture.host("tree").exists());
    let fails = Operation::Delete { path: path("/missing"), recursive: false, missing_ok: false };
    let before = fixture.everything();
    assert_eq!(code(view.apply(&[back.clone(), fails])), ErrorCode::NotFound);
    assert_eq!(fixture.everything(), before);
    view.apply(&[back]).expect("moved back");
    let delete = Operation::Delete { path: path("/mnt"), recursive: true, missing_ok: false };
    assert_eq!(code(view.apply(&[delete])), ErrorCode::Busy);
}

#[test]
fn directories_of_a_lower_overlay_layer_are_moved_and_deleted() {
    for option in ["userxattr", "redirect_dir=on"] {
        let fixture = users();
        let layers = tempfile::tempdir().expect("a directory");
        // Overlay wants its upper layer on a file system with the right attributes, which tmpfs is.
        let layers_mount = Mount::tmpfs(layers.path(), "16m");
        let layer = |name: &str| layers.path().join(name);
        for name in ["lower/tree/sub", "lower/gone/sub", "lower/list/sub", "upper", "work"] {
            std::fs::create_dir_all(layer(name)).expect("a layer");
        }
        for name in ["lower/tree/sub/a", "lower/gone/sub/b", "lower/list/sub/c", "lower/file"] {
            std::fs::write(layer(name), "below").expect("written");
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={},{option}",
            layer("lower").display(),
            layer("upper").display(),
            layer("work").display()
        );
        let mount = fixture.host("merged");
        let mounted = Mount::new(&mount, &["-t", "overlay", "-o", &options, "none"]);
        let root = BoxRoot::open(&mount, RootOptions::default()).expect("a root");
        let view = root.enter(&Grant::whole_box()).expect("a view");
        let report = view
            .apply(&[Operation::Move { from: path("/tree"), to: path("/moved"), overwrite: false }])
            .expect("moved");
        assert_eq!(report.atomic, option != "userxattr", "{option}");
        let delete = |name| Operation::Delete { path: path(name), recursive: true, missing_ok: false };
        view.apply(&[delete("/gone")]).expect("deleted");
        let before = everything(&mount);
        assert_eq!(code(view.apply(&[delete("/list"), delete("/missing")])), ErrorCode::NotFound);
        assert_eq!(everything(&mount), before, "{option}");
        view.apply(&[delete("/list"), delete("/moved/sub/a")]).expect("deleted");
        let mut tag = None;
        while tag.as_ref().is_none_or(devbox_types::Etag::is_weak) {
            tag = view.stat(&path("/file"), false).expect("an entry").etag;
        }
        let condition = devbox_types::WriteCondition::Matches(vec![tag.expect("a tag")]);
        let request = WriteRequest { condition, ..WriteRequest::to(path("/file")) };
        write(&view, request, b"above").expect("a lower file is replaced under a condition");
        assert_eq!(everything(&mount), ["file above", "moved/", "moved/sub/"], "{option}");
        drop((view, root, mounted, layers_mount));
    }
}

fn journals(fixture: &Fixture) -> Vec<String> {
    let state = std::fs::read_dir(fixture.host(".~devbox-state")).expect("the state");
    let names = state.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("journal-")).collect()
}

/// The state directory is root's, and the calls act as somebody else: their journals come and go all the same.
#[test]
fn calls_of_a_user_leave_no_journal_behind() {
    let fixture = users();
    let view = fixture.view();
    let mut batch = view.batch().expect("a batch");
    batch.add(WriteRequest::to(path("/home/user/a")), b"x").expect("added");
    batch.publish().expect("published");
    assert_eq!(journals(&fixture), Vec::<String>::new(), "after a batch");
    let mut batch = view.batch().expect("a batch");
    batch.add(WriteRequest::to(path("/home/user/a")), b"y").expect("added");
    drop(batch);
    assert_eq!(journals(&fixture), Vec::<String>::new(), "after a dropped batch");
    let make = |name: &str| Operation::Mkdir { path: path(name), mode: None, parents: false };
    view.apply(&[make("/home/user/d"), make("/home/user/e")]).expect("applied");
    assert_eq!(journals(&fixture), Vec::<String>::new(), "after a list");
    assert_eq!(code(view.apply(&[make("/home/user/f"), make("/home/user/e")])), ErrorCode::Exists);
    assert_eq!(journals(&fixture), Vec::<String>::new(), "after a failed list");
    let _mounted = Mount::new(&fixture.host("mnt"), &["-t", "tmpfs", "-o", "size=1m,mode=1777", "none"]);
    let across = Operation::Move { from: path("/home/user/d"), to: path("/mnt/d"), overwrite: false };
    view.apply(&[across]).expect("moved across file systems");
    assert_eq!(journals(&fixture), Vec::<String>::new(), "after a move across file systems");
}

#[test]
fn a_tree_is_deleted_from_a_full_disk() {
    let fixture = users();
    let mount = fixture.host("small");
    let _mounted = Mount::tmpfs(&mount, "256k");
    std::fs::create_dir_all(mount.join("tree/sub")).expect("made");
    let root = BoxRoot::open(&mount, RootOptions::default()).expect("a root");
    let mut filler = std::fs::File::create(mount.join("tree/sub/filler")).expect("a file");
    while std::io::Write::write(&mut filler, &[0; 4096]).is_ok_and(|count| count > 0) {}
    let view = root.enter(&Grant::whole_box()).expect("a view");
    let delete = Operation::Delete { path: path("/tree"), recursive: true, missing_ok: false };
    let report = view.apply(&[delete]).expect("deleted");
    assert_eq!((report.entries, report.atomic), (3, false));
    assert_eq!(everything(&mount), Vec::<String>::new());
}

/// Some files that the kernel makes up never end: a page table has 256 GiB, and says that it has none.
#[test]
fn copying_what_the_kernel_makes_up_is_bounded() {
    let fixture = users();
    let _mounted = Mount::new(&fixture.host("proc"), &["-t", "proc", "none"]);
    let view = as_user(&fixture, "0");
    let copy = |from: String| {
        let to = path("/home/user/copy");
        view.apply(&[Operation::Copy { from: path(&from), to, recursive: false, overwrite: true }])
    };
    let process = std::process::id();
    assert_eq!(code(copy(format!("/proc/{process}/pagemap"))), ErrorCode::TooLarge);
    assert!(!fixture.host("home/user/copy").exists());
    let report = copy(format!("/proc/{process}/status")).expect("copied");
    assert!(report.bytes > 100 && fixture.get("home/user/copy").starts_with("Name:"), "{report:?}");
}
