//! What suites and the demo need of the machine, and how it is brought there.
//!
//! Presence is looked at first, so nothing touches the network where everything is in place.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{on_path, run};
use crate::tools;

/// One thing that must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The superuser: namespaces, mounts, cgroups.
    Root,
    /// A program, and the Debian package that brings it.
    Program {
        /// The program's name.
        name: &'static str,
        /// The package.
        package: &'static str,
    },
    /// cargo-deny in the pinned version, on the `PATH` or below `target/tools`.
    CargoDeny,
    /// The Python environment below `target/venv`, with the pinned maturin, pytest and tuspy.
    PythonEnvironment,
    /// The pinned tus-js-client, below `target/tus`.
    TusClient,
}

/// Makes file systems for the btrfs pool.
pub(crate) const MKFS_BTRFS: Need = Need::Program { name: "mkfs.btrfs", package: "btrfs-progs" };
/// Runs in boxes of the `host` template, and the Python suites.
pub(crate) const PYTHON: Need = Need::Program { name: "python3", package: "python3" };
/// Makes small file systems for tests of full disks.
pub(crate) const MKFS_EXT4: Need = Need::Program { name: "mkfs.ext4", package: "e2fsprogs" };
/// The same, of the third kind.
pub(crate) const MKFS_XFS: Need = Need::Program { name: "mkfs.xfs", package: "xfsprogs" };
/// Packs and unpacks beside us, with tar, which every machine has.
pub(crate) const ZIP: Need = Need::Program { name: "zip", package: "zip" };
/// The other way.
pub(crate) const UNZIP: Need = Need::Program { name: "unzip", package: "unzip" };
/// Compresses tars.
pub(crate) const ZSTD: Need = Need::Program { name: "zstd", package: "zstd" };
/// Speaks to the server in the examples.
pub(crate) const CURL: Need = Need::Program { name: "curl", package: "curl" };
/// Runs the tus client that is not ours.
pub(crate) const NODE: Need = Need::Program { name: "node", package: "nodejs" };
/// Installs it.
pub(crate) const NPM: Need = Need::Program { name: "npm", package: "npm" };
/// Compiles the C and assembly of the cryptographic library.
pub(crate) const COMPILER: Need = Need::Program { name: "cc", package: "gcc" };

impl Need {
    fn is_met(self) -> bool {
        match self {
            Self::Root => is_root(),
            Self::Program { name, .. } => on_path(name).is_some(),
            Self::CargoDeny => tools::deny().is_some(),
            Self::PythonEnvironment => tools::python_environment_is_ready(),
            Self::TusClient => tools::tus_client_is_ready(),
        }
    }

    fn bring(self) -> Result<()> {
        match self {
            Self::Root => bail!("this needs root, for namespaces, mounts and cgroups: run it with sudo"),
            Self::Program { name, package } => install_package(name, package),
            Self::CargoDeny => tools::install_deny(),
            Self::PythonEnvironment => tools::make_python_environment(),
            Self::TusClient => tools::install_tus_client(),
        }
    }
}

/// Sees to it that all of this is there, installing what can be installed and saying what.
pub(crate) fn meet(needs: &[Need]) -> Result<()> {
    for need in needs {
        if !need.is_met() {
            need.bring()?;
            if !need.is_met() {
                bail!("{need:?} is still not there after it was installed");
            }
        }
    }
    Ok(())
}

/// `/proc/self` belongs to the effective user.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Installs a Debian package that brings a program.
pub(crate) fn install_package(program: &str, package: &str) -> Result<()> {
    if on_path("apt-get").is_none() {
        bail!("`{program}` is missing: install it with this machine's package manager");
    }
    eprintln!("→ {program} is missing: installing the package {package} with apt-get");
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let install = || run(apt().args(["install", "--yes", "--no-install-recommends", package]));
    // A fresh machine has no package lists yet; one that has them saves the download.
    install()
        .or_else(|_| run(apt().arg("update")).and_then(|()| install()))
        .with_context(|| format!("cannot install {package}"))
}
