//! Files where something goes wrong: full disks, clients that go away, sizes beyond the limit.

use std::io::Write as _;
use std::net::TcpStream;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use devbox_client::{CreateRequest, Sandbox};
use devbox_testkit::{ServerOptions, SmallDisk};
use devbox_tests::bed::{Bed, code_of, printed, shell};
use devbox_tests::host;
use devbox_types::{ActingUser, ErrorCode};

/// Boxes are made while the disk has its reserve of 2 GiB; what it has beyond is taken away then.
const DISK_BYTES: u64 = 2400 << 20;
const FREE_BYTES: u64 = 96 << 20;

#[tokio::test]
async fn a_full_disk_leaves_the_old_file() -> Result<()> {
    let disk = SmallDisk::tmpfs(DISK_BYTES)?;
    let options = ServerOptions::default().with_data_dir(disk.path()).with_arguments(&["--pool", "plain"]);
    let bed = Bed::start_with(options)?;
    let sandbox = bed.sandbox().await?;
    sandbox.write("file", "old").await?;
    fill(&disk.path().join("filler"), DISK_BYTES - FREE_BYTES)?;

    // Announced, it is refused before a byte is sent; unannounced, when the disk ends.
    let large = Bytes::from(vec![7; 200 << 20]);
    assert_eq!(code_of(sandbox.write("file", large.clone()).await), ErrorCode::NoSpace);
    let chunks: Vec<_> = (0..200).map(|_| Ok(large.slice(..1 << 20))).collect();
    let body = devbox_guest::Body::from_stream(futures_util::stream::iter(chunks), None);
    let request = devbox_types::file::WriteRequest::to(sandbox.resolve("file")?);
    assert_eq!(code_of(sandbox.write_with(request, body).await), ErrorCode::NoSpace);
    let batch = [("a", Bytes::from("a")), ("b", large)];
    assert_eq!(code_of(sandbox.upload_files(batch).await), ErrorCode::NoSpace);
    assert_eq!(sandbox.read("file").await?, "old");
    assert_eq!(printed(&sandbox, "ls -A").await?, "file", "debris");
    assert_eq!(code_of(bed.client.create(&CreateRequest::default()).await), ErrorCode::NoSpace);

    sandbox.write("file", "new").await?;
    assert_eq!(sandbox.read("file").await?, "new");
    Ok(())
}

fn fill(file: &std::path::Path, bytes: u64) -> Result<()> {
    let mut file = std::fs::File::create(file)?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        file.write_all(&zeros)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_goes_away_in_mid_upload_leaves_the_old_file() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    sandbox.write("file", "old").await?;
    let unnamed = unnamed_files(&sandbox)?;
    for sent in [0, 1, 4096, 1 << 20, (8 << 20) - 1] {
        let mut stream = TcpStream::connect(bed.server.address())?;
        write!(
            stream,
            "PUT /v1/devboxes/{}/files/workspace/file HTTP/1.1\r\nHost: devbox\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\n\r\n",
            sandbox.id(),
            bed.server.key(),
            8 << 20
        )?;
        stream.write_all(&vec![7; sent])?;
        drop(stream);
    }
    // The next write waits for none of them, and is not undone by one of them.
    assert_eq!(sandbox.read("file").await?, "old");
    sandbox.write("file", "new").await?;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(sandbox.read("file").await?, "new");
    assert_eq!(printed(&sandbox, "ls -A").await?, "file", "debris");
    assert_eq!(unnamed_files(&sandbox)?, unnamed, "staging files are open still");
    Ok(())
}

#[tokio::test]
async fn what_is_larger_than_the_limit_is_413() -> Result<()> {
    let options = ServerOptions::default().with_arguments(&["--max-transfer", "1000000"]);
    let bed = Bed::start_with(options)?;
    let sandbox = bed.sandbox().await?;
    sandbox.write("file", Bytes::from(vec![1; 1_000_000])).await?;
    let large = Bytes::from(vec![2; 1_000_001]);
    assert_eq!(code_of(sandbox.write("file", large.clone()).await), ErrorCode::TooLarge);
    let announced = devbox_types::file::WriteRequest::to(sandbox.resolve("file")?);
    let chunks = futures_util::stream::iter((0..3).map(|_| Ok(Bytes::from(vec![3; 500_000]))));
    let unannounced = devbox_guest::Body::from_stream(chunks, None);
    assert_eq!(code_of(sandbox.write_with(announced, unannounced).await), ErrorCode::TooLarge);
    assert_eq!(sandbox.read("file").await?, vec![1; 1_000_000]);
    assert_eq!(printed(&sandbox, "ls -A").await?, "file", "debris");
    Ok(())
}

#[tokio::test]
async fn any_name_that_linux_allows_works() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let names: [&[u8]; 9] =
        [b"[id].tsx", b"a b", b"a%2fb", b"%", b"-rf", b"\xff\xfe", b"new\nline", "ünï·✓".as_bytes(), b"~"];
    let long = [b'n'; 255];
    for name in names.into_iter().chain([&long[..]]) {
        sandbox.write(name, Bytes::copy_from_slice(name)).await?;
        assert_eq!(sandbox.read(name).await?, name);
    }
    let found = sandbox.list(".").await?;
    assert_eq!(found.len(), 10);
    sandbox
        .upload_files(names.map(|name| ([b"batch/", name].concat(), Bytes::copy_from_slice(name))))
        .await?;
    for name in names {
        assert_eq!(sandbox.read([b"batch/", name].concat()).await?, name);
    }
    Ok(())
}

#[tokio::test]
async fn attack_planted_link_write() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    // The box's user plants links to what only root may write, and waits for its file calls.
    shell(&sandbox, "ln -s /etc/passwd link; ln -s /etc dir; mkdir -p real; ln -s /proc/1/root escape")
        .await?;
    let before = sandbox.read("/etc/passwd").await?;
    assert_eq!(code_of(sandbox.write("link", "owned").await), ErrorCode::PermissionDenied);
    assert_eq!(code_of(sandbox.write("dir/passwd", "owned").await), ErrorCode::PermissionDenied);
    assert_eq!(code_of(sandbox.upload_files([("link", "owned")]).await), ErrorCode::PermissionDenied);
    let through_magic = sandbox.as_user(ActingUser::root()).read("escape/etc/passwd").await;
    ensure!(through_magic.is_err(), "a magic link was followed");
    assert_eq!(sandbox.read("/etc/passwd").await?, before);
    Ok(())
}

/// How many files without a name the agent has open.
fn unnamed_files(sandbox: &Sandbox) -> Result<usize> {
    let agent = host::agent_of(sandbox.id().as_str()).context("the box has no agent")?;
    let open = std::fs::read_dir(format!("/proc/{}/fd", agent.pid))?.flatten();
    let open = open.filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok());
    Ok(open.filter(|path| path.to_string_lossy().ends_with("(deleted)")).count())
}
