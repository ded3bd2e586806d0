//! Lines that break at chosen bytes.

use std::ops::ControlFlow;

use anyhow::{Context as _, Result, ensure};
use devbox_client::ClientError;
use devbox_testkit::{Cut, Proxy};
use devbox_tests::Bed;
use devbox_types::BoxPath;
use devbox_types::file::WriteRequest;

use crate::{content, options, through};

const SIZE: usize = (2 << 20) + 77;
/// More than the buffers of two connections hold: a cut meets the middle of it.
const BIG: usize = 32 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn attack_line_cut_at_any_byte_of_an_upload() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    let proxy = Proxy::start(bed.server.address()).await?;
    let far = through(&proxy, &bed, &sandbox).await?;
    let up = [1, 150, 400, 5_000, 262_144, 300_000, 1_000_000, 2_097_152].map(Cut::Up);
    let down = [1, 40, 400, 1_000, 2_000, 5_000].map(Cut::Down);
    for (round, cut) in up.into_iter().chain(down).enumerate() {
        let bytes = content(SIZE, round as u64);
        std::fs::write(&file, &bytes)?;
        let path = format!("/workspace/{round}");
        let request = WriteRequest::to(BoxPath::parse(path.as_bytes())?);
        let (cuts, carried) = (proxy.cuts(), proxy.carried_up());
        proxy.cut(cut);
        let (mut before, mut retries) = (0, 0);
        let mut tell = |progress: devbox_client::TransferProgress| {
            assert!(progress.done_bytes >= before && progress.sent_bytes >= progress.done_bytes);
            (before, retries) = (progress.done_bytes, progress.retries);
            ControlFlow::Continue(())
        };
        let uploaded = far.upload_large_file(&file, request, &options(), &mut tell).await;
        uploaded.with_context(|| format!("{cut:?}"))?;
        ensure!(proxy.cuts() == cuts + 1, "{cut:?}: the line did not break");
        ensure!(sandbox.read(&path).await? == bytes, "{cut:?}: other bytes arrived");
        ensure!(before == SIZE as u64, "{cut:?}: only {before} were told");
        // One piece at the most is sent again, and heads.
        let carried = proxy.carried_up() - carried;
        ensure!(carried < SIZE as u64 + (256 << 10) + 65_536, "{cut:?}: {carried} bytes went up");
    }
    let metrics = devbox_tests::http::send(
        bed.server.address(),
        "GET /metrics",
        &[("Authorization", &format!("Bearer {}", bed.server.key()))],
        b"",
    )?;
    for figure in [
        r#"devbox_uploads_total{event="completed"} 14"#,
        "devbox_retries_total{",
        "devbox_upload_bytes_total",
    ] {
        ensure!(metrics.text.contains(figure), "no {figure} in {}", metrics.text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_line_cut_at_any_byte_of_a_download() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    let bytes = content(SIZE, 5);
    sandbox.write("/workspace/file", bytes.clone()).await?;
    let proxy = Proxy::start(bed.server.address()).await?;
    let far = through(&proxy, &bed, &sandbox).await?;
    let down = [1, 200, 700, 1_500, 100_000, 1_000_000, 2_097_000].map(Cut::Down);
    for cut in down.into_iter().chain([1, 300, 500].map(Cut::Up)) {
        let (cuts, carried) = (proxy.cuts(), proxy.carried_down());
        proxy.cut(cut);
        let mut tell = |_| ControlFlow::Continue(());
        let downloaded = far.download_large_file("/workspace/file", &file, &options(), &mut tell).await;
        downloaded.with_context(|| format!("{cut:?}"))?;
        ensure!(proxy.cuts() == cuts + 1, "{cut:?}: the line did not break");
        ensure!(std::fs::read(&file)? == bytes, "{cut:?}: other bytes arrived");
        let carried = proxy.carried_down() - carried;
        ensure!(carried < SIZE as u64 + 65_536, "{cut:?}: {carried} bytes came down");
        std::fs::remove_file(&file)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_under_a_download_is_never_mixed() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let folder = tempfile::tempdir()?;
    let (file, other) = (folder.path().join("file"), folder.path().join("other"));
    std::fs::write(&other, content(BIG, 2))?;
    sandbox.write("/workspace/file", content(BIG, 1)).await?;
    let proxy = Proxy::start(bed.server.address()).await?;
    let far = through(&proxy, &bed, &sandbox).await?;
    let mut changed = false;
    let mut tell = |progress: devbox_client::TransferProgress| {
        if progress.done_bytes > 0 && !changed {
            changed = true;
            let target = format!("{}:/workspace/file", sandbox.id());
            let put = bed.server.devbox(&["cp", "--quiet", &other.to_string_lossy(), &target]).status();
            assert!(put.expect("the command runs").success());
            proxy.cut(Cut::Down(1));
        }
        ControlFlow::Continue(())
    };
    let outcome = far.download_large_file("/workspace/file", &file, &options(), &mut tell).await;
    ensure!(matches!(outcome, Err(ClientError::SourceChanged { .. })), "{outcome:?}");
    ensure!(std::fs::read_dir(folder.path())?.count() == 1, "something is left of the download");
    far.download_large_file("/workspace/file", &file, &options(), &mut |_| ControlFlow::Continue(())).await?;
    ensure!(std::fs::read(&file)? == content(BIG, 2), "not the new file");
    Ok(())
}
