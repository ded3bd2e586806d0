//! Stores files as the file engine does: an unnamed file in the target's folder, a name, a rename.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use sha2::{Digest as _, Sha256};

use crate::floor::BUFFER;
use crate::floor::head::{Head, Verb};

/// Serves connections, a thread each, until it is killed.
pub(crate) fn serve(socket: &Path, folder: &Path) -> Result<()> {
    let listener = UnixListener::bind(socket).context("bind the socket")?;
    for stream in listener.incoming() {
        let (stream, folder) = (stream?, folder.to_path_buf());
        std::thread::spawn(move || {
            if let Err(error) = converse(stream, &folder) {
                eprintln!("floor engine: {error:#}");
            }
        });
    }
    Ok(())
}

fn converse(stream: UnixStream, folder: &Path) -> Result<()> {
    let folder = File::open(folder)?;
    let mut answer = stream.try_clone()?;
    let mut requests = BufReader::with_capacity(BUFFER, stream);
    let mut buffer = vec![0; BUFFER];
    while let Some(head) = Head::read(&mut requests)? {
        match head.verb {
            Verb::Write => {
                store(&folder, head, &mut requests, &mut buffer)?;
                answer.write_all(&0_u64.to_le_bytes())?;
            }
            Verb::Read => send(&folder, head.file, &mut answer, &mut buffer)?,
        }
    }
    Ok(())
}

fn store(folder: &File, head: Head, content: &mut impl Read, buffer: &mut [u8]) -> Result<()> {
    let staged = rustix::fs::openat(
        folder,
        ".",
        OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::from(0o644),
    )
    .context("open an unnamed file")?;
    let mut staged = File::from(staged);
    let mut left = head.length;
    let mut hasher = head.sha256.map(|_| Sha256::new());
    while left > 0 {
        let size = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = content.read(&mut buffer[..size])?;
        ensure!(read > 0, "the content ended early");
        if let Some(hasher) = &mut hasher {
            hasher.update(&buffer[..read]);
        }
        staged.write_all(&buffer[..read])?;
        left -= read as u64;
    }
    if let (Some(hasher), Some(announced)) = (hasher, head.sha256) {
        ensure!(hasher.finalize()[..] == announced, "the digest is another");
    }
    publish(folder, &staged, head.file)
}

fn publish(folder: &File, staged: &File, file: u8) -> Result<()> {
    use std::os::fd::AsRawFd as _;
    let staging = format!(".staged-{file}");
    let unnamed = format!("/proc/self/fd/{}", staged.as_fd().as_raw_fd());
    rustix::fs::linkat(CWD, unnamed, folder, &staging, AtFlags::SYMLINK_FOLLOW).context("name the file")?;
    rustix::fs::renameat(folder, &staging, folder, name(file)).context("rename the file")?;
    staged.metadata()?;
    Ok(())
}

fn send(folder: &File, file: u8, answer: &mut impl Write, buffer: &mut [u8]) -> Result<()> {
    let opened = rustix::fs::openat(folder, name(file), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut opened = File::from(opened);
    let mut left = opened.metadata()?.len();
    // Head and first bytes leave in one write.
    buffer[..8].copy_from_slice(&left.to_le_bytes());
    let mut begin = 8;
    loop {
        let read = opened.read(&mut buffer[begin..])?;
        answer.write_all(&buffer[..begin + read])?;
        left -= read as u64;
        begin = 0;
        if left == 0 {
            return Ok(());
        }
        ensure!(read > 0, "the file was cut short");
    }
}

fn name(file: u8) -> String {
    format!("file-{file}")
}
