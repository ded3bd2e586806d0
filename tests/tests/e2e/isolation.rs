//! What a box cannot see, and what it cannot use up.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use devbox_client::{Client, Command, CreateRequest, Resources, Sandbox};
use devbox_tests::bed::{Bed, printed, shell};
use devbox_types::ActingUser;

#[tokio::test]
async fn a_box_sees_only_itself() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let root = sandbox.as_user(ActingUser::root());
    for user in [&sandbox, &root] {
        assert_eq!(
            printed(
                user,
                "ls /sys/class/net 2>/dev/null || awk -F: 'NR > 2 { print $1 }' /proc/net/dev | tr -d ' '"
            )
            .await?
            .split_whitespace()
            .filter(|name| *name != "lo")
            .count(),
            0,
            "a network beside lo"
        );
        let pids = printed(user, "ls -d /proc/[0-9]* | wc -l").await?.parse::<u32>()?;
        ensure!(pids < 10, "{pids} processes are seen");
    }
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    assert_ne!(printed(&root, "cat /proc/sys/kernel/hostname").await?, hostname.trim());
    ensure!(shell(&root, "ls /proc/1/root/ /proc/1/cwd/").await?.stdout.is_empty());
    // The server listens on this host's loopback, which is not the box's.
    let port = bed.server.address().port();
    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    let output = sandbox.run(Command::new(["bash", "-c", &connect])).await?;
    ensure!(!output.status.is_success(), "a box reached the server");
    Ok(())
}

#[tokio::test]
async fn programs_have_no_privilege_to_lose() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let root = sandbox.as_user(ActingUser::root());
    for (user, who) in [(&sandbox, "user"), (&root, "root")] {
        let status = printed(user, "cat /proc/self/status").await?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim();
        assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1", "2"), "{who}");
        let bounding = u64::from_str_radix(field("CapBnd:"), 16).context("CapBnd")?;
        // sys_module, sys_rawio, sys_ptrace, sys_admin, sys_boot, sys_time, syslog, bpf
        for capability in [16, 17, 19, 21, 22, 25, 34, 39] {
            assert_eq!(bounding >> capability & 1, 0, "{who} may have capability {capability}");
        }
        if who == "user" {
            assert_eq!(field("CapEff:").trim_start_matches('0'), "");
        }
        assert_eq!(printed(user, "ls /proc/self/fd | wc -l").await?, "4", "more than 0, 1, 2 is open");
    }
    let refused = [
        "mount -t tmpfs none /mnt",
        "mount --bind /tmp /mnt",
        "umount /proc",
        "unshare -U true",
        "unshare -m true",
        "mknod /tmp/disk b 8 0",
        "chroot / true",
        "hostname other",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "cat /proc/kcore > /dev/null",
        "head -c 1 /proc/keys",
        "dmesg",
    ];
    for line in refused {
        let output = shell(&root, line).await?;
        // `chroot` may be allowed by capability; the others may not.
        if line.starts_with("chroot") {
            continue;
        }
        ensure!(
            !output.status.is_success() || output.stdout.is_empty() && line.starts_with("head"),
            "{line} succeeded"
        );
    }
    Ok(())
}

#[tokio::test]
async fn attack_host_template_shows_private_files() -> Result<()> {
    let planted = Planted::make()?;
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let root = sandbox.as_user(ActingUser::root());
    for user in [&sandbox, &root] {
        for (path, private) in &planted.files {
            let seen = shell(user, &format!("cat '{}'", path.display())).await?;
            let seen = String::from_utf8_lossy(&seen.stdout).contains(Planted::SECRET);
            assert_eq!(seen, !private, "{}", path.display());
            if *private {
                ensure!(user.read(path.as_os_str().as_encoded_bytes()).await.is_err(), "{}", path.display());
            }
        }
        let passwd = printed(user, "cat /etc/passwd").await?;
        ensure!(passwd != std::fs::read_to_string("/etc/passwd")?.trim(), "this is the host's /etc/passwd");
        for absent in ["/usr/local/bin", "/usr/src", "/root/.ssh", "/var/lib/dpkg", "/boot"] {
            let listed = shell(user, &format!("ls -A {absent} 2>/dev/null")).await?;
            ensure!(listed.stdout.is_empty(), "{absent} of the host is seen");
        }
    }
    Ok(())
}

