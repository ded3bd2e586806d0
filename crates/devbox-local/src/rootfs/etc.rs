//! The synthesised `/`: the directories that every program expects, a few files of our own, and public ones of the host.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

/// Directories, their modes and their owner (user and group).
const DIRECTORIES: [(&str, u32, u32); 27] = [
    ("dev", 0o755, 0),
    ("etc", 0o755, 0),
    ("etc/ssl", 0o755, 0),
    ("etc/ssl/certs", 0o755, 0),
    ("home", 0o755, 0),
    ("home/user", 0o755, USER),
    ("media", 0o755, 0),
    ("mnt", 0o755, 0),
    ("opt", 0o755, 0),
    ("proc", 0o555, 0),
    ("root", 0o700, 0),
    ("run", 0o755, 0),
    ("run/lock", 0o1777, 0),
    ("srv", 0o755, 0),
    ("sys", 0o555, 0),
    ("tmp", 0o1777, 0),
    ("usr", 0o755, 0),
    ("var", 0o755, 0),
    ("var/cache", 0o755, 0),
    ("var/lib", 0o755, 0),
    ("var/local", 0o755, 0),
    ("var/log", 0o755, 0),
    ("var/mail", 0o755, 0),
    ("var/opt", 0o755, 0),
    ("var/spool", 0o755, 0),
    ("var/tmp", 0o1777, 0),
    ("workspace", 0o755, USER),
];

/// The user that programs run as unless another is asked for.
const USER: u32 = 1000;

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:x:2:2:bin:/bin:/usr/sbin/nologin
sys:x:3:3:sys:/dev:/usr/sbin/nologin
man:x:6:12:man:/var/cache/man:/usr/sbin/nologin
mail:x:8:8:mail:/var/mail:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
_apt:x:42:65534::/nonexistent:/usr/sbin/nologin
user:x:1000:1000:user:/home/user:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
";

const GROUP: &str = "\
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
mail:x:8:
man:x:12:
utmp:x:43:
shadow:x:42:
staff:x:50:
www-data:x:33:
users:x:100:
user:x:1000:
nogroup:x:65534:
";

const SHADOW: &str = "root:*:19000:0:99999:7:::\nuser:*:19000:0:99999:7:::\n";

const NSSWITCH: &str = "\
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
";

const PROFILE: &str = "\
if [ \"$(id -u)\" -eq 0 ]; then
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
else
  PATH=/usr/local/bin:/usr/bin:/bin
fi
export PATH
";

/// Files of our own.
const FILES: [(&str, u32, &str); 10] = [
    ("etc/passwd", 0o644, PASSWD),
    ("etc/group", 0o644, GROUP),
    ("etc/shadow", 0o600, SHADOW),
    ("etc/nsswitch.conf", 0o644, NSSWITCH),
    ("etc/profile", 0o644, PROFILE),
    ("etc/resolv.conf", 0o644, ""),
    ("etc/fstab", 0o644, ""),
    ("etc/shells", 0o644, "/bin/sh\n/bin/bash\n"),
    ("etc/host.conf", 0o644, "multi on\n"),
    ("etc/networks", 0o644, "loopback 127.0.0.0\n"),
];

/// Files and directories of the host's `/etc` that are no secret, hold no address or name of the host, and without which
/// programs of its `/usr` do not work. Taken over if "other" may read them.
const PUBLIC: [&str; 13] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates.conf",
    "debian_version",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "mime.types",
    "perl",
    "protocols",
    "python3",
    "services",
    "ssl/certs/ca-certificates.crt",
];
/// The same for names that carry a version.
const PUBLIC_PREFIXES: [&str; 2] = ["python3.", "java-"];

/// The largest file that is taken over: a bundle of certificates has 200 KiB.
const LARGEST: u64 = 4 << 20;

/// Fills `root`, an empty directory. `usr` is the host's `/usr`, `etc` its `/etc`.
pub(super) fn fill(root: &Path, usr: &Path, etc: &Path) -> io::Result<()> {
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    for (name, mode, owner) in DIRECTORIES {
        let path = root.join(name);
        fs::create_dir(&path)?;
        chown(&path, Some(owner), Some(owner))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    merge_usr(root, usr)?;
    for (name, mode, content) in FILES {
        let path = root.join(name);
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    symlink("../usr/lib/os-release", root.join("etc/os-release"))?;
    symlink("/usr/share/zoneinfo/Etc/UTC", root.join("etc/localtime"))?;
    symlink("../proc/self/mounts", root.join("etc/mtab"))?;
    symlink("/run", root.join("var/run"))?;
    symlink("/run/lock", root.join("var/lock"))?;
    take_public(root, etc)
}

/// Makes `/bin`, `/sbin` and `/lib…` the links into `/usr` that they are on the host's own merged layout.
fn merge_usr(root: &Path, usr: &Path) -> io::Result<()> {
    for entry in fs::read_dir(usr)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        if name == "bin" || name == "sbin" || (name.starts_with("lib") && name != "libexec") {
            symlink(format!("usr/{name}"), root.join(name))?;
        }
    }
    Ok(())
}

fn take_public(root: &Path, etc: &Path) -> io::Result<()> {
    for name in PUBLIC {
        take(&etc.join(name), &root.join("etc").join(name))?;
    }
    let Ok(entries) = fs::read_dir(etc) else { return Ok(()) };
    for entry in entries {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        if PUBLIC_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            take(&etc.join(name), &root.join("etc").join(name))?;
        }
    }
    Ok(())
}

/// Copies a link, a file or a directory, as far as anybody may read it. Links that lead out of `/usr` and `/etc` are left
/// out: there is nothing at their end.
fn take(from: &Path, to: &Path) -> io::Result<()> {
    const OTHER_READS: u32 = 0o004;
    let Ok(found) = fs::symlink_metadata(from) else { return Ok(()) };
    if found.file_type().is_symlink() {
        let target = fs::read_link(from)?;
        let inside = target.is_relative() || target.starts_with("/usr") || target.starts_with("/etc");
        return if inside { symlink(target, to) } else { Ok(()) };
    }
    if found.permissions().mode() & OTHER_READS == 0 {
        return Ok(());
    }
    if found.is_dir() {
        fs::create_dir(to)?;
        fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            take(&from.join(&name), &to.join(&name))?;
        }
    } else if found.is_file() && found.len() <= LARGEST {
        fs::write(to, fs::read(from)?)?;
        fs::set_permissions(to, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}
