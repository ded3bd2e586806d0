//! Small file systems, to fill them.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// A mounted file system of a few megabytes, unmounted when it is dropped. Needs root.
#[derive(Debug)]
pub struct SmallDisk {
    mounted_at: TempDir,
    /// The folder of a loop device's image, which goes with its last user, and how it is mounted.
    image: Option<(TempDir, String)>,
}

impl SmallDisk {
    /// A tmpfs of this size.
    ///
    /// # Errors
    /// If it cannot be mounted.
    pub fn tmpfs(size_bytes: u64) -> Result<Self> {
        let mounted_at = TempDir::with_prefix("devbox-disk-")?;
        mount(&["-t", "tmpfs", "-o", &format!("size={size_bytes},mode=0755"), "tmpfs"], mounted_at.path())?;
        Ok(Self { mounted_at, image: None })
    }

    /// An ext4 of this size, on a loop device over a sparse file.
    ///
    /// # Errors
    /// If it cannot be made or mounted.
    pub fn ext4(size_bytes: u64) -> Result<Self> {
        Self::made_by(&["mkfs.ext4", "-q"], size_bytes, "loop")
    }

    /// An XFS of this size, which has to be 300 MiB at least.
    ///
    /// # Errors
    /// If it cannot be made or mounted.
    pub fn xfs(size_bytes: u64) -> Result<Self> {
        Self::made_by(&["mkfs.xfs", "-q"], size_bytes, "loop")
    }

    /// A btrfs of this size, in which data and metadata share their room.
    ///
    /// # Errors
    /// If it cannot be made or mounted.
    pub fn btrfs(size_bytes: u64) -> Result<Self> {
        Self::made_by(&["mkfs.btrfs", "-q", "--mixed"], size_bytes, "loop")
    }

    /// A file system on a loop device over a sparse file of this size, made by this command and mounted so.
    ///
    /// # Errors
    /// If it cannot be made or mounted.
    pub fn made_by(command: &[&str], size_bytes: u64, options: &str) -> Result<Self> {
        let folder = TempDir::with_prefix("devbox-image-")?;
        let image = folder.path().join("disk");
        std::fs::File::create(&image)?.set_len(size_bytes)?;
        let (program, arguments) = command.split_first().context("a command has a name")?;
        let made = Command::new(program).args(arguments).arg(&image).output();
        let made = made.with_context(|| format!("cannot run {program}"))?;
        ensure!(made.status.success(), "{program}: {}", String::from_utf8_lossy(&made.stderr));
        let mounted_at = TempDir::with_prefix("devbox-disk-")?;
        mount(&["-o", options, &image.to_string_lossy()], mounted_at.path())?;
        Ok(Self { mounted_at, image: Some((folder, options.to_owned())) })
    }

    /// Takes it off and mounts it anew, as after a crash. Nobody may use it.
    ///
    /// # Errors
    /// If it has no image, or cannot be mounted.
    pub fn remount(&self) -> Result<()> {
        let (folder, options) = self.image.as_ref().context("a tmpfs forgets")?;
        let output = Command::new("umount").arg(self.path()).output().context("cannot run umount")?;
        ensure!(output.status.success(), "umount: {}", String::from_utf8_lossy(&output.stderr));
        mount(&["-o", options, &folder.path().join("disk").to_string_lossy()], self.path())
    }

    /// The name of its block device, as below `/sys/block`.
    ///
    /// # Errors
    /// If it has none.
    pub fn device(&self) -> Result<String> {
        let place = self.path().to_string_lossy().into_owned();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some(&place));
        let (_, rest) = line.and_then(|line| line.split_once(" - ")).context("it is not mounted")?;
        let device = rest.split(' ').nth(1).and_then(|device| device.strip_prefix("/dev/"));
        Ok(device.context("it has no device")?.to_owned())
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.mounted_at.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = unmount(self.mounted_at.path()) {
            eprintln!("cannot unmount {}: {error}", self.mounted_at.path().display());
        }
    }
}

fn mount(what: &[&str], place: &Path) -> Result<()> {
    let output = Command::new("mount").args(what).arg(place).output().context("cannot run mount")?;
    ensure!(output.status.success(), "mount: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Takes a mount off at once; what still uses it keeps it until it ends.
fn unmount(place: &Path) -> io::Result<()> {
    let place = CString::new(place.as_os_str().as_bytes())?;
    #[expect(unsafe_code, reason = "umount2 has no safe wrapper in std")]
    // SAFETY: `place` is a string with a final NUL that lives through the call.
    let result = unsafe { libc::umount2(place.as_ptr(), libc::MNT_DETACH) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
