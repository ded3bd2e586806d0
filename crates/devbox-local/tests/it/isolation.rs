//! What programs in a box can see and do.

use devbox_local::PoolChoice;
use devbox_types::BoxId;

use crate::machine::Machine;

async fn machine_with_box() -> (Machine, BoxId) {
    let machine = Machine::start(PoolChoice::Plain).await;
    let id = machine.create().await;
    (machine, id)
}

#[tokio::test]
async fn nothing_of_the_spawner_is_open_inside() {
    let (machine, id) = machine_with_box().await;
    let open = machine.ask(&id, "POST /open HTTP/1.1\r\n\r\n").await.output;
    let expected = |(number, line): (usize, &str)| match number {
        0..3 => line == format!("{number} /dev/null"),
        // The listener, and after the cgroups the connection of this very request.
        _ => line.starts_with(&format!("{number} socket:")) || line.ends_with("/cgroup.procs"),
    };
    assert!(open.lines().enumerate().all(expected), "{open}");
    assert_eq!(open.lines().filter(|line| line.contains("socket:")).count(), 2, "{open}");
    assert_ne!(machine.run(&id, "readlink /proc/1/fd/3").await.status, 0, "programs can look into the agent");
    machine.end().await;
}

#[tokio::test]
async fn programs_have_the_rights_of_a_container_and_no_more() {
    let (machine, id) = machine_with_box().await;
    let status = machine.output(&id, "cat /proc/self/status").await;
    let line = |name: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.map(str::trim).unwrap_or_else(|| panic!("no {name} in {status}")).to_owned()
    };
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(line(set), "00000000a80405fb", "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(line(set), "0000000000000000", "{set}");
    }
    assert_eq!(line("NoNewPrivs"), "1");
    assert_eq!(line("Seccomp"), "2");
    assert_eq!(line("Seccomp_filters"), "2");
    assert_eq!(line("Uid"), "0\t0\t0\t0");
    assert_eq!(line("Groups"), "");
    let first = machine.output(&id, "grep CapEff /proc/1/status").await;
    assert_eq!(first, "CapEff:\t00000008a80405fb", "the first process has its one lock more");
    machine.end().await;
}

#[tokio::test]
async fn mounts_namespaces_and_kernel_doors_are_shut() {
    let (machine, id) = machine_with_box().await;
    for command in [
        "mount -t tmpfs none /mnt",
        "umount /proc",
        "unshare -U true",
        "unshare -m true",
        "unshare -n true",
        "nsenter -t 1 -m true",
        "echo 1 > /proc/sys/kernel/printk",
        "echo b > /proc/sysrq-trigger",
        "chroot /proc/1/root umount /usr",
        "mknod /tmp/disk b 254 0",
        "hostname other",
    ] {
        let outcome = machine.run(&id, command).await;
        assert_ne!(outcome.status, 0, "{command} worked: {}", outcome.output);
        assert_ne!(outcome.status, 127, "{command} is not there: {}", outcome.output);
    }
    // clone3 is unknown here (38 is ENOSYS), a namespace by clone is refused (1 is EPERM), and so are keys, BPF,
    // io_uring, perf and sockets of families that nobody here needs.
    let probe = "import ctypes\n\
                 libc = ctypes.CDLL(None, use_errno=True)\n\
                 def call(*arguments):\n\
                 \x20   libc.syscall(*arguments)\n\
                 \x20   return ctypes.get_errno()\n\
                 print(call(435, 0, 0), call(56, 0x10000000 | 17, 0, 0, 0, 0), call(250, 0, 0, 0), call(321, 0, 0, 0), \
                 call(425, 1, 0), call(298, 0, 0, 0, 0, 0), call(272, 0x10000000), call(41, 38, 5, 0), call(41, 29, 3, 0), \
                 call(53, 30, 1, 0, 0))";
    let errors = machine.output(&id, &format!("/usr/bin/python3 -c '{probe}'")).await;
    assert_eq!(errors, "38 1 1 1 1 1 1 1 1 1");
    machine.end().await;
}

#[tokio::test]
async fn the_host_is_out_of_sight() {
    let secret = tempfile::NamedTempFile::new().expect("a file");
    let (machine, id) = machine_with_box().await;
    let path = secret.path().display();
    let look = format!("cat {path} || ls /proc/1/root{path} || ls {}", machine.directory.path().display());
    assert_ne!(machine.run(&id, &look).await.status, 0);
    assert_eq!(
        machine.output(&id, "ls / | tr '\\n' ' '").await,
        "bin dev etc home lib lib64 media mnt opt proc root run sbin srv sys tmp usr var workspace"
    );
    let mounts = machine.output(&id, "cat /proc/self/mountinfo").await;
    assert!(!mounts.contains("ext4") && !mounts.contains("btrfs"), "{mounts}");
    assert_eq!(machine.output(&id, "ls /sys | wc -l").await, "0");
    assert_eq!(
        machine.output(&id, "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c").await,
        "0"
    );
    assert_eq!(
        machine.output(&id, "ls /proc | grep -c '^[0-9]'").await.parse::<u32>().map(|n| n < 8),
        Ok(true)
    );
    assert_eq!(
        machine.output(&id, "ls /dev | sort | tr '\\n' ' '").await,
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    );
    machine.end().await;
}

