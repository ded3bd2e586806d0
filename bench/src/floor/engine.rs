//! Stores files as the file engine does: an unnamed file in the target's folder, a name, a rename.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, StatxFlags};
use sha2::{Digest as _, Sha256};

use crate::floor::BUFFER;
use crate::floor::head::{Head, Record, Verb};

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

fn converse(stream: UnixStream, root: &Path) -> Result<()> {
    let folder = File::open(root)?;
    let mut answer = stream.try_clone()?;
    let mut requests = BufReader::with_capacity(BUFFER, stream);
    let mut buffer = vec![0; BUFFER];
    while let Some(head) = Head::read(&mut requests)? {
        match head.verb {
            Verb::Write | Verb::WriteSynced => store(&folder, &head, &mut requests, &mut buffer)?,
            Verb::Read => {
                send(&folder, &head.path, &mut answer, &mut buffer)?;
                continue;
            }
            Verb::WriteMany => store_many(root, &head, &mut requests, &mut buffer)?,
            Verb::Pack => {
                pack(&open_folder(root, &head.path)?, &mut answer, &mut buffer)?;
                continue;
            }
            Verb::List => {
                list(&open_folder(root, &head.path)?, &mut answer)?;
                continue;
            }
            Verb::Run => run()?,
            Verb::Remove => remove(&root.join(&head.path))?,
        }
        answer.write_all(&0_u64.to_le_bytes())?;
    }
    Ok(())
}

fn open_folder(root: &Path, name: &str) -> Result<File> {
    File::open(root.join(name)).with_context(|| format!("open {name}"))
}

fn store(folder: &File, head: &Head, content: &mut impl Read, buffer: &mut [u8]) -> Result<()> {
    let staged = stage(folder, content, head.length, head.sha256, buffer)?;
    let synced = head.verb == Verb::WriteSynced;
    if synced {
        rustix::fs::fsync(&staged).context("sync the file")?;
    }
    let staging = format!(".staged-{}", head.path);
    name(folder, &staged, &staging)?;
    rustix::fs::renameat(folder, &staging, folder, &head.path).context("rename the file")?;
    if synced {
        rustix::fs::fsync(folder).context("sync the folder")?;
    }
    staged.metadata()?;
    Ok(())
}

/// Stages all, then renames all: as a batch that takes full effect or none must at the least.
fn store_many(root: &Path, head: &Head, content: &mut impl Read, buffer: &mut [u8]) -> Result<()> {
    let target = root.join(&head.path);
    std::fs::create_dir(&target).with_context(|| format!("make {}", head.path))?;
    let folder = File::open(&target)?;
    let mut names = Vec::new();
    for index in 0..head.length {
        let record = Record::read(content)?.context("the files ended early")?;
        let staged = stage(&folder, content, record.size, None, buffer)?;
        let staging = format!(".staged-{index}");
        name(&folder, &staged, &staging)?;
        names.push((staging, record.name));
    }
    for (staging, name) in names {
        rustix::fs::renameat(&folder, &staging, &folder, &name).context("rename the file")?;
    }
    Ok(())
}

fn stage(
    folder: &File,
    content: &mut impl Read,
    length: u64,
    sha256: Option<[u8; 32]>,
    buffer: &mut [u8],
) -> Result<File> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let staged = rustix::fs::openat(folder, ".", flags, Mode::from(0o644)).context("open an unnamed file")?;
    let mut staged = File::from(staged);
    let mut left = length;
    let mut hasher = sha256.map(|_| Sha256::new());
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
    if let (Some(hasher), Some(announced)) = (hasher, sha256) {
        ensure!(hasher.finalize()[..] == announced, "the digest is another");
    }
    Ok(staged)
}

fn name(folder: &File, staged: &File, staging: &str) -> Result<()> {
    let unnamed = format!("/proc/self/fd/{}", staged.as_fd().as_raw_fd());
    rustix::fs::linkat(CWD, unnamed, folder, staging, AtFlags::SYMLINK_FOLLOW).context("name the file")
}

fn open_file(folder: &File, name: &str) -> Result<File> {
    let opened = rustix::fs::openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    Ok(File::from(opened.with_context(|| format!("open {name}"))?))
}

fn send(folder: &File, path: &str, answer: &mut impl Write, buffer: &mut [u8]) -> Result<()> {
    let mut opened = open_file(folder, path)?;
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

/// Names in a folder, in the order of the disk.
fn names(folder: &File) -> Result<impl Iterator<Item = Result<Vec<u8>>>> {
    let entries = Dir::read_from(folder).context("read the folder")?;
    Ok(entries.filter_map(|entry| match entry {
        Ok(entry) if entry.file_type() == FileType::Directory => None,
        Ok(entry) => Some(Ok(entry.file_name().to_bytes().to_vec())),
        Err(error) => Some(Err(error.into())),
    }))
}

fn pack(folder: &File, answer: &mut impl Write, buffer: &mut [u8]) -> Result<()> {
    let mut answer = BufWriter::with_capacity(BUFFER, answer);
    for name in names(folder)? {
        let name = name?;
        let mut file = open_file(folder, std::str::from_utf8(&name)?)?;
        let mut left = file.metadata()?.len();
        Record::write(&mut answer, &name, left)?;
        while left > 0 {
            let read = file.read(buffer)?;
            ensure!(read > 0, "a file was cut short");
            answer.write_all(&buffer[..read])?;
            left -= read as u64;
        }
    }
    Record::write(&mut answer, b"", 0)?;
    Ok(answer.flush()?)
}

fn list(folder: &File, answer: &mut impl Write) -> Result<()> {
    let mut answer = BufWriter::with_capacity(BUFFER, answer);
    for name in names(folder)? {
        let name = name?;
        let text = std::str::from_utf8(&name)?;
        let found = rustix::fs::statx(folder, text, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
        Record::write(&mut answer, &name, found.stx_size)?;
    }
    Record::write(&mut answer, b"", 0)?;
    Ok(answer.flush()?)
}

fn run() -> Result<()> {
    let mut program = std::process::Command::new("true");
    let status = program.stdin(Stdio::null()).status().context("start `true`")?;
    ensure!(status.success(), "`true` failed");
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => bail!(error),
        _ => Ok(()),
    }
}
