//! Clients that are killed and run again.

use std::process::{Child, Command};

use anyhow::{Result, ensure};
use devbox_testkit::{Cut, Proxy};
use devbox_tests::Bed;

use crate::content;

const SIZE: usize = 8 << 20;

/// Runs `devbox cp` over a line.
fn cp(bed: &Bed, proxy: &Proxy, home: &std::path::Path, source: &str, target: &str) -> Command {
    let mut command = bed.server.devbox(&["cp", "--quiet", "--large", "1M", "--piece", "1M", source, target]);
    command.env("DEVBOX_URL", format!("http://{}", proxy.address())).env("XDG_STATE_HOME", home);
    command
}

/// Kills a client once the line carries nothing more for it.
async fn kill_when_held(proxy: &Proxy, cuts: u64, mut child: Child) -> Result<()> {
    while proxy.cuts() == cuts {
        ensure!(child.try_wait()?.is_none(), "it ended before the line was held");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_client_sends_only_the_rest_when_it_is_run_again() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    let proxy = Proxy::start(bed.server.address()).await?;
    let source = file.to_string_lossy().into_owned();
    let target = format!("{}:/workspace/file", sandbox.id());
    for changes in [false, true] {
        std::fs::write(&file, content(SIZE, 1))?;
        let cuts = proxy.cuts();
        proxy.cut(Cut::HoldUp(5 << 20));
        let child = cp(&bed, &proxy, folder.path(), &source, &target).spawn()?;
        kill_when_held(&proxy, cuts, child).await?;
        if changes {
            std::fs::write(&file, content(SIZE, 2))?;
        }
        let before = proxy.carried_up();
        let again = cp(&bed, &proxy, folder.path(), &source, &target).output()?;
        ensure!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
        let sent = proxy.carried_up() - before;
        if changes {
            ensure!(sent > SIZE as u64, "only {sent} bytes of another file were sent");
        } else {
            // Four whole pieces had come.
            ensure!(sent < (4 << 20) + 65_536, "{sent} bytes were sent again");
        }
        ensure!(sandbox.read("/workspace/file").await? == std::fs::read(&file)?, "other bytes arrived");
        sandbox.delete("/workspace/file").await?;
    }
    Ok(())
}