#[tokio::test]
async fn devices_and_loopback_work() {
    let (machine, id) = machine_with_box().await;
    machine.output(&id, "echo x > /dev/null && head -c 4 /dev/urandom | wc -c && test -c /dev/ptmx").await;
    machine.output(&id, "touch /dev/shm/file && ! touch /dev/file 2>/dev/null").await;
    let echo = "import socket, threading\n\
                server = socket.create_server((\"127.0.0.1\", 0))\n\
                client = socket.create_connection(server.getsockname())\n\
                print(\"connected\")";
    assert_eq!(machine.output(&id, &format!("/usr/bin/python3 -c '{echo}'")).await, "connected");
    assert_eq!(machine.output(&id, "ulimit -n").await, "1024");
    let links = machine.output(&id, "cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' '").await;
    assert_eq!(links, "lo");
    assert_eq!(machine.output(&id, "hostname; cat /etc/hostname").await, format!("{id}\n{id}"));
    machine.end().await;
}

#[tokio::test]
async fn users_on_disk_are_those_of_the_box() {
    use std::os::unix::fs::MetadataExt;
    let (machine, id) = machine_with_box().await;
    machine
        .output(&id, "echo x > /workspace/a && chown 1000:1000 /workspace/a && echo x > /workspace/b")
        .await;
    assert_ne!(machine.run(&id, "chown 70000 /workspace/a").await.status, 0, "70000 is nobody in a box");
    let upper = machine.directory.path().join("plain/boxes").join(id.as_str()).join("root/workspace");
    let owner = |name| std::fs::metadata(upper.join(name)).expect("a file").uid();
    assert_eq!((owner("a"), owner("b")), (1000, 0));
    let process = std::fs::metadata(format!("/proc/{}", machine.first_pid(&id))).expect("a process");
    assert!(process.uid() >= 0x7000_0000, "the box's root is {} to the host", process.uid());
    machine.output(&id, "rm /usr/bin/env").await;
    let gone = machine.directory.path().join("plain/boxes").join(id.as_str()).join("usr/bin/env");
    assert_eq!(std::fs::symlink_metadata(gone).expect("a whiteout").rdev(), 0);
    assert!(std::path::Path::new("/usr/bin/env").exists());
    machine.end().await;
}

/// The kernel counts what a user namespace uses for whoever made it, too: that must not be the host's root.
#[tokio::test]
async fn attack_inotify_instances_of_the_host_are_used_up() {
    let machine = Machine::start(PoolChoice::Plain).await;
    let (hostile, other) = (machine.create().await, machine.create().await);
    let hoard = "import ctypes, resource\n\
                 hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n\
                 resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n\
                 libc = ctypes.CDLL(None)\n\
                 made = 0\n\
                 while made < hard - 64 and libc.inotify_init() >= 0: made += 1\n\
                 print(made, flush=True)\n\
                 open(\"/tmp/hoarded\", \"w\").close()\n\
                 import time\n\
                 time.sleep(60)";
    machine.output(&hostile, &format!("/usr/bin/python3 -c '{hoard}' > /tmp/made 2>&1 &")).await;
    machine.output(&hostile, "for i in $(seq 200); do test -e /tmp/hoarded && break; sleep 0.05; done").await;
    assert_ne!(machine.output(&hostile, "cat /tmp/made").await, "0");
    let one = "import ctypes; assert ctypes.CDLL(None).inotify_init() >= 0";
    machine.output(&other, &format!("/usr/bin/python3 -c '{one}'")).await;
    rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC)
        .expect("the host's root has its own");
    machine.end().await;
}

/// Terminals are counted for the whole machine.
#[tokio::test]
async fn attack_terminals_of_the_host_are_used_up() {
    let (machine, id) = machine_with_box().await;
    let hoard = "import os, resource\n\
                 resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n\
                 made = 0\n\
                 try:\n\
                 \x20   while made < 2000:\n\
                 \x20       os.open(\"/dev/ptmx\", os.O_RDWR)\n\
                 \x20       made += 1\n\
                 except OSError: pass\n\
                 print(made)";
    assert_eq!(machine.output(&id, &format!("/usr/bin/python3 -c '{hoard}'")).await, "256");
    machine.end().await;
}

#[tokio::test]
async fn attack_forged_overlay_attributes() {
    let (machine, id) = machine_with_box().await;
    // `/forged` would show the layer's /root if the overlay read what the box wrote.
    let forge = "import os\n\
                 os.mkdir(\"/forged\")\n\
                 for name in (\"trusted.overlay.redirect\", \"user.overlay.redirect\"):\n\
                 \x20   try:\n\
                 \x20       os.setxattr(\"/forged\", name, b\"/etc\")\n\
                 \x20       print(name, \"set\")\n\
                 \x20   except OSError as error:\n\
                 \x20       print(name, error.errno)";
    let told = machine.output(&id, &format!("/usr/bin/python3 -c '{forge}'")).await;
    assert!(told.starts_with("trusted.overlay.redirect 1\n"), "{told}");
    use devbox_backend::Backend as _;
    machine.backend.stop(&id).await.expect("stopped");
    machine.backend.start(&id).await.expect("started");
    assert_eq!(machine.output(&id, "ls -A /forged | wc -l").await, "0");
    machine.end().await;
}