/// Files of the host's /usr, readable for "other" or not.
struct Planted {
    folder: PathBuf,
    /// Each with whether it is private.
    files: Vec<(PathBuf, bool)>,
}

impl Planted {
    const SECRET: &str = "planted by a test of devbox";

    fn make() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = PathBuf::from(format!("/usr/share/devbox-test-{}", std::process::id()));
        let mut planted = Self { folder: folder.clone(), files: Vec::new() };
        std::fs::create_dir_all(folder.join("closed/deep"))?;
        let files = [
            ("open", 0o644, false),
            ("private", 0o600, true),
            ("group", 0o640, true),
            ("execute-only", 0o711, true),
            ("closed/inside", 0o644, true),
            ("closed/deep/inside", 0o666, true),
        ];
        for (name, mode, private) in files {
            let file = folder.join(name);
            std::fs::write(&file, Self::SECRET)?;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode))?;
            planted.files.push((file, private));
        }
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755))?;
        std::fs::set_permissions(folder.join("closed"), std::fs::Permissions::from_mode(0o700))?;
        Ok(planted)
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn limited(client: &Client, resources: Resources) -> Result<Sandbox> {
    let request =
        CreateRequest { language: Some("python".to_owned()), resources, ..CreateRequest::default() };
    Ok(client.create_sandbox(&request).await?)
}

#[tokio::test]
async fn a_memory_bomb_stays_in_its_box() -> Result<()> {
    let bed = Bed::start()?;
    let resources = Resources { memory_bytes: Some(96 << 20), ..Resources::default() };
    let sandbox = limited(&bed.client, resources).await?;
    let bomb = "hoard = []\nwhile True: hoard.append(bytearray(1 << 20))";
    let output = sandbox.run(Command::new(["python3", "-c", bomb])).await?;
    ensure!(!output.status.is_success(), "it had all the memory it wanted");
    assert_eq!(output.status.signal, Some(9), "{}", String::from_utf8_lossy(&output.stderr));
    sandbox.write("after", "x").await?;
    assert_eq!(printed(&sandbox, "cat after").await?, "x");
    Ok(())
}

#[tokio::test]
async fn a_fork_bomb_stays_in_its_box() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = limited(&bed.client, Resources { pids: Some(50), ..Resources::default() }).await?;
    let count = "import os, time\nmade = 0\nwhile True:\n    try:\n        if os.fork() == 0: time.sleep(60); os._exit(0)\n        made += 1\n    except OSError: break\nprint(made)";
    let output = sandbox.run(Command::new(["python3", "-c", count])).await?;
    let made: u32 = String::from_utf8_lossy(&output.stdout).trim().parse()?;
    ensure!((30..50).contains(&made), "{made} processes were made under a limit of 50");

    let bomb = Command::new(["bash", "-c", ":(){ :|:& };:; sleep 1"]);
    let _ = sandbox.run(bomb.with_timeout(std::time::Duration::from_secs(2))).await;
    // File calls are the agent's, which has a reserve of its own.
    sandbox.write("after", "x").await?;
    assert_eq!(sandbox.read("after").await?, "x");
    Ok(())
}

#[tokio::test]
async fn a_busy_box_gets_no_more_than_its_share() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = limited(&bed.client, Resources { cpu_millis: Some(200), ..Resources::default() }).await?;
    let busy = "import time\nend = time.monotonic() + 2\nwhile time.monotonic() < end: pass\nprint(time.process_time())";
    let used: f64 = printed(&sandbox, &format!("python3 -c '{busy}'")).await?.parse()?;
    ensure!(used < 1.0, "{used} s of processor time in 2 s, at a fifth of one processor");
    Ok(())
}
