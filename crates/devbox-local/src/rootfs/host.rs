//! The `host` template: the machine's own `/usr`, read-only, under a synthesised `/`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use devbox_types::devbox::Template;
use rustix::fs::{Mode, OFlags};

use super::{devices, etc, make_directory, mask, runtimes};
use crate::error::{Step, StepError};

/// The folder that relative paths start from.
const WORKDIR: &str = "/workspace";

/// The layers of the template, in the spawner's workshop: nothing of it is on disk, and it is made anew at each start.
#[derive(Debug)]
pub(crate) struct HostTemplate {
    root: OwnedFd,
    mask: OwnedFd,
    usr: OwnedFd,
    devices: OwnedFd,
    runtimes: Vec<String>,
}

impl HostTemplate {
    /// The name of the template.
    pub(crate) const NAME: &'static str = "host";

    /// Makes the layers in `workshop`, an empty directory.
    pub(crate) fn make(workshop: &Path, usr: &Path) -> Result<Self, StepError> {
        let folder = |name: &str| {
            let path = workshop.join(name);
            make_directory(&path, 0o755).map(|()| path)
        };
        let root = folder("root").step("make the directory of the template")?;
        etc::fill(&root, usr, Path::new("/etc")).step("make the template's /")?;
        let mask = folder("mask").step("make the directory of the mask")?;
        let hidden = mask::make(usr, &mask).step("mask the host's /usr")?;
        let devices = folder("dev").step("make the directory of devices")?;
        let devices = open(&devices).step("open the directory of devices")?;
        devices::fill(devices.as_fd()).step("make devices")?;
        let runtimes = runtimes::probe(usr);
        tracing::info!(hidden, ?runtimes, "the host template is ready");
        Ok(Self {
            root: open(&root).step("open the template's /")?,
            mask: open(&mask).step("open the mask")?,
            usr: open(usr).step("open the host's /usr")?,
            devices,
            runtimes,
        })
    }

    pub(crate) fn describe(&self) -> Template {
        Template { name: Self::NAME.to_owned(), runtimes: self.runtimes.clone(), workdir: WORKDIR.to_owned() }
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(crate) fn mask(&self) -> BorrowedFd<'_> {
        self.mask.as_fd()
    }

    pub(crate) fn usr(&self) -> BorrowedFd<'_> {
        self.usr.as_fd()
    }

    pub(crate) fn devices(&self) -> BorrowedFd<'_> {
        self.devices.as_fd()
    }
}

/// Writes what differs from box to box into the empty upper layer of a new one's `/`: its name.
pub(crate) fn name_box(layers: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    rustix::fs::mkdirat(layers, "root/etc", Mode::from_raw_mode(0o755))?;
    let hosts = format!("127.0.0.1 localhost {name}\n::1 localhost ip6-localhost ip6-loopback\n");
    for (file, content) in [("root/etc/hostname", format!("{name}\n")), ("root/etc/hosts", hosts)] {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(layers, file, flags, Mode::from_raw_mode(0o644))?;
        io::Write::write_all(&mut std::fs::File::from(file), content.as_bytes())?;
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = PathBuf::from(path);
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}
